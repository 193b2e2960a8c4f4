//! The invoices of the main job, and what must become of them.
//!
//! `$OCTOCONF_INVOICES` names a file with invoices of a real shop, one JSON object a line; the file is not part of the
//! project. Without the variable, invoices are generated: with and without an account, issued and cancelled.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const VARIABLE: &str = "OCTOCONF_INVOICES";

/// Returns the invoices, and prints where they come from. A named file that cannot be read fails the test: generated
/// invoices must not pass for real ones.
pub fn invoices() -> Vec<String> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        println!("the invoices are generated: ${VARIABLE} is not set");
        return (0..4_000).map(generated).collect();
    };
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("${VARIABLE} names {path:?}, which cannot be read ({error}): correct or unset it"));
    println!("the invoices are those of {path:?}");
    text.lines().map(str::to_owned).collect()
}

fn generated(number: usize) -> String {
    let account = (number % 9 != 4).then(|| (12_000 + number * number % 331).to_string());
    let (prefix, sign) = if number % 7 == 3 { ("C", -1) } else { ("", 1) };
    json!({
        "account": account,
        "invoice": format!("{prefix}{}", 536_365 + number),
        "issued_at": "12/1/2010 8:26",
        "country": "United Kingdom",
        "quantity": sign * (number % 90 + 1) as i64,
        "unit_price": (number * 37 % 9_973) as f64 / 1000.0,
    })
    .to_string()
}

/// Returns the expected payloads by account, in the order of the queue, and the number of invoices without an account.
pub fn expected(invoices: &[String]) -> (BTreeMap<String, Vec<Value>>, usize) {
    let (mut by_account, mut without): (BTreeMap<_, Vec<_>>, _) = (BTreeMap::new(), 0);
    for line in invoices {
        let m: Value = serde_json::from_str(line).unwrap();
        let Some(account) = m["account"].as_str() else {
            without += 1;
            continue;
        };
        let cancelled = m["invoice"].as_str().unwrap().starts_with('C');
        let total = (m["quantity"].as_i64().unwrap() as f64 * m["unit_price"].as_f64().unwrap() * 100.0).round() / 100.0;
        by_account.entry(account.to_owned()).or_default().push(json!({
            "type": if cancelled { "invoice.cancelled" } else { "invoice.issued" },
            "invoice": m["invoice"], "issued_at": m["issued_at"], "country": m["country"],
            "quantity": m["quantity"], "total": total,
        }));
    }
    assert!(!by_account.is_empty() && without > 0, "the invoices show both ends only if some have an account and some none");
    (by_account, without)
}
