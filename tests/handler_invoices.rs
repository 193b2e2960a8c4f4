//! Scenario: the invoices of a real shop through `order`. They are 25,943 lines, of which 3,722 name no account.
//!
//! The file is not part of the project. It is named by `$OCTOCONF_INVOICES`, or is `../shared/data/invoice.jsonl`. If
//! there is no file, similar rows are generated with the same counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use octoconf::handler::Registry;
use octoconf::message::{Message, Outcome};
use serde_json::{Value, json};

const ACCOUNTS: usize = 4372;
const WITH_ACCOUNT: usize = 22_221;
const WITHOUT: usize = 3722;

fn invoices() -> io::Result<Vec<String>> {
    let named = std::env::var_os("OCTOCONF_INVOICES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/invoice.jsonl");
    // A file named by the variable must exist.
    if let Some(path) = named.or_else(|| beside.exists().then_some(beside)) {
        return Ok(std::fs::read_to_string(&path)?.lines().map(str::to_owned).collect());
    }
    let made = (0..WITH_ACCOUNT + WITHOUT)
        .map(|n| {
            let account = if n < WITHOUT { Value::Null } else { json!((12_346 + n % ACCOUNTS).to_string()) };
            let cancelled = n % 7 == 0;
            json!({
                "account": account,
                "invoice": format!("{}{}", if cancelled { "C" } else { "" }, 536_365 + n),
                "issued_at": "12/1/2010 8:26",
                "country": "United Kingdom",
                "quantity": if cancelled { -40 } else { 40 + (n % 90) as i64 },
                "unit_price": (n % 9973) as f64 / 1000.0,
            })
            .to_string()
        })
        .collect();
    Ok(made)
}

#[test]
fn real_invoices_become_payloads_and_dead_letters() {
    let order = Registry::new().get("order").unwrap();
    let (mut by_account, mut rejected) = (BTreeMap::<String, usize>::new(), 0);
    for (number, line) in invoices().unwrap().into_iter().enumerate() {
        let row: Value = serde_json::from_str(&line).unwrap();
        let message = Message {
            id: number.to_string().into(),
            body: line.into(),
            attributes: Vec::new(),
            group: None,
            sent_at: SystemTime::UNIX_EPOCH,
            receives: 1,
            open: None,
        };
        match order.handle(&message) {
            Outcome::Deliver(deliveries) => {
                let [delivery] = &deliveries[..] else { panic!("{number}: {} deliveries", deliveries.len()) };
                assert_eq!(row["account"], delivery.account.as_str());
                assert_eq!(serde_json::from_slice::<Value>(&delivery.payload).unwrap(), expected(&row), "{number}");
                *by_account.entry(delivery.account.to_string()).or_default() += 1;
            }
            Outcome::Reject { reason } => {
                assert!(reason.starts_with("field `account`: invalid type: null, expected a string"), "{number}: {reason}");
                rejected += 1;
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!((by_account.len(), by_account.values().sum::<usize>(), rejected), (ACCOUNTS, WITH_ACCOUNT, WITHOUT));
}

fn expected(row: &Value) -> Value {
    let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    let cancelled = row["invoice"].as_str().is_some_and(|invoice| invoice.starts_with('C'));
    json!({
        "type": if cancelled { "invoice.cancelled" } else { "invoice.issued" },
        "invoice": row["invoice"],
        "issued_at": row["issued_at"],
        "country": row["country"],
        "quantity": row["quantity"],
        "total": (number("quantity") * number("unit_price") * 100.0).round() / 100.0,
    })
}
