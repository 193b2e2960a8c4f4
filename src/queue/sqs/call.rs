//! The requests to SQS, in terms of our own. Plain data, which [`super::codec`] turns into HTTP requests.

use std::borrow::Cow;
use std::time::Duration;

use compact_str::CompactString;

use crate::message::Attribute;

/// The longest long poll (AWS: `WaitTimeSeconds`).
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest that a message stays hidden, from its receive (AWS: `VisibilityTimeout`).
pub const LONGEST_LEASE: Duration = Duration::from_secs(12 * 3600);
/// The largest number of entries of one request, and of messages of one receive.
pub const MAX_ENTRIES: usize = 10;
/// The largest number of bytes of one message, and of all messages of
/// one request: bodies, and the names, types and values of attributes.
pub const MAX_CALL_BYTES: usize = 1024 * 1024;
/// The largest number of attributes of a message.
pub const MAX_ATTRIBUTES: usize = 10;

/// One request.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// Asks for the URL of a queue by its name; `owner` is the AWS account that owns it, if that is not ours.
    Url {
        name: &'a str,
        owner: Option<&'a str>,
    },
    Attributes {
        url: &'a str,
        names: &'a [&'a str],
    },
    /// Receives up to `max` messages; `wait` and `lease` are in seconds.
    Receive {
        url: &'a str,
        max: usize,
        wait: u64,
        lease: u64,
    },
    /// Deletes the messages of these receipt handles.
    Delete {
        url: &'a str,
        handles: &'a [&'a str],
    },
    /// Hides the message of each receipt handle for this many seconds from now on.
    Hide {
        url: &'a str,
        changes: &'a [(&'a str, u64)],
    },
    Send {
        url: &'a str,
        entries: &'a [Entry<'a>],
    },
}

/// One message to send.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The body, with [only characters that SQS accepts](super::content::check). It
    /// may be empty only if no other entry is lost when SQS refuses the request.
    pub body: &'a str,
    /// The attributes of the message.
    pub attributes: Cow<'a, [Attribute]>,
    /// The delay in seconds; 0 on a FIFO queue, which delays all messages or none.
    pub delay: u64,
    /// The message group, on a FIFO queue.
    pub group: Option<CompactString>,
    /// The deduplication id, on a FIFO queue: for five minutes SQS accepts no second message with the same one.
    pub deduplication: Option<CompactString>,
}

impl Call<'_> {
    /// Returns how long the whole request may take. A long poll answers
    /// when its wait is over, and a megabyte takes time on a slow line.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Receive { wait, .. } => Duration::from_secs(wait + 10),
            Self::Send { .. } => Duration::from_secs(30),
            _ => Duration::from_secs(10),
        }
    }

    /// Returns whether the request may wait at the service until messages come.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Receive { wait: 1.., .. })
    }

    /// Returns the largest size of an answer in bytes. A message of 1 MiB that
    /// consists of quotes is six times as long in XML; all other answers are short.
    pub fn longest_answer(&self) -> u64 {
        match self {
            Self::Receive { .. } => 64 * 1024 * 1024,
            _ => 1024 * 1024,
        }
    }
}

/// Returns `time` in whole seconds, rounded up so that a short lease never becomes none, and at most `most`.
pub fn whole_seconds(time: Duration, most: Duration) -> u64 {
    let time = time.min(most);
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_and_within_the_limits_of_aws() {
        let seconds = |millis| whole_seconds(Duration::from_millis(millis), LONGEST_WAIT);
        assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001), seconds(3_600_000)], [0, 1, 1, 2, 20]);
        assert_eq!(whole_seconds(Duration::MAX, LONGEST_LEASE), 43_200);
    }

    #[test]
    fn only_a_receive_that_waits_is_long() {
        let receive = |wait| Call::Receive { url: "", max: 1, wait, lease: 30 };
        assert!(receive(20).is_long() && !receive(0).is_long());
        assert_eq!(receive(20).patience(), Duration::from_secs(30));
        assert!(!Call::Url { name: "stock", owner: None }.is_long());
    }
}
