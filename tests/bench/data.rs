//! The messages that the benchmarks move.

use bytes::Bytes;

/// Accounts, as many as the talk had buckets.
pub const ACCOUNTS: u64 = 2_900;

/// Invoices for 2,900 accounts in a fixed, mixed order; about 130 bytes each, as the real ones have.
pub fn bodies() -> Vec<Bytes> {
    let mut random = fastrand::Rng::with_seed(17);
    let invoice = |n: u64, random: &mut fastrand::Rng| {
        let account = 12_000 + random.u64(..ACCOUNTS);
        let (quantity, price) = (random.i64(1..500), random.u32(10..2_000) as f64 / 100.0);
        format!(
            r#"{{"account":"{account}","invoice":"{}","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":{quantity},"unit_price":{price}}}"#,
            536_365 + n
        )
    };
    (0..100_000).map(|n| invoice(n, &mut random).into()).collect()
}
