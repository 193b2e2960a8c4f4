//! The dispatcher's whole vocabulary: what happens to it ([`Event`]), what it asks for ([`Command`]), and what it has
//! logged ([`Note`]). Plain data that the shell carries between the dispatcher and the threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;

use crate::message::dead::SetAside;
use crate::message::park::{Parked, ToPark, Unparked, Want};
use crate::message::service::{Ask, Count, Facts};
use crate::message::settle::{EntryResult, VisibilityChange};
use crate::message::{Account, Answer, Batch, Message, Outcome, Receipt, Received};

use super::keys::{FlushId, QueueIndex, Ticket};
use super::partner::PartnerState;
use super::record::tally::Operation;
use super::rules::{Medium, PartnerTable, QueueChanges};
use super::views::why::PartnerReport;

/// Something that happened. An event carries a batch, so that its cost is shared among many messages.
#[derive(Debug)]
pub enum Event {
    /// A poller received messages, or found none.
    Received {
        /// The queue that was asked.
        queue: QueueIndex,
        /// The poller's number among those of its queue.
        poller: usize,
        /// The received copies, in the order of receive; may be empty.
        messages: Vec<Received>,
        /// When the lease of these copies ends unless it is extended.
        leased_until: Instant,
        /// How much of the poller's demand is used up: the number of messages, or all of it once a receive finds none
        /// (or fewer than were asked for, on a queue whose requests have a price). Demand given since then stands.
        demand_used: usize,
    },
    /// What the queue's service does to messages by itself; reported before the first receive, by one poller or more.
    Facts {
        /// The queue.
        queue: QueueIndex,
        /// The facts.
        facts: Facts,
    },
    /// A receive failed.
    ReceiveFailed {
        /// The queue that was asked.
        queue: QueueIndex,
        /// The poller's number among those of its queue.
        poller: usize,
        /// All demand that the poller had left: it is returned with this event.
        demand_used: usize,
        /// Why the receive failed.
        fault: Fault,
    },
    /// The system refused a thread for a poller.
    NoPoller {
        /// The queue that was to be asked.
        queue: QueueIndex,
        /// The number that the poller would have had.
        poller: usize,
        /// The demand that the poller was given just now: this event returns it.
        demand: usize,
    },
    /// A job ended.
    Handled {
        /// The queue whose handler ran the job.
        queue: QueueIndex,
        /// The job, named by its first message.
        job: Ticket,
        /// What the job has done, without what was taken back earlier; in order.
        done: Vec<Handled>,
        /// The messages that the job left because its handler turned out to be slow; in order.
        undone: Vec<ToHandle>,
        /// The longest time that one message took. Of quick messages timed together, the mean counts.
        slowest: Duration,
    },
    /// The answer to [`Command::TakeBack`].
    TakenBack {
        /// The queue whose handler runs the job.
        queue: QueueIndex,
        /// The job, named by its first message.
        job: Ticket,
        /// What was taken back. `None`: no thread has begun with the job, and the job is left as it is.
        back: Option<TakenBack>,
    },
    /// A flush is off the wire: its partner answered, or could not be reached.
    Answered {
        /// The flush.
        flush: FlushId,
        /// The partner's answer.
        answer: Answer,
    },
    /// A call to a queue has ended; a count ends with [`Event::Counted`].
    QueueAnswered {
        /// The queue.
        queue: QueueIndex,
        /// The number of the acker that made the call, among those of its queue.
        acker: usize,
        /// One result for each entry, in the order of the call. An error: the call failed as a whole.
        results: Result<Vec<EntryResult>, Fault>,
    },
    /// The answer to [`QueueCall::Count`].
    Counted {
        /// The queue.
        queue: QueueIndex,
        /// The number of the acker that made the call, among those of its queue.
        acker: usize,
        /// How many messages the queue holds, or why they could not be counted.
        count: Result<Count, Fault>,
    },
    /// The answer to [`Command::Park`].
    Parked {
        /// The queue whose deliveries were to be parked.
        queue: QueueIndex,
        /// One result for each delivery, in the order of the command. An error: the call failed as a whole.
        results: Result<Vec<Parked>, Fault>,
    },
    /// The answer to [`Command::Unpark`].
    Unparked {
        /// The queue whose parking was read.
        queue: QueueIndex,
        /// One answer for each [`Want`], in the order of the command. An error: the call failed as a whole.
        answers: Result<Vec<Unparked>, Fault>,
    },
    /// An operator acts upon a partner; the answer is [`Command::Reply`].
    Operate {
        /// The request that the reply names.
        request: RequestId,
        /// The partner's account.
        account: Account,
        /// What the operator does.
        action: Action,
    },
    /// The configuration was reloaded. Flushes on the wire go on as they are.
    Reloaded {
        /// The new rules of all partners.
        partners: PartnerTable,
        /// The queues that are changed, retired and added.
        queues: QueueChanges,
    },
    /// Finish once every queue is empty and everything is settled.
    FinishWhenEmpty,
    /// Stop receiving, finish what can be finished until the deadline, return the rest.
    Drain {
        /// When the drain ends.
        deadline: Instant,
    },
    /// Return everything that is not on the wire, now.
    Stop,
    /// Nothing happened but that time passed.
    Tick,
}

impl Event {
    /// Returns the number of messages that the event is about, at least 1: a measure of what it costs to take it in.
    pub fn weight(&self) -> usize {
        let messages = match self {
            Self::Received { messages, .. } => messages.len(),
            Self::Handled { done, .. } | Self::TakenBack { back: Some(TakenBack { done, .. }), .. } => done.len(),
            Self::QueueAnswered { results: Ok(results), .. } => results.len(),
            _ => 1,
        };
        messages.max(1)
    }
}

/// Something to do for the thread that owns the edge in question. The dispatcher waits for none of them.
#[derive(Debug)]
pub enum Command {
    /// Adds to a poller's demand.
    Receive {
        /// The queue to receive from.
        queue: QueueIndex,
        /// The poller's number among those of its queue.
        poller: usize,
        /// How many more messages the poller may receive, and how.
        demand: Demand,
    },
    /// Runs a queue's handler over messages, as one job.
    Handle {
        /// The queue.
        queue: QueueIndex,
        /// The messages, in order; the first one names the job.
        messages: Vec<ToHandle>,
        /// The most threads of the pool that the queue's jobs may have from now on.
        threads: usize,
    },
    /// Takes back what a job has done and what it has not begun with, since the message that it is at takes long.
    /// Answered at once, by [`Event::TakenBack`].
    TakeBack {
        /// The queue.
        queue: QueueIndex,
        /// The job, named by its first message.
        job: Ticket,
        /// The most threads of the pool that the queue's jobs may have from now on.
        threads: usize,
    },
    /// Hands a batch to its partner.
    Flush {
        /// The flush, which the answer names.
        flush: FlushId,
        /// The batch.
        batch: Arc<Batch>,
        /// Where the batch goes. [`Medium::Inline`] is flushed at once, by the thread of the dispatcher.
        medium: Medium,
    },
    /// Has an acker make a call to its queue.
    CallQueue {
        /// The queue.
        queue: QueueIndex,
        /// The number of the acker among those of its queue; it has no other call under way.
        acker: usize,
        /// The call.
        call: QueueCall,
    },
    /// Puts deliveries into the queue's parking. A queue has one such call under way at a time; it and the queue's
    /// [`Command::Unpark`] are carried out in the order in which they were given.
    Park {
        /// The queue that the deliveries come from.
        queue: QueueIndex,
        /// The deliveries, in order.
        deliveries: Vec<ToPark>,
    },
    /// Reads parked deliveries back.
    Unpark {
        /// The queue whose parking is read.
        queue: QueueIndex,
        /// What to read, account by account.
        wants: Vec<Want>,
    },
    /// Ends the long polls of a queue's pollers, if its service allows that: they receive nothing more.
    Interrupt {
        /// The queue.
        queue: QueueIndex,
    },
    /// Ends the threads of a queue that was retired: nothing is left of it, and nothing more is asked of it.
    Close {
        /// The queue.
        queue: QueueIndex,
    },
    /// The answer to [`Event::Operate`].
    Reply {
        /// The request that is answered.
        request: RequestId,
        /// The partner as it is after the action, or why nothing was done.
        result: Result<Box<PartnerReport>, Refusal>,
    },
    /// Something to log: an edge of state, never a single message.
    Note(Note),
    /// Nothing is held and nothing will come: the threads may stop.
    Finish,
}

/// What a poller may receive. Demand is the back-pressure of the whole engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The number of messages, over as many receives as it takes. The poller returns what is left once a receive finds
    /// none (or fewer than were asked for, on a queue whose requests have a price).
    pub messages: usize,
    /// How to ask: the limits of one receive, but the bytes are for all messages of the demand. They are those that the
    /// room has for it. If messages turn out larger than any lately, the poller returns what is left of its demand.
    pub ask: Ask,
}

/// One message on its way to a handler.
#[derive(Debug, Clone)]
pub struct ToHandle {
    /// The held copy.
    pub ticket: Ticket,
    /// The message.
    pub message: Arc<Message>,
}

/// One message that a handler is done with.
#[derive(Debug, PartialEq)]
pub struct Handled {
    /// The held copy.
    pub ticket: Ticket,
    /// The message as it came with [`ToHandle`]. It is passed on so that its reference count changes only once on
    /// the way through the pool.
    pub message: Arc<Message>,
    /// What the handler made of it.
    pub outcome: Outcome,
}

/// What was taken back from a job that is still running.
#[derive(Debug, Default)]
pub struct TakenBack {
    /// What the job has done since it began, or since the last time; in order.
    pub done: Vec<Handled>,
    /// The messages that the handler has not begun with; in order.
    pub undone: Vec<ToHandle>,
}

/// One call to a queue about copies received from it.
#[derive(Debug)]
pub enum QueueCall {
    /// Deletes copies.
    Delete(Vec<Receipt>),
    /// Extends leases and returns copies.
    ChangeVisibility(Vec<VisibilityChange>),
    /// Writes dead letters; a copy is deleted with its last one.
    SetAside(Vec<SetAside>),
    /// Counts the messages of the queue.
    Count,
}

/// The name of an operator's request, so that its answer finds the caller.
pub type RequestId = u64;

/// What an operator does to a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No flush to the partner starts until it is resumed; what is on the wire lands. This also works for a partner
    /// that is not known yet. A pause outlives everything but the process.
    Pause,
    /// Ends a pause.
    Resume,
    /// All waiting deliveries are sent now, without linger and without regard to back-off, breaker and bucket gates.
    /// While the partner fails, that is one probe, as ever. The rate is kept.
    Flush,
    /// The first delivery of the longest-waiting bucket that is in trouble becomes a dead letter. Nothing else changes:
    /// the next attempt comes when it was to come.
    Skip,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Flush, Self::Skip];

    /// Returns the word for the action in the paths of the admin server.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Flush => "flush",
            Self::Skip => "skip",
        }
    }
}

/// Why an operator's action was refused; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The dispatcher knows nothing of the partner.
    #[error("nothing is known of this partner: nothing waits for it, and nothing of it had to be remembered")]
    Unknown,
    /// The partner is paused, so that nothing can be flushed.
    #[error("this partner is paused: resume it first")]
    Paused,
    /// The partner asked for a wait with `Retry-After`, which no operator can override.
    #[error("the partner asked for a pause (Retry-After): {} s of it are left", left.as_secs_f64().ceil())]
    AskedToWait {
        /// How much of the wait is left.
        left: Duration,
    },
    /// There is nothing to set aside.
    #[error("nothing waits for this partner, so that there is nothing to set aside")]
    NothingWaits,
    /// What is on the wire may be accepted at any moment: it cannot be set aside, and the delivery
    /// behind it is not the head.
    #[error("a flush to this partner is on the wire: try again once it has landed, at its timeout at the latest")]
    OnTheWire,
    /// The partner takes what is sent to it: what would be set aside is about to be delivered.
    #[error("nothing blocks this partner, it takes what waits: pause it first if something is to be set aside all the same")]
    NotBlocked,
}

/// Why an edge failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The reason, in words for the log.
    pub reason: String,
    /// Whether waiting alone may mend it. If not, a person has to act, and the next attempts come more slowly.
    pub transient: bool,
}

/// What a log line says: an edge of state or a sum, so that a storm of events is a single line.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A kind of call to a queue has begun to fail.
    QueueFailing {
        /// The queue.
        queue: QueueIndex,
        /// The kind of call.
        doing: Operation,
        /// Why the call failed.
        fault: Fault,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// A kind of call to a queue succeeds again.
    QueueWell {
        /// The queue.
        queue: QueueIndex,
        /// The kind of call.
        doing: Operation,
    },
    /// A partner, or one of its buckets, begins to wait.
    PartnerWaits {
        /// The partner's account.
        account: Account,
        /// The queue whose delivery failed.
        queue: QueueIndex,
        /// The state that the partner, or the bucket, is in now.
        state: PartnerState,
        /// The partner's last error.
        reason: String,
        /// The number of failures in a row.
        failures: u32,
        /// The time until the next attempt.
        next_attempt_in: Duration,
    },
    /// A partner takes deliveries again.
    PartnerWell {
        /// The partner's account.
        account: Account,
        /// The number of failures in a row that this success ended. 0: only a wait is over that the partner had asked for.
        after_failures: u32,
    },
    /// The first dead letter after an interval without one, or the sum of those since the last such line.
    DeadLetters {
        /// The queue that the messages came from.
        queue: QueueIndex,
        /// The number of dead letters since the last line.
        count: u64,
        /// The id of the latest message.
        example: CompactString,
        /// Why the latest one became a dead letter.
        reason: String,
    },
    /// Messages that were returned to their queue because their partner holds more than its share; the first one or a
    /// sum, as for [`Note::DeadLetters`].
    GivenBack {
        /// The queue that the messages came from.
        queue: QueueIndex,
        /// The number of messages since the last line.
        count: u64,
        /// The id of the latest message.
        example: CompactString,
        /// Why the latest one was returned.
        reason: String,
        /// The number of the queue's messages that are hidden for this reason at present.
        hidden: usize,
    },
    /// Deliveries that went to the disk; the first one or a sum, as for [`Note::DeadLetters`].
    Parked {
        /// The queue that the messages came from.
        queue: QueueIndex,
        /// The number of deliveries since the last line.
        count: u64,
        /// The id of the latest delivery.
        example: CompactString,
        /// Why the latest one was parked.
        reason: String,
    },
    /// Leases that were lost; the first one or a sum, as for [`Note::DeadLetters`].
    LeasesLost {
        /// The queue that the messages came from.
        queue: QueueIndex,
        /// The number of leases since the last line.
        count: u64,
        /// The id of the latest message.
        example: CompactString,
    },
    /// A result for something that the dispatcher does not know, or knows no longer.
    Stray {
        /// What the result was about, in words.
        what: &'static str,
    },
}
