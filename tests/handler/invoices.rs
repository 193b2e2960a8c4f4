//! Scenario: the invoices of the main job through `order`, the handler alone.

use std::collections::BTreeMap;

use crate::support::invoices::{expected, invoices};
use octoconf::handler::Registry;
use octoconf::message::{Message, Outcome};
use serde_json::Value;

#[test]
fn each_invoice_becomes_a_payload_or_is_rejected() {
    let order = Registry::new().get("order").unwrap();
    let (invoices, mut by_account, mut rejected) = (invoices(), BTreeMap::<String, Vec<Value>>::new(), 0);
    for (number, line) in invoices.iter().enumerate() {
        let message = Message::new(number.to_string(), line.clone());
        match order.handle(&message) {
            Outcome::Deliver(deliveries) => {
                let [delivery] = &deliveries[..] else { panic!("{number}: {} deliveries", deliveries.len()) };
                let payload = serde_json::from_slice(&delivery.payload).unwrap();
                by_account.entry(delivery.account.to_string()).or_default().push(payload);
            }
            Outcome::Reject { reason } => {
                assert!(reason.starts_with("field `account`: invalid type: null, expected a string"), "{number}: {reason}");
                rejected += 1;
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    let (want, without) = expected(&invoices);
    assert_eq!(rejected, without);
    assert_eq!(by_account, want);
}
