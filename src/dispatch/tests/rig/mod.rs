//! A test bench for the dispatcher: events go in as short lines ([`events`]), commands come out as short
//! lines ([`commands`]), and the table sets the time. After each event the [`books`] must agree.
//!
//! Events name their queue in front if it is not the first (`q1: receive a`):
//!
//! | line | meaning |
//! |---|---|
//! | `receive a b/g c#3 d*500` | messages: plain, of group g, in their third receive, with a body of 500 bytes |
//! | `receive d$500` | a message with an attribute of 500 bytes beside its name, `x` |
//! | `receive e!1 f!1+2 g!` | messages redriven for delivery 1, for 1 and 2, with an empty list |
//! | `receive h~0@acme+2@beta` | a message of which the queue knows that these deliveries are settled, one of them accepted |
//! | `receive` | a receive found no message |
//! | `receive@1 a used:10` | the second poller received, and more of its demand is used up than it received |
//! | `facts 3 12h` | the service sets a message aside after 3 receives, and hides it for at most 12 hours |
//! | `receive failed` | a receive failed; `receive refused`: for a reason that waiting does not mend |
//! | `handled a->x,y b=discard c=reject d=retry:3s left:e took:20ms` | a job ended; `x*500`: a payload of 500 bytes |
//! | `back a->x left:e` | the answer to `take back`: what is done and what is left of the job |
//! | `back a` | the same: nothing is done, and nothing left |
//! | `back a waits` | the same: no thread has begun with the job |
//! | `partly x 1,3 503` | the oldest flush to x landed: deliveries 1 and 3 are accepted, the others drew that answer |
//! | `accepted x`, `answered x 503`, `answered x 429 60s` | the oldest flush to x landed; `x+1`: the next |
//! | `unreachable x`, `cannot x` | the same without an answer |
//! | `settled`, `settled fault` | the oldest call of the queue ended: all well; failed as a whole |
//! | `settled ok gone failed undeleted` | the same, entry by entry |
//! | `parked`, `parked full`, `parked fault` | the deliveries on their way to q0's parking are on its disk, or not |
//! | `unparked`, `unparked fault` | the rows wanted of the parking came, or could not be read |
//! | `counted 0 1 0`, `counted fault` | the oldest count ended: visible, hidden, delayed |
//! | `pause x`, `resume x`, `flush x`, `skip x` | an operator's action on x |
//! | `tick`, `drain 30s`, `stop` | time went by; the engine drains; it stops by force |
//!
//! Commands are joined by `; `: `ask 10` (shown only if [`Rig::asks`] is set), `handle a b|c` (two jobs),
//! `take back a b threads:3`, `flush x a b-1`, `delete a`, `reply paused` (the state, or why not: `reply Paused`),
//! `hide a=30s`, `hide a=0~0@acme` (says what is settled; `~dead:0@acme`: of which nothing was accepted), `hide a=0^` (its receive
//! does not count; shown only if [`Rig::counts`] is set), `letter a:rejected`, `letter a-1:refused+open` (the letter does not settle the message), `count`,
//! `interrupt`, `close`, `finish`, `park x:a x:<b` (b is older than the parked deliveries), `unpark x 10`.
//!
//! The parking's own queue is the one after all others. `a'2` is the receipt of the second receive of a.

mod commands;
mod events;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use compact_str::CompactString;

use super::disk::Disk;
use super::simulation::books;
use super::start;
use crate::dispatch::{
    Dispatcher, Event, FlushId, NewQueue, Note, PartnerReport, QueueChanges, QueueIndex, Refusal, Rules, Ticket, ToHandle,
};
use crate::message::park::{ToPark, Want};

pub struct Rig {
    pub dispatcher: Dispatcher,
    pub start: Instant,
    /// Whether commands to pollers are shown.
    pub asks: bool,
    /// Whether returns whose receive does not count are marked.
    pub counts: bool,
    pub notes: Vec<Note>,
    /// The answers to operators.
    pub replies: Vec<Result<PartnerReport, Refusal>>,
    queues: Vec<FakeQueue>,
    tickets: HashMap<CompactString, ToHandle>,
    /// The job that each message was last in.
    jobs: HashMap<CompactString, Ticket>,
    flushes: HashMap<(QueueIndex, CompactString), VecDeque<FlushId>>,
    now: Instant,
    /// The parking of the first queue.
    pub disk: Disk,
    /// The queue as which rows of the parking come back.
    rows: Option<QueueIndex>,
    parking: VecDeque<Vec<ToPark>>,
    unparking: VecDeque<Vec<Want>>,
}

#[derive(Default)]
struct FakeQueue {
    sequence: u64,
    names: Vec<CompactString>,
    receives: HashMap<CompactString, i64>,
    calls: VecDeque<(usize, usize)>,
    counts: VecDeque<usize>,
    lease: Duration,
}

impl Rig {
    pub fn new(rules: Rules) -> Self {
        let start = start();
        let mut queues: Vec<_> =
            rules.queues.iter().map(|rules| FakeQueue { lease: rules.visibility_timeout, ..FakeQueue::default() }).collect();
        let rows = rules.parkings.first().map(|_| queues.len());
        queues.extend(rules.parkings.iter().map(|_| FakeQueue::default()));
        let mut rig = Self {
            dispatcher: Dispatcher::new(rules, start),
            start,
            asks: false,
            counts: false,
            notes: Vec::new(),
            replies: Vec::new(),
            queues,
            tickets: HashMap::new(),
            jobs: HashMap::new(),
            flushes: HashMap::new(),
            now: start,
            disk: Disk::default(),
            rows,
            parking: VecDeque::new(),
            unparking: VecDeque::new(),
        };
        rig.drain_commands();
        rig
    }

    /// Plays a table of (milliseconds, event, commands) and compares the commands, line by line.
    pub fn play(&mut self, table: &[(u64, &str, &str)]) {
        for (line, (at, event, expected)) in table.iter().enumerate() {
            let commands = self.send(*at, event);
            assert_eq!(commands, *expected, "line {line}: at {at} ms: {event}");
        }
    }

    /// Sends one event and returns the commands that it led to.
    pub fn send(&mut self, at: u64, text: &str) -> String {
        self.now = self.start + Duration::from_millis(at);
        let event = self.event(text);
        self.handle(at, event)
    }

    /// Lets each of these partners accept one flush, so that they may use any delivery thread. The
    /// clock of a test starts after this.
    pub fn prove(&mut self, accounts: &[&str]) {
        for account in accounts {
            let id = format!("proof-{account}");
            self.play(&[
                (0, &format!("receive {id}"), &format!("handle {id}")),
                (0, &format!("handled {id}->{account}"), &format!("flush {account} {id}")),
                (0, &format!("accepted {account}"), &format!("delete {id}")),
                (0, "settled", ""),
            ]);
        }
    }

    /// Sends an event that the language has no line for and returns the commands that it led to.
    pub fn handle(&mut self, at: u64, event: Event) -> String {
        self.now = self.start + Duration::from_millis(at);
        self.dispatcher.handle(self.now, event);
        let commands = self.drain_commands();
        books::check(&self.dispatcher);
        commands
    }

    /// Reloads the queues; the partners stay as they are in [`rules`](super::rules).
    pub fn reload(&mut self, at: u64, queues: QueueChanges) -> String {
        for NewQueue { rules, parking } in &queues.added {
            self.queues.push(FakeQueue { lease: rules.visibility_timeout, ..FakeQueue::default() });
            if parking.is_some() {
                self.rows = Some(self.queues.len());
                self.queues.push(FakeQueue::default());
            }
        }
        self.handle(at, Event::Reloaded { partners: super::rules().partners, queues })
    }

    /// Goes from one deadline to the next until commands come. Returns when they came, and the commands.
    pub fn skip_to_commands(&mut self) -> (u64, String) {
        for _ in 0..100 {
            let at = self.next_deadline().expect("something is due");
            let commands = self.send(at, "tick");
            if !commands.is_empty() {
                return (at, commands);
            }
        }
        panic!("what is due leads to nothing");
    }

    /// Returns the next deadline in milliseconds since the start, rounded up.
    pub fn next_deadline(&self) -> Option<u64> {
        let micros = self.dispatcher.next_deadline()?.saturating_duration_since(self.start).as_micros();
        Some(u64::try_from(micros.div_ceil(1000)).expect("within the test"))
    }
}
