//! A rate of requests as people write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A maximum number of requests per unit of time, written `"50/s"`, `"300/m"` or `"10/h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests, at least 1 when read from text.
    pub requests: u32,
    /// The unit of time: a second, a minute or an hour when read from text.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, unit) = text.split_once('/').ok_or("no slash")?;
        let requests = requests.trim().parse().map_err(|_| "no whole number before the slash")?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err("no s, m or h after the slash"),
        };
        if requests == 0 {
            return Err("at least 1");
        }
        Ok(Self { requests, per: Duration::from_secs(seconds) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.requests),
            60 => write!(f, "{}/m", self.requests),
            3600 => write!(f, "{}/h", self.requests),
            // A user of the library may construct a rate with another unit.
            _ => write!(f, "{} in {}", self.requests, humantime::format_duration(self.per)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_say_how_many_a_second_a_minute_or_an_hour() {
        assert_eq!("50/s".parse(), Ok(Rate { requests: 50, per: Duration::from_secs(1) }));
        assert_eq!(" 10 / h ".parse::<Rate>().unwrap().to_string(), "10/h");
        for bad in ["50", "/s", "0/s", "-1/s", "1.5/s", "5/day", "5/", "50/s/s", "99999999999/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(requests in 1..u32::MAX) {
            for seconds in [1, 60, 3600] {
                let rate = Rate { requests, per: Duration::from_secs(seconds) };
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }
    }
}
