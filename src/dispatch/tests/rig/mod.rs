//! A test bench for the dispatcher: events go in as short lines, commands come out as short
//! lines, and the table sets the time. After each event the [`books`] must agree.
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

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use compact_str::CompactString;

use super::super::{
    Action, Command, Dispatcher, Event, Fault, FlushId, Handled, NewQueue, Note, PartnerReport, QueueCall, QueueChanges,
    QueueIndex, Refusal, Rules, TakenBack, Ticket, ToHandle,
};
use super::disk::Disk;
use super::simulation::books;
use super::{message, start};
use crate::message::park::{ToPark, Want};
use crate::message::service::{Count, Facts};
use crate::message::settle::{EntryError, EntryResult, SettledPart, VisibilityChange};
use crate::message::{Answer, Attribute, AttributeValue, Delivery, DeliveryName, Outcome, Receipt, Received, RefusalCause};

/// What begins a mark behind the id of a received message.
const MARKS: [char; 6] = ['/', '#', '*', '$', '!', '~'];

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

    fn event(&mut self, text: &str) -> Event {
        let (queue, text) = match text.split_once(": ") {
            Some((queue, rest)) => (queue[1..].parse().expect("a queue, as in q1"), rest),
            None => (0, text),
        };
        let mut words = text.split_whitespace();
        let verb = words.next().expect("an event");
        let words: Vec<&str> = words.collect();
        match (verb, words.as_slice()) {
            ("facts", [redrive_after, longest]) => {
                let redrive_after = Some(redrive_after.parse().expect("a count"));
                let facts = Facts { redrive_after, longest_lease: Some(duration(longest)), ..Facts::default() };
                Event::Facts { queue, facts }
            }
            ("receive", ["failed"]) => self.receive_failed(queue, true),
            ("receive", ["refused"]) => self.receive_failed(queue, false),
            ("receive", ids) => self.receive(queue, 0, ids),
            (verb, ids) if verb.starts_with("receive@") => {
                self.receive(queue, verb["receive@".len()..].parse().expect("a poller"), ids)
            }
            ("handled", results) => {
                let (job, back, slowest) = self.handled(results);
                Event::Handled { queue, job, done: back.done, undone: back.undone, slowest }
            }
            ("back", [id, "waits"]) => Event::TakenBack { queue, job: self.jobs[*id], back: None },
            ("back", [id]) if !id.contains(['-', '=', ':']) => {
                Event::TakenBack { queue, job: self.jobs[*id], back: Some(TakenBack::default()) }
            }
            ("back", results) => {
                let (job, back, _) = self.handled(results);
                Event::TakenBack { queue, job, back: Some(back) }
            }
            ("accepted", [account]) => self.answered(queue, account, Answer::Accepted),
            ("unreachable", [account]) => self.answered(queue, account, Answer::Unreachable { reason: "no route".into() }),
            ("cannot", [account]) => {
                self.answered(queue, account, Answer::Refused { cause: RefusalCause::Impossible, reason: "no such name".into() })
            }
            ("answered", [account, code, rest @ ..]) => {
                let (code, retry_after) = (code.parse().expect("a status"), rest.first().map(|text| duration(text)));
                self.answered(queue, account, Answer::Status { code, retry_after, excerpt: "".into() })
            }
            ("partly", [account, places, code]) => {
                let accepted = places.split(',').map(|place| place.parse().expect("a place")).collect();
                let rest = Answer::Status { code: code.parse().expect("a status"), retry_after: None, excerpt: "".into() };
                self.answered(queue, account, Answer::Partly { accepted, rest: Box::new(rest) })
            }
            ("settled", results) => self.settled(queue, results),
            ("parked", ["fault"]) => {
                self.parking.pop_front().expect("a call to the parking");
                Event::Parked { queue, results: Err(fault(true)) }
            }
            ("parked", how) => {
                let deliveries = self.parking.pop_front().expect("a call to the parking");
                let most = (how == ["full"]).then_some(0);
                let before = std::mem::replace(&mut self.disk.most, most);
                let results = self.disk.park(self.now, &deliveries);
                self.disk.most = before;
                Event::Parked { queue, results: Ok(results) }
            }
            ("unparked", ["fault"]) => {
                self.unparking.pop_front().expect("rows that are wanted");
                Event::Unparked { queue, answers: Err(fault(true)) }
            }
            ("unparked", []) => {
                let wants = self.unparking.pop_front().expect("rows that are wanted");
                Event::Unparked { queue, answers: Ok(self.disk.unpark(self.now, &wants)) }
            }
            ("counted", ["fault"]) => self.counted(queue, Err(fault(true))),
            ("counted", [visible, hidden, delayed]) => {
                let number = |text: &&str| text.parse().expect("a number");
                let count = Count { visible: number(visible), hidden: number(hidden), delayed: number(delayed) };
                self.counted(queue, Ok(count))
            }
            ("pause", [account]) => operate(account, Action::Pause),
            ("resume", [account]) => operate(account, Action::Resume),
            ("flush", [account]) => operate(account, Action::Flush),
            ("skip", [account]) => operate(account, Action::Skip),
            ("tick", []) => Event::Tick,
            ("drain", [after]) => Event::Drain { deadline: self.now + duration(after) },
            ("stop", []) => Event::Stop,
            _ => panic!("no such event: {text}"),
        }
    }

    fn receive(&mut self, queue: QueueIndex, poller: usize, words: &[&str]) -> Event {
        let queue_state = &mut self.queues[queue];
        let used = words.iter().find_map(|word| word.strip_prefix("used:")).map(|used| used.parse().expect("a demand"));
        let messages = words.iter().filter(|word| !word.starts_with("used:")).map(|text| {
            let end = text.find(MARKS).unwrap_or(text.len());
            let (id, mut marks) = text.split_at(end);
            let (mut message, mut settled) = (message(id, None), None);
            message.sent_at += Duration::from_secs(queue_state.sequence);
            while let Some(mark) = marks.chars().next() {
                let end = marks[1..].find(MARKS).map_or(marks.len(), |place| place + 1);
                let value = &marks[1..end];
                match mark {
                    '/' => message.group = Some(value.into()),
                    '#' => message.receives = value.parse().expect("a count"),
                    '*' => message.body = vec![b' '; value.parse().expect("a size")].into(),
                    '$' => {
                        let value = AttributeValue::Binary(vec![0; value.parse().expect("a size")].into());
                        message.attributes.push(Attribute::new("x".into(), value));
                    }
                    '~' => {
                        let deliveries = value.split('+').map(delivery_name).collect();
                        settled = Some(Box::new(SettledPart { deliveries, accepted: true }));
                    }
                    _ => message.open = Some(value.split_terminator('+').map(delivery_name).collect()),
                }
                marks = &marks[end..];
            }
            let row = queue_state.names.iter().position(|name| name == id).unwrap_or_else(|| {
                queue_state.names.push(id.into());
                queue_state.names.len() - 1
            });
            let receive = queue_state.receives.entry(id.into()).and_modify(|receive| *receive += 1).or_insert(1);
            let receipt = Receipt::Row { row: i64::try_from(row).expect("few rows"), receive: *receive };
            let sequence = queue_state.sequence;
            queue_state.sequence += 1;
            Received { message: Arc::new(message), receipt, sequence, settled }
        });
        let messages: Vec<_> = messages.collect();
        let demand_used = used.unwrap_or(if messages.is_empty() { usize::MAX } else { messages.len() });
        Event::Received { queue, poller, messages, leased_until: self.now + queue_state.lease, demand_used }
    }

    fn receive_failed(&self, queue: QueueIndex, transient: bool) -> Event {
        Event::ReceiveFailed { queue, poller: 0, demand_used: usize::MAX, fault: fault(transient) }
    }

    /// Returns the job's name, what it has done and left, and the time of its slowest message.
    fn handled(&self, results: &[&str]) -> (Ticket, TakenBack, Duration) {
        let (mut done, mut undone, mut slowest) = (Vec::new(), Vec::new(), Duration::from_millis(20));
        for result in results {
            if let Some((id, accounts)) = result.split_once("->") {
                let deliveries = accounts.split(',').map(|text| {
                    let (account, size) = text.split_once('*').unwrap_or((text, "1"));
                    let payload = Bytes::from(vec![b'x'; size.parse().expect("a size")]);
                    Delivery { account: account.into(), payload }
                });
                done.push(self.done(id, Outcome::Deliver(deliveries.collect())));
            } else if let Some((id, outcome)) = result.split_once('=') {
                let outcome = match outcome.split_once(':') {
                    Some((_, after)) => Outcome::Retry { after: duration(after), reason: "not yet".into() },
                    None if outcome == "discard" => Outcome::Discard,
                    None => Outcome::reject("no account"),
                };
                done.push(self.done(id, outcome));
            } else if let Some(id) = result.strip_prefix("left:") {
                undone.push(self.tickets[id].clone());
            } else if let Some(took) = result.strip_prefix("took:") {
                slowest = duration(took);
            } else {
                panic!("no such result: {result}");
            }
        }
        let first = done.iter().map(|handled| &handled.message).chain(undone.iter().map(|job| &job.message)).next();
        let job = self.jobs[&first.expect("a message").id];
        (job, TakenBack { done, undone }, slowest)
    }

    fn done(&self, id: &str, outcome: Outcome) -> Handled {
        let ToHandle { ticket, message } = self.tickets[id].clone();
        Handled { ticket, message, outcome }
    }

    fn answered(&mut self, queue: QueueIndex, account: &str, answer: Answer) -> Event {
        let (account, place) = account.split_once('+').unwrap_or((account, "0"));
        let flushes = self.flushes.get_mut(&(queue, account.into()));
        let flush = flushes.and_then(|flushes| flushes.remove(place.parse().expect("a place")));
        let flush = flush.unwrap_or_else(|| panic!("no such flush to {account} is on the wire"));
        Event::Answered { flush, answer }
    }

    fn settled(&mut self, queue: QueueIndex, results: &[&str]) -> Event {
        let (acker, entries) = self.queues[queue].calls.pop_front().expect("a call under way");
        let results = match results {
            ["fault"] => Err(fault(true)),
            [] => Ok(vec![Ok(()); entries]),
            results => Ok(results.iter().map(|result| entry(result)).collect()),
        };
        Event::QueueAnswered { queue, acker, results }
    }

    fn counted(&mut self, queue: QueueIndex, count: Result<Count, Fault>) -> Event {
        let acker = self.queues[queue].counts.pop_front().expect("a count under way");
        Event::Counted { queue, acker, count }
    }

    fn drain_commands(&mut self) -> String {
        let mut lines: Vec<String> = Vec::new();
        while let Some(command) = self.dispatcher.poll_command() {
            assert!(lines.len() < 10_000, "the commands never end: {:?}", &lines[..10]);
            let Some(line) = self.line(command) else { continue };
            match (lines.last_mut(), line.split_once("handle ")) {
                (Some(last), Some((queue, ids))) if last.starts_with(&format!("{queue}handle ")) => {
                    last.push('|');
                    last.push_str(ids);
                }
                _ => lines.push(line),
            }
        }
        lines.join("; ")
    }

    fn line(&mut self, command: Command) -> Option<String> {
        let (queue, line) = match command {
            Command::Note(note) => {
                self.notes.push(note);
                return None;
            }
            Command::Receive { .. } if !self.asks => return None,
            Command::Receive { queue, demand, .. } => (queue, format!("ask {}", demand.messages)),
            Command::Handle { queue, messages, .. } => {
                let ids: Vec<_> = messages.iter().map(|one| one.message.id.to_string()).collect();
                let job = messages[0].ticket;
                self.jobs.extend(messages.iter().map(|one| (one.message.id.clone(), job)));
                self.tickets.extend(messages.into_iter().map(|one| (one.message.id.clone(), one)));
                (queue, format!("handle {}", ids.join(" ")))
            }
            Command::TakeBack { queue, job, threads } => {
                let of_it = self.jobs.iter().filter(|(_, name)| **name == job).map(|(id, _)| id.to_string());
                let mut ids: Vec<_> = of_it.collect();
                ids.sort();
                (queue, format!("take back {} threads:{threads}", ids.join(" ")))
            }
            Command::Flush { flush, batch, .. } => {
                let queue = batch.queue[1..].parse().expect("queues are named q0, q1, …");
                self.flushes.entry((queue, batch.account.clone())).or_default().push_back(flush);
                let ids: Vec<_> = batch.items.iter().map(|item| item.id().to_string()).collect();
                (queue, format!("flush {} {}", batch.account, ids.join(" ")))
            }
            Command::Park { queue, deliveries } => {
                let parcels = deliveries.iter().map(|ToPark { account, item, older, .. }| {
                    let older = if *older { "<" } else { "" };
                    format!(" {account}:{older}{}", item.id())
                });
                let line = format!("park{}", parcels.collect::<String>());
                self.parking.push_back(deliveries);
                (queue, line)
            }
            Command::Unpark { queue, wants } => {
                let names: String = wants.iter().map(|want| format!(" {} {}", want.account, want.rows)).collect();
                self.unparking.push_back(wants);
                (queue, format!("unpark{names}"))
            }
            Command::CallQueue { queue, acker, call: QueueCall::Count } => {
                self.queues[queue].counts.push_back(acker);
                (queue, "count".to_owned())
            }
            Command::CallQueue { queue, acker, call } => {
                let entries = self.entries(queue, &call);
                if let (true, QueueCall::Delete(receipts)) = (self.rows == Some(queue), &call) {
                    receipts.iter().for_each(|receipt| _ = self.disk.delete(receipt));
                }
                self.queues[queue].calls.push_back((acker, entries.len() - 1));
                (queue, entries.join(" "))
            }
            Command::Reply { result, .. } => {
                let result = result.map(|report| *report);
                let line = result
                    .as_ref()
                    .map_or_else(|refusal| format!("reply {refusal:?}"), |report| format!("reply {}", report.state));
                self.replies.push(result);
                (0, line)
            }
            Command::Interrupt { queue } => (queue, "interrupt".to_owned()),
            Command::Close { queue } => (queue, "close".to_owned()),
            Command::Finish => (0, "finish".to_owned()),
        };
        Some(if queue == 0 { line } else { format!("q{queue}: {line}") })
    }

    /// Returns the call's verb, then its entries.
    fn entries(&self, queue: QueueIndex, call: &QueueCall) -> Vec<String> {
        let is_parking = self.rows == Some(queue);
        let name = |receipt: &Receipt| if is_parking { self.disk.name(receipt) } else { self.queues[queue].name(receipt) };
        match call {
            QueueCall::Delete(receipts) => std::iter::once("delete".to_owned()).chain(receipts.iter().map(name)).collect(),
            QueueCall::ChangeVisibility(changes) => {
                let changes = changes.iter().map(|VisibilityChange { receipt, hidden, settled, uncounted }| {
                    let settled = settled.as_deref().map(settled_text).unwrap_or_default();
                    let mark = if self.counts && *uncounted { "^" } else { "" };
                    format!("{}={}{settled}{mark}", name(receipt), text(*hidden))
                });
                std::iter::once("hide".to_owned()).chain(changes).collect()
            }
            QueueCall::SetAside(letters) => {
                let letters = letters.iter().map(|letter| {
                    let index = letter.delivery.as_ref().and_then(|delivery| delivery.index);
                    let index = index.map(|index| format!("-{index}")).unwrap_or_default();
                    let open = if letter.last { "" } else { "+open" };
                    format!("{}{index}:{}{open}", name(&letter.receipt), letter.reason.kind.word())
                });
                std::iter::once("letter".to_owned()).chain(letters).collect()
            }
            QueueCall::Count => Vec::new(),
        }
    }
}

impl FakeQueue {
    fn name(&self, receipt: &Receipt) -> String {
        let Receipt::Row { row, receive } = receipt else { panic!("not a receipt of this queue") };
        let id = &self.names[usize::try_from(*row).expect("a row")];
        if *receive == 1 { id.to_string() } else { format!("{id}'{receive}") }
    }
}

fn entry(text: &str) -> EntryResult {
    match text {
        "ok" => Ok(()),
        "gone" => Err(EntryError::Gone),
        "failed" => Err(EntryError::Failed("throttled".to_owned())),
        "undeleted" => Err(EntryError::NotDeleted("throttled".to_owned())),
        _ => panic!("no such result: {text}"),
    }
}

fn operate(account: &str, action: Action) -> Event {
    Event::Operate { request: 1, account: account.into(), action }
}

fn fault(transient: bool) -> Fault {
    Fault { reason: "no answer".to_owned(), transient }
}

fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(number) => Duration::from_millis(number.parse().expect("milliseconds")),
        None => Duration::from_secs(text.trim_end_matches('s').parse().expect("seconds")),
    }
}

fn text(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "0".to_owned(),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// `1`, or `1@acme` where the letter notes the account.
fn delivery_name(text: &str) -> DeliveryName {
    let (index, account) = text.split_once('@').map_or((text, None), |(index, account)| (index, Some(account.into())));
    DeliveryName { index: index.parse().expect("an index"), account }
}

fn settled_text(settled: &SettledPart) -> String {
    let name = |name: &DeliveryName| format!("{}@{}", name.index, name.account.as_deref().unwrap_or("?"));
    let names: Vec<_> = settled.deliveries.iter().map(name).collect();
    format!("~{}{}", if settled.accepted { "" } else { "dead:" }, names.join("+"))
}
