//! A queue service as the dispatcher sees it: what is asked of it in a receive, what it does to messages by itself, and how
//! many it has.

use std::time::Duration;

/// The parameters of one receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The largest number of messages to receive, 1 or more; an implementation may return fewer.
    pub max: usize,
    /// How long the call waits for a first message (the long poll).
    pub wait: Duration,
    /// How long a received message stays hidden from other receivers.
    pub lease: Duration,
    /// The most bytes ([`Message::weight`](super::Message::weight)) that the messages should have together: the call ends with the message that
    /// reaches them. SQS has no such parameter, and a queue in memory no need for it.
    pub bytes: usize,
}

/// The number of receives below which a message becomes a dead letter after few returns, as an absent partner causes them.
pub const FEW_RECEIVES: u32 = 10;

/// What a queue service does to messages by itself. `None` in a field: the service never does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The `maxReceiveCount` of the redrive policy: after this number of receives the service itself moves a message
    /// that comes back to the dead letter queue, without our reason (AWS: 1 to 1,000).
    pub redrive_after: Option<u32>,
    /// How long the service keeps a message, from when it was sent; then it is gone (AWS: 1 minute
    /// to 14 days, 4 days by default).
    pub retention: Option<Duration>,
    /// The largest number of messages that may be hidden at once (AWS: 120,000 in flight per queue, over all
    /// consumers). At this limit a receive returns nothing (FIFO) or fails (standard: `OverLimit`).
    pub hidden_limit: Option<u64>,
    /// The longest time that a message stays hidden, counted from its receive, extensions included (AWS: 12 hours).
    pub longest_lease: Option<Duration>,
    /// The largest size of a message in bytes, attributes included (AWS: `MaximumMessageSize`,
    /// 1 KiB to 1 MiB, set per queue).
    pub longest_message: Option<usize>,
    /// The same limit for a dead letter, if dead letters are on another queue. A message close to this size leaves no
    /// room for the reason and the payload in its letter; a longer one cannot be set aside at all.
    pub longest_letter: Option<usize>,
    /// Whether there is no place for dead letters: a rejected message then comes back for
    /// as long as the queue keeps it.
    pub circulates: bool,
    /// Whether the service has no place for what is settled of a message that leads to several deliveries: another
    /// process that receives it delivers all of it again. SQS has none; an embedded queue keeps it.
    pub forgets_parts: bool,
}

/// The number of messages in a queue, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages that can be received, or that wait only for their FIFO group.
    pub visible: u64,
    /// Messages leased by a receiver, or returned with a delay.
    pub hidden: u64,
    /// Messages sent with a delay and not yet visible.
    pub delayed: u64,
}

impl Count {
    /// Returns whether the queue holds no message in any state.
    pub fn is_empty(&self) -> bool {
        self.visible == 0 && self.hidden == 0 && self.delayed == 0
    }
}
