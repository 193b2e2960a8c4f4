//! The whole vocabulary of the dispatcher: what happens to it, what it asks for, what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;

use crate::message::park::{Parked, ToPark, Unparked, Want};
use crate::message::settle::{Ask, Count, EntryResult, Facts, SetAside};
use crate::message::{Account, Answer, Batch, Message, Outcome, Receipt, Received};

use super::keys::{FlushId, QueueIndex, Ticket};
use super::partner::PartnerState;
use super::rules::{Medium, PartnerTable, QueueChanges};
use super::views::why::PartnerReport;

/// Something that happened. An event carries a batch, so that its cost is shared.
#[derive(Debug)]
pub enum Event {
    /// A poller received messages, or found none.
    Received {
        queue: QueueIndex,
        poller: usize,
        messages: Vec<Received>,
        /// When the lease of these copies ends unless it is extended.
        leased_until: Instant,
        /// How much of its demand that used up: as many as came, or all that it knew of where none came. What was given meanwhile stands.
        demand_used: usize,
    },
    /// What the queue's service does to messages by itself, told once, before the first receive.
    Facts { queue: QueueIndex, facts: Facts },
    /// A receive failed; the poller gives its demand back.
    ReceiveFailed { queue: QueueIndex, poller: usize, demand_used: usize, fault: Fault },
    /// A job ended.
    Handled {
        queue: QueueIndex,
        job: Ticket,
        /// What it did since the last that was taken back of it.
        done: Vec<Handled>,
        /// What the job left because the handler turned out to be slow; in order.
        undone: Vec<ToHandle>,
        /// The longest that one message took.
        slowest: Duration,
    },
    /// The answer to [`Command::TakeBack`]. `None`: no thread has begun with the job, and it is left as it is.
    TakenBack { queue: QueueIndex, job: Ticket, back: Option<TakenBack> },
    /// A partner answered, or could not be reached.
    Answered { flush: FlushId, answer: Answer },
    /// A queue did what [`QueueCall`] asked: one result per entry, in the order of the call.
    Settled { queue: QueueIndex, acker: usize, results: Result<Vec<EntryResult>, Fault> },
    /// The answer to [`QueueCall::Count`].
    Counted { queue: QueueIndex, acker: usize, count: Result<Count, Fault> },
    /// The answer to [`Command::Park`]: one result for each delivery, in order.
    Parked { queue: QueueIndex, results: Result<Vec<Parked>, Fault> },
    /// The answer to [`Command::Unpark`]: one for each want, in order.
    Unparked { queue: QueueIndex, answers: Result<Vec<Unparked>, Fault> },
    /// An operator acts upon a partner; the answer is [`Command::Reply`].
    Operate { request: RequestId, account: Account, action: Action },
    /// Other rules for all partners, and other queues, from now on. What is on the wire lands as it is.
    Reloaded { partners: PartnerTable, queues: QueueChanges },
    /// Finish once every queue is empty and everything is settled.
    FinishWhenEmpty,
    /// Stop receiving, finish what can be finished by `deadline`, return the rest.
    Drain { deadline: Instant },
    /// Return everything that is not on the wire, now.
    Stop,
    /// Nothing but time went by.
    Tick,
}

impl Event {
    /// How many messages it is about, 1 at least: what it costs to take it in.
    pub fn weight(&self) -> usize {
        let messages = match self {
            Self::Received { messages, .. } => messages.len(),
            Self::Handled { done, .. } | Self::TakenBack { back: Some(TakenBack { done, .. }), .. } => done.len(),
            Self::Settled { results: Ok(results), .. } => results.len(),
            _ => 1,
        };
        messages.max(1)
    }
}

/// Something to do, for the thread that owns the edge in question. None of them is waited for.
#[derive(Debug)]
pub enum Command {
    /// Gives a poller demand for that many messages more.
    Receive { queue: QueueIndex, poller: usize, demand: Demand },
    /// Runs the queue's handler over these messages, in order, as one job, which the first of them names; the queue's jobs have so many
    /// threads of the pool at most.
    Handle { queue: QueueIndex, messages: Vec<ToHandle>, threads: usize },
    /// Takes back what a job has done, and what it has not begun with: the message that it is at takes long. From now on the queue's jobs
    /// have so many threads. Answered at once.
    TakeBack { queue: QueueIndex, job: Ticket, threads: usize },
    /// Hands a batch to its partner; [`Medium::Inline`]: at once, without a thread between.
    Flush { flush: FlushId, batch: Arc<Batch>, medium: Medium },
    /// Has an acker of the queue do something.
    Settle { queue: QueueIndex, acker: usize, call: QueueCall },
    /// Puts deliveries of the queue into its parking. One call at a time, and in the order of those of [`Command::Unpark`].
    Park { queue: QueueIndex, deliveries: Vec<ToPark> },
    /// Reads what is parked of some accounts.
    Unpark { queue: QueueIndex, wants: Vec<Want> },
    /// Ends the waits of a queue's pollers, where the service allows that: they receive nothing more.
    Interrupt { queue: QueueIndex },
    /// Nothing is left of a queue that was taken away, and nothing more is asked of it: its threads may end.
    Close { queue: QueueIndex },
    /// The answer to [`Event::Operate`], with the partner as it is after it.
    Reply { request: RequestId, result: Result<Box<PartnerReport>, Refusal> },
    /// Something to log: an edge of state, never one message.
    Note(Note),
    /// Nothing is held and nothing will come: the threads may stop.
    Finish,
}

/// What a poller may receive: the back-pressure of the whole engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Messages, over as many receives as it takes; the poller gives back what is left once a receive finds none.
    pub messages: usize,
    pub ask: Ask,
}

/// One message on its way to a handler.
#[derive(Debug, Clone)]
pub struct ToHandle {
    pub ticket: Ticket,
    pub message: Arc<Message>,
}

/// One message that a handler is done with.
#[derive(Debug, PartialEq)]
pub struct Handled {
    pub ticket: Ticket,
    /// The job's, passed on: a message that goes through the pool is counted up and down once.
    pub message: Arc<Message>,
    pub outcome: Outcome,
}

/// What was taken back of a job that goes on.
#[derive(Debug, Default)]
pub struct TakenBack {
    pub done: Vec<Handled>,
    /// Its handler has not begun with these; in order.
    pub undone: Vec<ToHandle>,
}

/// One call to a queue, about copies that it gave.
#[derive(Debug)]
pub enum QueueCall {
    Delete(Vec<Receipt>),
    /// Extends leases and returns copies.
    ChangeVisibility(Vec<(Receipt, Duration)>),
    SetAside(Vec<SetAside>),
    Count,
}

/// Names a question, so that its answer finds whoever asked.
pub type RequestId = u64;

/// What an operator does to a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No flush starts until it is resumed; what is on the wire lands. Also for a partner of whom nothing was heard yet. A pause outlives
    /// everything but the process.
    Pause,
    Resume,
    /// What waits leaves now: without company, and without regard to back-off, breaker and a bucket's gate. While it fails that is one
    /// probe, as ever. Its rate is kept.
    Flush,
    /// The delivery that is first in order, of the longest-waiting of its buckets that are in trouble, becomes a dead letter. Nothing else
    /// changes: the next attempt comes when it was to come.
    Skip,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Flush, Self::Skip];

    /// As the admin server's paths name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Flush => "flush",
            Self::Skip => "skip",
        }
    }
}

/// Why nothing of that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("nothing is known of this partner: nothing waits for it, and nothing of it had to be remembered")]
    Unknown,
    #[error("this partner is paused: resume it first")]
    Paused,
    /// A `Retry-After` is obeyed, whoever wants otherwise.
    #[error("the partner asked for a pause (Retry-After): {} s of it are left", left.as_secs_f64().ceil())]
    AskedToWait { left: Duration },
    #[error("nothing waits for this partner, so that there is nothing to set aside")]
    NothingWaits,
    /// What is on the wire may be accepted at any moment: it cannot be set aside, and what is behind it is not the head.
    #[error("a flush to this partner is on the wire: try again once it has landed, at its timeout at the latest")]
    OnTheWire,
    /// What would be set aside is about to be delivered.
    #[error("nothing blocks this partner, it takes what waits: pause it first if something is to be set aside all the same")]
    NotBlocked,
}

/// Why an edge failed as a whole, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub reason: String,
    /// Whether waiting alone may mend it; otherwise it is tried again slowly, since a person has to act.
    pub transient: bool,
}

/// What a log line says. Edges of state and sums, so that a storm is a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    QueueFailing {
        queue: QueueIndex,
        doing: &'static str,
        fault: Fault,
        retry_in: Duration,
    },
    QueueWell {
        queue: QueueIndex,
        doing: &'static str,
    },
    PartnerWaits {
        account: Account,
        queue: QueueIndex,
        state: PartnerState,
        reason: String,
        failures: u32,
        next_attempt_in: Duration,
    },
    PartnerWell {
        account: Account,
        after_failures: u32,
    },
    /// The first dead letter after a while in which there was none, or how many there were since.
    DeadLetters {
        queue: QueueIndex,
        count: u64,
        example: CompactString,
        reason: String,
    },
    /// The same of messages that were given back because their partner holds more than its share; `hidden`: of that queue, by now.
    GivenBack {
        queue: QueueIndex,
        count: u64,
        example: CompactString,
        reason: String,
        hidden: usize,
    },
    /// The same of deliveries that went to the disk.
    Parked {
        queue: QueueIndex,
        count: u64,
        example: CompactString,
        reason: String,
    },
    /// The same of leases that were lost.
    LeasesLost {
        queue: QueueIndex,
        count: u64,
        example: CompactString,
    },
    /// A result for something that the dispatcher does not know (any more).
    Stray {
        what: &'static str,
    },
}
