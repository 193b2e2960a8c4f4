//! Partners that are away for long, under traffic: a test of the rules about the room and the ways out of it.
//!
//! Checked at every step: no more is held than allowed, and the rules towards a partner hold as in the other world. No
//! message is received so often that its service sets it aside. Partners that are well get their messages within
//! [`LONGEST_WAIT`], however many others are away; so do those that only refuse another queue's. No message becomes a dead letter while it could be returned. No
//! message costs more than a few requests per hour. Once all partners take again, everything is delivered within
//! [`RECOVERY`], in order: hidden messages do not stay hidden.

mod scene;
mod service;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fastrand::Rng;

use crate::dispatch::tests::{message, start};
use crate::dispatch::{Command, Dispatcher, Event, Fault, FlushId, QueueCall, Ticket};
use crate::message::service::Ask;
use crate::message::settle::{EntryError, EntryResult};
use crate::message::{Account, Answer, Batch, Delivery, Message, Outcome};

use self::scene::{ACCOUNTS, AWAY, LARGEST, MANY, QUEUES, Scene, TOO_SLOW};
use self::service::{Row, Service};
use super::pool::{Pool, handled, taken_back};
use super::watch::Watch;
use super::{books, liveness};

/// The longest time from when a message is there until a partner that is well has it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The same if all messages are there from the start: each waits for those before it, in its queue and with its handler.
const LONGEST_IN_BACKLOG: Duration = Duration::from_secs(5 * 60);

/// The longest time from when all partners take again until everything is delivered, besides the time
/// that the slowest partner needs.
const RECOVERY: Duration = Duration::from_secs(45 * 60);

/// The largest number of receives of one message.
const MOST_RECEIVES: i64 = 24;

/// The bytes that all bodies are slices of.
static BLANK: [u8; LARGEST] = [b' '; LARGEST];

/// Something that happens at a set moment.
enum Act {
    Receive { queue: usize, poller: usize, poll: u64 },
    Handle { queue: usize, job: Ticket },
    Answer { flush: FlushId, batch: Arc<Batch>, answer: Answer },
    CallQueue { queue: usize, acker: usize, call: QueueCall },
    Wake,
    FinishWhenEmpty,
}

#[derive(Default)]
struct Poller {
    demand: usize,
    /// The poll that is out, and when it ends.
    out: Option<(Ask, Instant)>,
    /// The number of the newest look at the queue; older looks are void.
    poll: u64,
}

pub struct Outage {
    seed: u64,
    random: Rng,
    start: Instant,
    now: Instant,
    scene: Scene,
    dispatcher: Dispatcher,
    services: Vec<Service>,
    pollers: HashMap<(usize, usize), Poller>,
    acts: BTreeMap<(Instant, u64), Act>,
    acted: u64,
    pool: Pool,
    /// When the dispatcher is woken next.
    wakes_at: Option<Instant>,
    /// The number of turns at the present moment.
    turns: u32,
    watch: Watch,
    expected: HashMap<String, BTreeSet<String>>,
    accepted: HashMap<String, Instant>,
    /// The sequence number last accepted of each bucket.
    order: HashMap<(String, Account), u64>,
    sequences: HashMap<String, u64>,
    /// Whether order is kept: with several flushes on the wire any of them may arrive first.
    in_order: bool,
    finished: bool,
}

impl Outage {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let start = start();
        let scene = Scene::new(&mut random);
        let rules = scene.rules(seed, &mut random);
        let partners = scene.partners.iter().map(|partner| (partner.account.to_string(), Arc::clone(&rules.partners.default)));
        let watch = Watch::new(rules.delivery_threads, rules.disk_threads, partners);
        let mut outage = Self {
            seed,
            start,
            now: start,
            services: Vec::new(),
            pollers: HashMap::new(),
            acts: BTreeMap::new(),
            acted: 0,
            pool: Pool::default(),
            wakes_at: None,
            turns: 0,
            watch,
            expected: HashMap::new(),
            accepted: HashMap::new(),
            order: HashMap::new(),
            sequences: HashMap::new(),
            in_order: rules.partners.default.parallel == 1,
            dispatcher: Dispatcher::new(rules, start),
            finished: false,
            scene,
            random,
        };
        for queue in 0..QUEUES {
            let service = outage.service(queue);
            outage.services.push(service);
        }
        outage
    }

    fn service(&mut self, queue: usize) -> Service {
        let mut service = Service::new(queue == 1, self.scene.facts[queue].redrive_after);
        let span = if self.scene.backlog { Duration::ZERO } else { self.scene.span };
        let mut arrivals: Vec<Duration> = (0..self.scene.messages).map(|_| span.mul_f64(self.random.f64())).collect();
        arrivals.sort_unstable();
        for (row, arrival) in (0..).zip(arrivals) {
            // More than half of the traffic is for partners that are away.
            let account = match self.random.u8(..10) {
                0..6 => self.random.usize(..AWAY),
                6 => TOO_SLOW,
                _ => self.random.usize(TOO_SLOW + 1..ACCOUNTS),
            };
            let group = format!("a{account}");
            let mut message = message(&format!("q{queue}m{row}"), service.fifo.then_some(group.as_str()));
            let smallest = if self.scene.backlog { self.scene.size * 9 / 10 } else { 1 };
            message.body = Bytes::from_static(&BLANK).slice(..self.random.usize(smallest..self.scene.size));
            message.attributes.clear();
            message.sent_at = SystemTime::UNIX_EPOCH + arrival;
            self.expected.insert(message.id.to_string(), BTreeSet::from([group]));
            let arrives = self.start + arrival;
            service.rows.insert(row, Row { message, arrives, visible_at: arrives, receive: 0, stolen: false });
        }
        service
    }

    /// Runs until everything is settled, and checks what became of it.
    pub fn run(mut self) {
        for queue in 0..QUEUES {
            self.tell(Event::Facts { queue, facts: self.scene.facts[queue] });
        }
        let quiet = self.scene.all_well().max(self.scene.span);
        self.acts.insert((self.start + quiet, u64::MAX), Act::FinishWhenEmpty);
        while !self.finished {
            let ((at, _), act) = self.acts.pop_first().expect("something is to come until it is finished");
            self.turns = if at > self.now { 0 } else { self.turns + 1 };
            assert!(self.turns < 10_000, "time does not go on");
            self.now = self.now.max(at);
            assert!(self.now < self.start + quiet + self.patience(), "not settled: {:?}", self.left());
            self.act(act);
        }
        self.check_the_end();
    }

    /// Returns the longest time to the end after all partners take again.
    fn patience(&self) -> Duration {
        let to_the_slow = self.scene.messages * QUEUES / 5;
        RECOVERY + self.scene.partners[TOO_SLOW].latency * u32::try_from(to_the_slow).expect("few messages")
    }

    fn left(&self) -> Vec<String> {
        let rows = self.services.iter().flat_map(|service| service.rows.values());
        let told = rows.map(|row| {
            let hidden = row.visible_at.saturating_duration_since(self.now).as_secs();
            format!("{} in receive {} hidden for {hidden} s", row.message.id, row.receive)
        });
        told.take(5).collect()
    }

    fn after(&mut self, wait: Duration, act: Act) {
        self.acted += 1;
        self.acts.insert((self.now + wait, self.acted), act);
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(1..most * 1000))
    }

    fn act(&mut self, act: Act) {
        match act {
            // An earlier wake-up has taken its place.
            Act::Wake if self.wakes_at != Some(self.now) => {}
            Act::Wake => {
                self.wakes_at = None;
                self.tell(Event::Tick);
            }
            Act::FinishWhenEmpty => self.tell(Event::FinishWhenEmpty),
            Act::Receive { queue, poller, poll } => self.receive(queue, poller, poll),
            Act::Handle { queue, job } => {
                let jobs = self.pool.end(queue, job);
                let done = handled(jobs, |message| self.handle(message));
                let slowest = Duration::from_micros(self.random.u64(1..20_000));
                self.tell(Event::Handled { queue, job, done, undone: Vec::new(), slowest });
            }
            Act::Answer { flush, batch, answer } => {
                self.watch.lands(self.now, &batch.account, flush, &answer);
                if answer == Answer::Accepted {
                    self.accept(&batch);
                }
                self.tell(Event::Answered { flush, answer });
            }
            Act::CallQueue { queue, acker, call } => self.call_queue(queue, acker, call),
        }
    }

    fn tell(&mut self, event: Event) {
        self.dispatcher.handle(self.now, event);
        while let Some(command) = self.dispatcher.poll_command() {
            self.command(command);
        }
        assert!(self.dispatcher.held() <= self.scene.max_in_flight, "{} held", self.dispatcher.held());
        books::check(&self.dispatcher);
        liveness::check(&self.dispatcher, self.now);
        let due = self.dispatcher.next_deadline().map(|at| at.max(self.now));
        if let Some(at) = due.filter(|at| self.wakes_at.is_none_or(|set| *at < set)) {
            self.wakes_at = Some(at);
            self.after(at - self.now, Act::Wake);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Receive { queue, poller, demand } => {
                let state = self.pollers.entry((queue, poller)).or_default();
                state.demand += demand.messages;
                if state.out.is_none() {
                    state.out = Some((demand.ask, self.now + demand.ask.wait));
                    let wait = self.millis(20);
                    self.look(queue, poller, wait);
                }
            }
            Command::Handle { queue, messages, .. } => {
                let wait = self.millis(60);
                let job = self.pool.start(queue, messages);
                self.after(wait, Act::Handle { queue, job });
            }
            Command::TakeBack { queue, job, .. } => {
                let back = self.pool.take_back(queue, job, &mut self.random);
                let back = back.map(|back| taken_back(back, |message| self.handle(message)));
                self.dispatcher.handle(self.now, Event::TakenBack { queue, job, back });
            }
            Command::Flush { flush, batch, .. } => {
                self.watch.begins(self.now, &batch.account, flush);
                let (model, queue) = (self.scene.partner(&batch.account), queue_of(&batch));
                let (wait, answer) = model.answer(queue, self.start, self.now, &mut self.random);
                self.after(wait, Act::Answer { flush, batch, answer });
            }
            Command::CallQueue { queue, acker, call } => {
                let wait = self.millis(30);
                self.after(wait, Act::CallQueue { queue, acker, call });
            }
            Command::Finish => self.finished = true,
            Command::Park { .. } | Command::Unpark { .. } => panic!("no queue has a parking"),
            Command::Interrupt { .. } | Command::Note(_) | Command::Reply { .. } | Command::Close { .. } => {}
        }
    }

    /// Makes the poller look at the queue after this wait, instead of at the moment set before.
    fn look(&mut self, queue: usize, poller: usize, wait: Duration) {
        let state = self.pollers.entry((queue, poller)).or_default();
        state.poll += 1;
        let poll = state.poll;
        self.after(wait, Act::Receive { queue, poller, poll });
    }

    /// Looks at the queue for a long poll, which answers once there is a message or its time is over. A poll that
    /// brings fewer messages than it might gives up its remaining demand.
    fn receive(&mut self, queue: usize, poller: usize, poll: u64) {
        let (now, service) = (self.now, &mut self.services[queue]);
        let state = self.pollers.entry((queue, poller)).or_default();
        let Some((ask, until)) = state.out.filter(|_| state.poll == poll) else { return };
        let messages = service.receive(now, ask.max.min(state.demand), ask.lease);
        let next = service.next(now).unwrap_or(until).min(until);
        if messages.is_empty() && next > now {
            return self.look(queue, poller, next - now);
        }
        for received in &messages {
            self.sequences.insert(received.message.id.to_string(), received.sequence);
        }
        let demand_used = if messages.len() < ask.max.min(state.demand) { state.demand } else { messages.len() };
        state.demand -= demand_used;
        state.out = (state.demand > 0).then_some((ask, now + ask.wait));
        let goes_on = state.out.is_some();
        self.tell(Event::Received { queue, poller, messages, leased_until: now + ask.lease, demand_used });
        if goes_on {
            let wait = self.millis(20);
            self.look(queue, poller, wait);
        }
    }

    /// Makes the waiting polls look again, after something has changed on the queue.
    fn wake_polls(&mut self, queue: usize) {
        let waiting = self.pollers.iter().filter(|((of, _), state)| *of == queue && state.out.is_some());
        let mut waiting: Vec<usize> = waiting.map(|((_, poller), _)| *poller).collect();
        waiting.sort_unstable();
        for poller in waiting {
            let wait = self.millis(20);
            self.look(queue, poller, wait);
        }
    }

    /// Returns what a message's handler decides: the same each time.
    fn handle(&mut self, message: &Message) -> Outcome {
        let mut fixed = Rng::with_seed(self.seed ^ super::world::hash(&message.id));
        let first = self.expected[message.id.as_str()].first().filter(|account| account.starts_with('a')).cloned();
        let Some(first) = first else { unreachable!("an account is noted for each message") };
        let mut accounts = vec![first];
        if self.scene.fans_out && fixed.u8(..8) == 0 {
            accounts.extend((0..2).map(|_| format!("a{}", fixed.usize(..ACCOUNTS))));
        }
        let deliveries =
            accounts.iter().map(|account| Delivery { account: account.as_str().into(), payload: message.body.clone() });
        Outcome::Deliver(deliveries.collect())
    }

    /// Returns the ids of the deliveries that the message leads to.
    fn deliveries(&mut self, message: &Message) -> Vec<String> {
        let Outcome::Deliver(deliveries) = self.handle(message) else { return Vec::new() };
        match deliveries.len() {
            1 => vec![message.id.to_string()],
            several => (0..several).map(|index| format!("{}-{index}", message.id)).collect(),
        }
    }

    fn accept(&mut self, batch: &Batch) {
        let queue = queue_of(batch);
        let well = self.scene.partner(&batch.account).is_well_for(queue);
        for item in &batch.items {
            let id = item.message.id.as_str();
            let row: i64 = id.split_once('m').expect("qNmN").1.parse().expect("a row");
            let (stolen, arrives) = self.services[queue].rows.get(&row).map_or((true, self.now), |row| (row.stolen, row.arrives));
            let again = self.accepted.insert(item.id().to_string(), self.now);
            assert!(again.is_none() || self.scene.steals, "{} is delivered twice", item.id());
            // A message behind one of its group that also waits for another partner shares its fate.
            let is_locked = self.services[queue].fifo && self.scene.fans_out;
            if well && item.index.is_none() && !stolen && !is_locked {
                let waited = self.now - arrives;
                let longest = if self.scene.backlog { LONGEST_IN_BACKLOG } else { LONGEST_WAIT };
                assert!(waited <= longest, "{id} waited for {waited:?} although its partner is well");
            }
            let sequence = if self.services[queue].fifo { row as u64 } else { self.sequences[id] };
            let bucket = (batch.queue.to_string(), batch.account.clone());
            let own = item.message.group.as_ref().is_none_or(|group| *group == batch.account);
            // A message that may be what ends the process goes out of order.
            let is_suspect = item.message.receives > 1 && item.message.receives > self.scene.max_receives / 2;
            if own && !self.scene.steals && self.in_order && !is_suspect {
                let last = self.order.insert(bucket, sequence);
                assert!(last.is_none_or(|last| last <= sequence), "{id} is out of order");
            }
        }
    }

    fn call_queue(&mut self, queue: usize, acker: usize, call: QueueCall) {
        if self.random.u8(..40) == 0 && !matches!(call, QueueCall::Count) {
            let fault = Fault { reason: "throttled".into(), transient: true };
            return self.tell(Event::QueueAnswered { queue, acker, results: Err(fault) });
        }
        if self.scene.steals && self.random.u8(..100) == 0 {
            let nth = self.random.usize(..1000);
            self.services[queue].steal(self.now, nth);
        }
        let now = self.now;
        let results = match call {
            QueueCall::Count => {
                let count = Ok(self.services[queue].count(now));
                return self.tell(Event::Counted { queue, acker, count });
            }
            QueueCall::Delete(receipts) => receipts.iter().map(|receipt| self.delete(queue, receipt)).collect(),
            QueueCall::ChangeVisibility(changes) => changes
                .iter()
                .map(|change| {
                    if self.random.u8(..100) == 0 {
                        return Err(EntryError::Failed("internal error".into()));
                    }
                    self.services[queue].leased(&change.receipt).map(|row| row.visible_at = now + change.hidden)
                })
                .collect(),
            QueueCall::SetAside(letters) => letters.iter().map(|letter| self.set_aside(queue, letter)).collect(),
        };
        self.wake_polls(queue);
        self.tell(Event::QueueAnswered { queue, acker, results: Ok(results) });
    }

    fn is_settled(&self, queue: usize, delivery: &str) -> bool {
        let dead = &self.services[queue].dead;
        // A message that came too often is set aside as a whole.
        let message = delivery.split('-').next().unwrap_or(delivery);
        self.accepted.contains_key(delivery) || dead.contains(delivery) || dead.contains(message)
    }

    fn delete(&mut self, queue: usize, receipt: &crate::message::Receipt) -> EntryResult {
        let message = self.services[queue].leased(receipt)?.message.clone();
        for delivery in self.deliveries(&message) {
            assert!(self.is_settled(queue, &delivery), "{} is deleted, and {delivery} is open", message.id);
        }
        self.remove(queue, receipt);
        Ok(())
    }

    /// Takes a message off its queue, and checks that it was not received too often.
    fn remove(&mut self, queue: usize, receipt: &crate::message::Receipt) {
        if let Ok(row) = self.services[queue].leased(receipt) {
            assert!(row.receive <= MOST_RECEIVES || row.stolen, "{} was received {} times", row.message.id, row.receive);
        }
        self.services[queue].remove(receipt);
    }

    fn set_aside(&mut self, queue: usize, letter: &crate::message::dead::SetAside) -> EntryResult {
        let row = self.services[queue].leased(&letter.receipt)?;
        let (id, stolen) = (letter.message.id.to_string(), row.stolen);
        let facts = self.scene.facts[queue];
        let kind = letter.reason.kind.word();
        let too_often = stolen && kind == "max_receives";
        assert!(kind.starts_with("partner_") || too_often, "{id} is dead, and nothing is wrong with it: {:?}", letter.reason);
        let comes_often = facts.redrive_after.is_none() && self.scene.max_receives == MANY;
        let may_leave = comes_often && facts.hidden_limit.is_none() && !self.scene.fans_out;
        assert!(!may_leave || stolen, "{id} is dead and could have been returned: {:?}", letter.reason);
        let name = match letter.delivery.as_ref().and_then(|delivery| delivery.index) {
            Some(index) => format!("{id}-{index}"),
            None => id,
        };
        assert!(!self.accepted.contains_key(&name) || stolen, "{name} is accepted and dead");
        self.services[queue].dead.insert(name);
        if letter.last {
            self.remove(queue, &letter.receipt);
        }
        Ok(())
    }

    fn check_the_end(&mut self) {
        let status = self.dispatcher.status();
        for queue in 0..QUEUES {
            assert!(self.services[queue].rows.is_empty(), "left: {:?}", self.left());
            let counts = &status.queues[queue].counts;
            assert_eq!(counts.received, counts.exits(), "{counts:?}");
            if !self.scene.steals {
                assert_eq!((counts.leases_lost, counts.duplicates_dropped), (0, 0), "{counts:?}");
            }
            for row in 0..self.scene.messages {
                let id = format!("q{queue}m{row}");
                if self.services[queue].redriven.contains(&id) {
                    continue;
                }
                for delivery in self.deliveries(&message(&id, None)) {
                    assert!(self.is_settled(queue, &delivery), "{delivery} is lost");
                }
            }
        }
        assert_eq!((status.in_flight, status.in_flight_bytes), (0, 0));
    }
}

fn queue_of(batch: &Batch) -> usize {
    batch.queue[1..].parse().expect("q0 or q1")
}
