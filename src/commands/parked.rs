//! `parked`: how what is parked looks, a line an account.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::queue::parking::Line;

/// Writes lines as they come: a listing of any length costs no memory.
pub struct Listing<'a> {
    out: &'a mut dyn Write,
    json: bool,
    any: bool,
}

impl<'a> Listing<'a> {
    /// Blocks for the output alone, as all of its methods do.
    pub fn new(out: &'a mut dyn Write, json: bool) -> io::Result<Self> {
        if json {
            out.write_all(b"[")?;
        }
        Ok(Self { out, json, any: false })
    }

    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        let separator = if self.any { ",\n" } else { "\n" };
        if self.json {
            write!(self.out, "{separator}{}", object(line))?;
        } else {
            if !self.any {
                writeln!(
                    self.out,
                    "{:>10}  {:>14}  {:20}  {:36}  PARTNER",
                    "DELIVERIES", "BYTES", "WAITS SINCE", "FIRST MESSAGE"
                )?;
            }
            let account: String = line.account.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let Line { deliveries, bytes, oldest, waits_since, .. } = line;
            let since = humantime::format_rfc3339_seconds(*waits_since).to_string();
            writeln!(self.out, "{deliveries:>10}  {bytes:>14}  {since:20}  {oldest:36}  {account}")?;
        }
        self.any = true;
        Ok(())
    }

    pub fn end(self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, true) => self.out.write_all(b"\n]\n"),
            (true, false) => self.out.write_all(b"]\n"),
            (false, true) => Ok(()),
            (false, false) => self.out.write_all(b"nothing is parked\n"),
        }
    }
}

fn object(line: &Line) -> Value {
    json!({
        "account": line.account.as_str(),
        "deliveries": line.deliveries,
        "bytes": line.bytes,
        "oldest_message_id": line.oldest.as_str(),
        "waits_since": humantime::format_rfc3339_seconds(line.waits_since).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn listed(json: bool, count: usize) -> String {
        let line = Line {
            account: "a\nb".into(),
            deliveries: 3,
            bytes: 900,
            oldest: "m1".into(),
            waits_since: UNIX_EPOCH + Duration::from_secs(60),
        };
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, json).unwrap();
        (0..count).for_each(|_| listing.line(&line).unwrap());
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
        assert!(table.lines().last().unwrap().ends_with("  a b"), "{table}");
        assert_eq!(listed(false, 0), "nothing is parked\n");
    }
}
