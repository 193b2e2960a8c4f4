//! The invoices of the main job, and what must become of them.

#![allow(dead_code, reason = "each scenario uses a part of this")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "this is a part of tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::program::invoice;

/// Returns the real invoices if they are available, and otherwise enough generated ones to show the same.
pub fn invoices() -> Vec<String> {
    let real = std::env::var_os("OCTOCONF_INVOICES").map(PathBuf::from);
    let real = real.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/invoice.jsonl"));
    match std::fs::read_to_string(&real) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => {
            let account = |n: usize| format!("{}", 12_000 + n * n % 331);
            (0..4_000).map(|n| invoice((n % 9 != 4).then(|| account(n)).as_deref(), n)).collect()
        }
    }
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
    (by_account, without)
}
