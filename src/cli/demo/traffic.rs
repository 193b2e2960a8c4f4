//! Generates traffic shaped like that of real customers: few with many messages, many with few, and some messages
//! that no handler can process.

use bytes::Bytes;
use fastrand::Rng;
use serde_json::json;

/// The exponent that skews the shares: the busiest of 2,900 accounts gets about one message in sixty.
const SKEW: f64 = 0.6;

/// One in this many messages has no account, and must end as a dead letter.
const WITHOUT_ACCOUNT: u32 = 100;

/// The two queues of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoQueue {
    /// Stock updates, for the handler `product`.
    Stock,
    /// Invoices, for the handler `order`.
    Invoice,
}

impl DemoQueue {
    /// Both queues.
    pub const ALL: [Self; 2] = [Self::Stock, Self::Invoice];

    /// Returns the name of the queue.
    pub fn queue(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Invoice => "invoice",
        }
    }
}

/// Generates the bodies of one queue's messages. The same seed generates the same bodies.
pub struct Traffic {
    kind: DemoQueue,
    random: Rng,
    /// The cumulative shares of the accounts, by rank.
    shares: Vec<f64>,
    made: u64,
}

impl Traffic {
    /// Starts the traffic of one queue.
    pub fn new(kind: DemoQueue, accounts: u32, seed: u64) -> Self {
        let mut total = 0.0;
        let shares = (1..=accounts).map(|rank| {
            total += f64::from(rank).powf(-SKEW);
            total
        });
        Self { kind, shares: shares.collect(), random: Rng::with_seed(seed ^ kind as u64), made: 0 }
    }

    fn account(&mut self) -> Option<String> {
        if self.random.u32(..WITHOUT_ACCOUNT) == 0 {
            return None;
        }
        let point = self.random.f64() * self.shares.last().copied().unwrap_or(0.0);
        Some(name(self.shares.partition_point(|share| *share < point) as u32))
    }

    /// Returns the body of the next message.
    pub fn next_body(&mut self) -> Bytes {
        self.made += 1;
        let account = self.account();
        let (quantity, unit_price) = (self.random.i64(1..100), f64::from(self.random.u32(50..50_000)) / 100.0);
        let body = match self.kind {
            DemoQueue::Stock => {
                let sku = format!("SKU-{:05}", self.random.u32(..20_000));
                json!({ "account": account, "sku": sku, "name": "Enamel mug", "quantity": quantity, "unit_price": unit_price })
            }
            DemoQueue::Invoice => {
                let cancelled = if self.random.u32(..50) == 0 { "C" } else { "" };
                let invoice = format!("{cancelled}{}", 500_000 + self.made);
                let (issued_at, country) = ("11/24/2026 9:00", "United Kingdom");
                json!({ "account": account, "invoice": invoice, "issued_at": issued_at, "country": country,
                        "quantity": quantity, "unit_price": unit_price })
            }
        };
        body.to_string().into()
    }
}

/// Returns the account of the given rank, counted from 0.
pub fn name(rank: u32) -> String {
    format!("shop-{rank:05}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_shares_are_skewed_and_the_seed_repeats_them() {
        let mut traffic = Traffic::new(DemoQueue::Invoice, 2_900, 1);
        let mut counts: HashMap<Option<String>, u32> = HashMap::new();
        for _ in 0..50_000 {
            *counts.entry(traffic.account()).or_default() += 1;
        }
        let without = counts.remove(&None).unwrap();
        let most = *counts.values().max().unwrap();
        assert!((300..700).contains(&without), "{without} without an account");
        assert!((300..2_000).contains(&most) && counts.len() > 2_500, "the busiest has {most} of {}", counts.len());
        let bodies = |seed| {
            let mut traffic = Traffic::new(DemoQueue::Stock, 100, seed);
            (0..100).map(|_| traffic.next_body()).collect::<Vec<_>>()
        };
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
    }
}
