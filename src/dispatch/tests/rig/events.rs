//! Lines that become events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Rig;
use crate::dispatch::tests::message;
use crate::dispatch::{Action, Event, Fault, Handled, QueueIndex, TakenBack, Ticket, ToHandle};
use crate::message::service::{Count, Facts};
use crate::message::settle::{EntryError, EntryResult, SettledPart};
use crate::message::{Answer, Attribute, AttributeValue, Delivery, DeliveryName, Outcome, Receipt, Received, RefusalCause};

/// What begins a mark behind the id of a received message.
const MARKS: [char; 6] = ['/', '#', '*', '$', '!', '~'];

impl Rig {
    pub(super) fn event(&mut self, text: &str) -> Event {
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

/// `1`, or `1@acme` where the letter notes the account.
fn delivery_name(text: &str) -> DeliveryName {
    let (index, account) = text.split_once('@').map_or((text, None), |(index, account)| (index, Some(account.into())));
    DeliveryName { index: index.parse().expect("an index"), account }
}
