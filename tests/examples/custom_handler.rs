//! A custom handler in a few lines: `cargo run --example custom_handler`.
//!
//! Large orders go to the partner and to the auditors, small ones only to the partner. Those of a
//! closed shop are tried again later.

use std::error::Error;
use std::time::Duration;

use octoconf::handler::{Registry, run_caught};
use octoconf::message::{Delivery, Message, Outcome};
use serde::Deserialize;

#[derive(Deserialize)]
struct Order<'a> {
    account: &'a str,
    total: f64,
}

fn audited(message: &Message) -> Outcome {
    let order: Order<'_> = match serde_json::from_slice(&message.body) {
        Ok(order) => order,
        Err(error) => return Outcome::reject(error.to_string()),
    };
    if order.account == "closed" {
        return Outcome::Retry { after: Duration::from_secs(60), reason: "the shop is closed".into() };
    }
    let to = |account: &str| Delivery { account: account.into(), payload: message.body.clone() };
    let auditors = (order.total > 1000.0).then(|| to("auditors"));
    Outcome::Deliver([to(order.account)].into_iter().chain(auditors).collect())
}

/// Public only so that a test can run it.
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
pub fn main() -> Result<(), Box<dyn Error>> {
    let mut registry = Registry::new();
    registry.register("audited", audited);

    let handler = registry.get("audited").ok_or("the handler is not registered")?;
    for body in
        [r#"{"account":"acme","total":12}"#, r#"{"account":"acme","total":5000}"#, r#"{"account":"closed","total":1}"#, "{}"]
    {
        let message = Message::new("1", body);
        println!("{body}\n  {:?}", run_caught(&*handler, &message));
    }
    Ok(())
}
