//! The messages of these rows: invoices for the handler `order`, of any size.

use std::fmt::Write as _;

/// Returns bodies of about `bytes` bytes that differ from run to run. A large one is filled with ordinary JSON objects,
/// which have a quote about every eight bytes.
pub fn bodies(bytes: usize, accounts: u32, count: usize, seed: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|number| body(bytes, accounts, number, &mut random)).collect()
}

fn body(bytes: usize, accounts: u32, number: usize, random: &mut fastrand::Rng) -> String {
    let (account, quantity, cents) = (12_000 + random.u32(..accounts), random.u32(1..500), random.u32(10..2_000));
    let mut body = format!(
        r#"{{"account":"{account}","invoice":"{number}","issued_at":"12/1/2010 8:26","country":"United Kingdom","quantity":{quantity},"unit_price":{},"lines":["#,
        f64::from(cents) / 100.0
    );
    while body.len() + 60 < bytes {
        let (sku, pieces) = (random.u32(10_000..100_000), random.u8(1..100));
        let _ = write!(body, r#"{{"sku":"{sku}","name":"white metal lantern","pieces":{pieces}}},"#);
    }
    let _ = write!(body, r#"{{"note":"{}"}}]}}"#, "x".repeat(bytes.saturating_sub(body.len() + 13)));
    body
}
