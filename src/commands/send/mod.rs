//! `octoconf send`: puts JSONL bodies on a queue.
//!
//! It runs on the main thread, one batch after the other. A bad line stops it: every line before that line is on the
//! queue, no line after it is, and the error says how many were sent. Where the queue itself takes only
//! a part of a batch, the error names the other lines.

use super::lines::{Line, LineError};
use crate::json::{self, SyntaxError};
use crate::queue::{NewMessage, Queue, QueueError};

/// The maximum number of body bytes in one batch: the limit of SQS for one request.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Why `send` stopped. In each variant, `sent` is the number of messages that the queue has confirmed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A line is too long or cannot be read.
    #[error("{source}; {}", Sent(*.sent))]
    Line {
        /// The number of messages sent before the line.
        sent: u64,
        /// What is wrong with the line.
        source: LineError,
    },
    /// A line is not JSON. `why` counts lines in the input and columns in the line.
    #[error("not JSON: {why}; {}", Sent(*.sent))]
    Syntax {
        /// The number of messages sent before the line.
        sent: u64,
        /// What is wrong, and where.
        why: SyntaxError,
    },
    /// The queue failed to take a batch. An embedded queue then has none of its lines; SQS may have some.
    #[error("{source}; {}; {} were not confirmed", Sent(*.sent), Ends(.lines))]
    Queue {
        /// The number of messages sent before the batch.
        sent: u64,
        /// The numbers of the lines of the batch.
        lines: Vec<u64>,
        /// The error of the queue.
        source: QueueError,
    },
    /// The queue cannot take a line as it is.
    #[error("queue {queue}: line {line}: {why}; {}", Sent(*.sent))]
    Unsendable {
        /// The number of messages sent before the line.
        sent: u64,
        /// The name of the queue.
        queue: String,
        /// The number of the line.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The queue refused some lines or did not confirm them, each with a reason, and took all others up to the last
    /// line of their batch.
    #[error("queue {queue}: {}; all other lines up to {last} were sent, {sent} messages", by_line(.refused, .unconfirmed))]
    Partly {
        /// The number of messages sent, in this batch and before.
        sent: u64,
        /// The name of the queue.
        queue: String,
        /// The refused lines: number and reason of each.
        refused: Vec<(u64, String)>,
        /// The lines that may be on the queue or not: number and reason of each.
        unconfirmed: Vec<(u64, String)>,
        /// The number of the last line of the batch.
        last: u64,
    },
}

fn by_line(refused: &[(u64, String)], unconfirmed: &[(u64, String)]) -> String {
    let refused = refused.iter().map(|(line, why)| format!("line {line} was refused: {why}"));
    let unconfirmed = unconfirmed.iter().map(|(line, why)| format!("line {line} was not confirmed: {why}"));
    refused.chain(unconfirmed).collect::<Vec<_>>().join("; ")
}

impl SendError {
    /// Returns the number of messages that the queue has confirmed: those of the first lines,
    /// except for the refused ones.
    pub fn sent(&self) -> u64 {
        match self {
            Self::Line { sent, .. }
            | Self::Syntax { sent, .. }
            | Self::Queue { sent, .. }
            | Self::Unsendable { sent, .. }
            | Self::Partly { sent, .. } => *sent,
        }
    }

    /// Returns the numbers of the lines that the queue refused for good.
    pub fn refused(&self) -> Vec<u64> {
        match self {
            Self::Unsendable { line, .. } => vec![*line],
            Self::Partly { refused, .. } => refused.iter().map(|(line, _)| *line).collect(),
            Self::Line { .. } | Self::Syntax { .. } | Self::Queue { .. } => Vec::new(),
        }
    }

    /// Returns the numbers of the lines that were sent and not confirmed: they may be on the queue or not.
    pub fn unconfirmed(&self) -> Vec<u64> {
        match self {
            Self::Queue { lines, .. } => lines.clone(),
            Self::Partly { unconfirmed, .. } => unconfirmed.iter().map(|(line, _)| *line).collect(),
            Self::Line { .. } | Self::Syntax { .. } | Self::Unsendable { .. } => Vec::new(),
        }
    }

    /// Converts an error of the queue; `before` is the number of messages sent before this batch, and `lines`
    /// are the batch's line numbers.
    fn of(source: QueueError, before: u64, lines: &[u64]) -> Self {
        let last = lines.last().copied().unwrap_or_default();
        let line = |at: usize| lines.get(at).copied().unwrap_or(last);
        match source {
            QueueError::PartlySent { queue, of, failed, unconfirmed } => Self::Partly {
                sent: before + of.saturating_sub(failed.len() + unconfirmed.len()) as u64,
                queue,
                refused: failed.into_iter().map(|(at, why)| (line(at), why)).collect(),
                unconfirmed: unconfirmed.into_iter().map(|(at, why)| (line(at), why)).collect(),
                last,
            },
            source => Self::Queue { sent: before, lines: lines.to_vec(), source },
        }
    }
}

/// What comes next from an input that may be slow.
#[derive(Debug)]
pub enum Next {
    /// A line, or the reason why there is none.
    Line(Result<Line, LineError>),
    /// There is no line at the moment.
    Pause,
    /// The input has ended.
    End,
    /// The command is stopped before the end of the input.
    Stop,
}

/// How far `send` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The number of messages that the queue has confirmed: those of the first lines.
    pub sent: u64,
    /// Whether the input was sent to its end.
    pub whole: bool,
}

/// The first and the last of some lines.
struct Ends<'a>(&'a [u64]);

impl std::fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return f.write_str("no lines") };
        write!(f, "lines {first} to {last}")
    }
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

/// Sends every line that `next` returns, in order, in batches as large as the queue takes. Each line must be JSON,
/// of any depth, of at most [`MAX_BODY`](crate::message::MAX_BODY) bytes. `progress` is called after each batch with
/// the number of messages sent.
///
/// Blocks for as long as `next` and the queue do. A batch is sent once it is full, or when the
/// input pauses, stops or ends.
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
    /// The numbers of the lines in the input.
    lines: Vec<u64>,
    /// The number of messages confirmed in all earlier batches.
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

    /// Sends the waiting lines, if there are any, and returns the number of messages sent so far.
    fn flush(&mut self) -> Result<u64, SendError> {
        if !self.messages.is_empty() {
            match self.queue.send(&self.messages) {
                Err(QueueError::Unsendable { queue, at, why }) => {
                    let line = self.lines.get(at).copied().unwrap_or_default();
                    // What stands before the line is sent, as it is before a line that is no JSON.
                    self.messages.truncate(at);
                    self.lines.truncate(at);
                    return Err(SendError::Unsendable { sent: self.flush()?, queue, line, why });
                }
                sent => sent.map_err(|source| SendError::of(source, self.sent, &self.lines))?,
            };
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
