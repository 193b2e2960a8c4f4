//! `parked`: shows parked deliveries, one line per account.

use serde::Serialize;
use serde_json::json;

use super::listing::{Entry, time};
use crate::plain::{name, one_line};
use crate::queue::parking::ParkedAccount;

impl Entry for ParkedAccount {
    const NONE: &'static str = "nothing is parked";

    fn head() -> String {
        format!("{:>10}  {:>14}  {:20}  {:36}  PARTNER", "DELIVERIES", "BYTES", "WAITS SINCE", "FIRST MESSAGE")
    }

    fn row(&self) -> String {
        let Self { account, deliveries, bytes, oldest, waits_since } = self;
        let (account, oldest) = (name(account), one_line(oldest));
        format!("{deliveries:>10}  {bytes:>14}  {:20}  {oldest:36}  {account}", time(*waits_since))
    }

    fn object(&self) -> impl Serialize {
        json!({
            "account": self.account.as_str(),
            "deliveries": self.deliveries,
            "bytes": self.bytes,
            "oldest_message_id": self.oldest.as_str(),
            "waits_since": time(self.waits_since),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::Value;

    use super::super::listing::Listing;
    use super::*;

    fn listed(json: bool, count: usize) -> String {
        let line = ParkedAccount {
            account: "a\nb".into(),
            deliveries: 3,
            bytes: 900,
            oldest: "m1".into(),
            waits_since: UNIX_EPOCH + Duration::from_secs(60),
        };
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, json);
        (0..count).for_each(|_| listing.entry(&line).unwrap());
        listing.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_listing_is_one_array_of_any_length() {
        for count in 0..3 {
            let array: Vec<Value> = serde_json::from_str(&listed(true, count)).unwrap();
            let line = json!({ "account": "a\nb", "deliveries": 3, "bytes": 900, "oldest_message_id": "m1", "waits_since": "1970-01-01T00:01:00Z" });
            assert_eq!(array, vec![line; count]);
        }
    }

    #[test]
    fn a_table_keeps_each_account_on_its_line() {
        let table = listed(false, 2);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().last().unwrap().ends_with("  \"a\\nb\""), "{table}");
        assert_eq!(listed(false, 0), "nothing is parked\n");
        let hostile =
            ParkedAccount { account: "a".into(), deliveries: 1, bytes: 1, oldest: "\u{1b}[2Jm".into(), waits_since: UNIX_EPOCH };
        assert!(!hostile.row().contains('\u{1b}'), "{:?}", hostile.row());
    }
}
