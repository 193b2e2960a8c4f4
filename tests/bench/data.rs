//! The messages that the benchmarks move.

use bytes::Bytes;

use crate::extent::count;

/// The number of accounts: as many as the talk had buckets.
pub const ACCOUNTS: u64 = 2_900;

/// Returns invoices for 2,900 accounts in a fixed, mixed order, of about 130 bytes each like the real ones.
pub fn bodies() -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(17);
    (0..count(100_000)).map(|number| invoice(&(12_000 + random.u64(..ACCOUNTS)).to_string(), number, "", &mut random)).collect()
}

/// Returns invoices whose accounts take turns in a mixed order: each account has one before any has a second.
pub fn taking_turns(count: u64, accounts: &[String]) -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(18);
    let mut order: Vec<&String> = accounts.iter().collect();
    random.shuffle(&mut order);
    let turns = order.into_iter().cycle().zip(0..count);
    turns.map(|(account, number)| invoice(account, number, "", &mut random)).collect()
}

/// Returns invoices of at least a given size, filled up by a field that no handler knows.
pub fn padded(count: u64, accounts: &[String], bytes: usize) -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(19);
    let padding = "x".repeat(bytes.saturating_sub(150));
    let turns = accounts.iter().cycle().zip(0..count);
    turns.map(|(account, number)| invoice(account, number, &padding, &mut random)).collect()
}

/// Returns `PREFIX0`, `PREFIX1`, …
pub fn accounts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|account| format!("{prefix}{account}")).collect()
}

fn invoice(account: &str, number: u64, padding: &str, random: &mut fastrand::Rng) -> Bytes {
    let (quantity, price) = (random.i64(1..500), random.u32(10..2_000) as f64 / 100.0);
    let comment = if padding.is_empty() { String::new() } else { format!(r#","comment":"{padding}""#) };
    format!(
        r#"{{"account":"{account}","invoice":"{}","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":{quantity},"unit_price":{price}{comment}}}"#,
        536_365 + number
    )
    .into()
}
