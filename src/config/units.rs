//! Durations, sizes and rates as people write them. Each type prints in a form that it can read back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

/// A duration, written `"250ms"`, `"30s"` or `"1h 30m"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A size in bytes, written `"256KiB"`, `"10GiB"` or `"1500B"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<ByteSize>().map(|size| Self(size.as_u64()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `ByteSize` itself prints one decimal, which does not read back as the same number.
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

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
            _ => write!(f, "{} in {}", self.requests, Span(self.per)),
        }
    }
}

/// A `T`, or `None` if the text is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Maybe<T>(pub Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: FromStr> FromStr for Maybe<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

/// Deserializes through `FromStr`. The error does not hold the text: the caller adds the text, masked if necessary.
fn by_text<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom("not in the form expected"))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
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

    #[test]
    fn sizes_print_in_the_largest_unit_that_is_exact() {
        for (text, bytes) in [("256KiB", 256 << 10), ("10GiB", 10 << 30), ("1000B", 1000), ("0B", 0)] {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes));
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert!("many".parse::<Size>().is_err());
    }

    #[test]
    fn empty_is_nothing() {
        assert_eq!("".parse::<Maybe<Rate>>(), Ok(Maybe(None)));
        assert!("x".parse::<Maybe<Rate>>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64, seconds in 0..u64::from(u32::MAX), nanos in 0..1_000_000_000u32, requests in 1..u32::MAX) {
            prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
            let span = Span(Duration::new(seconds, nanos));
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
            for seconds in [1, 60, 3600] {
                let rate = Rate { requests, per: Duration::from_secs(seconds) };
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }
    }
}
