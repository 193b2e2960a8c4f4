//! `octoconf send`: JSONL bodies onto a queue.
//!
//! Runs on the main thread, one batch after the other. A bad line stops it; everything before that line is on the queue, nothing after
//! it is, and the error says how many that are.

use super::lines::{Line, LineError};
use crate::json::{self, SyntaxError};
use crate::queue::{NewMessage, Queue, QueueError};

/// Most bytes of bodies in one batch: the limit of SQS for one request.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Why `send` stopped.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A line that is too long or cannot be read.
    #[error("{source}; {}", Sent(*.sent))]
    Line { sent: u64, source: LineError },
    /// A line that is not JSON. `why` counts lines in the input, columns in the line.
    #[error("not JSON: {why}; {}", Sent(*.sent))]
    Syntax { sent: u64, why: SyntaxError },
    /// The queue did not take a batch. An embedded queue has none of it then; SQS may have some.
    #[error("{source}; {}; lines {first} to {last} were not confirmed", Sent(*.sent))]
    Queue { sent: u64, first: u64, last: u64, source: QueueError },
    /// The queue refused lines, each with why, and took all others up to the last of their batch.
    #[error("queue {queue}: {}; all other lines up to {last} were sent, {sent} messages", by_line(.refused))]
    Refused { sent: u64, queue: String, refused: Vec<(u64, String)>, last: u64 },
}

fn by_line(refused: &[(u64, String)]) -> String {
    let each = refused.iter().map(|(line, why)| format!("line {line} was refused: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

impl SendError {
    /// How many messages the queue has confirmed: those of the first lines, but for those that were refused.
    pub fn sent(&self) -> u64 {
        match self {
            Self::Line { sent, .. } | Self::Syntax { sent, .. } | Self::Queue { sent, .. } | Self::Refused { sent, .. } => *sent,
        }
    }

    /// `before`: messages sent before this batch, which is of these lines.
    fn of(source: QueueError, before: u64, lines: &[u64]) -> Self {
        let (first, last) = (lines.first().copied().unwrap_or_default(), lines.last().copied().unwrap_or_default());
        match source {
            QueueError::PartlySent { queue, of, failed } => Self::Refused {
                sent: before + of.saturating_sub(failed.len()) as u64,
                queue,
                refused: failed.into_iter().map(|(at, why)| (lines.get(at).copied().unwrap_or(last), why)).collect(),
                last,
            },
            source => Self::Queue { sent: before, first, last, source },
        }
    }
}

/// What comes next of an input that may be slow.
#[derive(Debug)]
pub enum Next {
    Line(Result<Line, LineError>),
    /// Nothing for a moment.
    Pause,
    End,
    /// Somebody stops it before its end.
    Stop,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Messages that the queue has confirmed: those of the first lines.
    pub sent: u64,
    /// Whether the input was sent to its end.
    pub whole: bool,
}

struct Sent(u64);

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("nothing was sent"),
            1 => f.write_str("1 message before it was sent"),
            sent => write!(f, "{sent} messages before it were sent"),
        }
    }
}

/// Sends every line that `next` gives, in order, in batches as large as the queue takes. Each must be JSON, of any depth, of at most
/// [`MAX_BODY`](crate::message::MAX_BODY) bytes. `progress` hears how many have been sent, after each batch.
///
/// Blocks for as long as `next` and the queue do. A batch goes out once it is full, or the input pauses, stops or ends.
pub fn send(queue: &dyn Queue, next: &mut dyn FnMut() -> Next, progress: &mut dyn FnMut(u64)) -> Result<Done, SendError> {
    let mut batch = Batch { queue, progress, messages: Vec::new(), lines: Vec::new(), bytes: 0, sent: 0 };
    loop {
        let line = match next() {
            Next::Line(Ok(line)) => line,
            Next::Line(Err(source)) => return Err(SendError::Line { sent: batch.flush()?, source }),
            Next::Pause => {
                batch.flush()?;
                continue;
            }
            Next::End => return Ok(Done { sent: batch.flush()?, whole: true }),
            Next::Stop => return Ok(Done { sent: batch.flush()?, whole: false }),
        };
        if let Err(why) = json::check(&line.body, json::Bounds::NONE) {
            return Err(SendError::Syntax { sent: batch.flush()?, why: SyntaxError { line: line.number, ..why } });
        }
        batch.add(line.number, NewMessage { body: line.body, ..NewMessage::default() })?;
    }
}

/// The lines that wait to be sent together.
struct Batch<'a> {
    queue: &'a dyn Queue,
    progress: &'a mut dyn FnMut(u64),
    messages: Vec<NewMessage>,
    bytes: usize,
    /// Their numbers in the input.
    lines: Vec<u64>,
    /// Confirmed, in all batches before.
    sent: u64,
}

impl Batch<'_> {
    fn add(&mut self, line: u64, message: NewMessage) -> Result<(), SendError> {
        if self.bytes + message.body.len() > MAX_BATCH_BYTES {
            self.flush()?;
        }
        self.lines.push(line);
        self.bytes += message.body.len();
        self.messages.push(message);
        if self.messages.len() >= self.queue.limits().entries {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what waits, if anything does; gives how many are sent now.
    fn flush(&mut self) -> Result<u64, SendError> {
        if !self.messages.is_empty() {
            self.queue.send(&self.messages).map_err(|source| SendError::of(source, self.sent, &self.lines))?;
            self.sent += self.messages.len() as u64;
            self.messages.clear();
            self.lines.clear();
            self.bytes = 0;
            (self.progress)(self.sent);
        }
        Ok(self.sent)
    }
}

#[cfg(test)]
mod tests;
