//! The messages. Each has a number, and the number determines its account and its fate, so that
//! nothing else must be remembered.

use serde_json::{Value, json};

/// The number of accounts of a queue, each with its own bucket and, on FIFO queues, its own group.
const ACCOUNTS: usize = 12;

/// One message of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number {
    pub queue: usize,
    pub number: usize,
}

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The partner accepts it.
    Delivered,
    /// The handler rejects it, since its account is missing.
    Rejected,
    /// The partner refuses it for good, and only it.
    Refused,
}

impl Number {
    pub fn account(self) -> String {
        format!("shop-{}", self.number % ACCOUNTS)
    }

    pub fn fate(self) -> Fate {
        match self.number % 37 {
            5 => Fate::Rejected,
            11 => Fate::Refused,
            _ => Fate::Delivered,
        }
    }

    /// Returns the body as the handler `order` reads it; `invoice` carries the number to the
    /// partner and into dead letters.
    pub fn body(self) -> String {
        let account = (self.fate() != Fate::Rejected).then(|| self.account());
        json!({ "account": account, "invoice": self.to_string(), "issued_at": "12/1/2010 8:26", "country": "United Kingdom",
                "quantity": self.number % 7 + 1, "unit_price": 2.55 })
        .to_string()
    }

    /// Reads the number from a payload or a body.
    pub fn of(value: &Value) -> Option<Self> {
        let (queue, number) = value.get("invoice")?.as_str()?.split_once('-')?;
        Some(Self { queue: queue.parse().ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.queue, self.number)
    }
}
