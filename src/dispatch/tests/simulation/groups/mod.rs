//! A FIFO queue whose leases lapse: calls about them are slow or fail, handlers and flushes take longer than the lease, and
//! another consumer may have the messages meanwhile. Checked: whatever happens, no partner accepts a message of a group
//! after one that came behind it, unless something of it became a dead letter.

mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::books;
use super::pool::{Pool, handled, taken_back};
use super::world::hash;
use crate::dispatch::ledger::Held;
use crate::dispatch::tests::{message, partner_rules, queue_rules, start};
use crate::dispatch::{Command, Dispatcher, Event, Fault, FlushId, PartnerTable, QueueCall, QueueRules, Rules, Ticket};
use crate::message::service::{Ask, Facts};
use crate::message::settle::{EntryError, EntryResult};
use crate::message::{Answer, Batch, Delivery, Message, Outcome};

use self::rows::{Rows, row_of};

const MESSAGES: i64 = 60;
const MAX_HELD: usize = 40;
const LEASE: Duration = Duration::from_secs(4);
/// When all faults end, and by when everything must be settled.
const WELL_AFTER: Duration = Duration::from_secs(150);
const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// Something that happens to one consumer at a set moment.
enum Act {
    Receive { poller: usize, ask: Ask },
    Handle { job: Ticket },
    Answer { flush: FlushId, batch: Arc<Batch> },
    CallQueue { acker: usize, call: QueueCall },
    QueueAnswers { acker: usize, results: Result<Vec<EntryResult>, Fault> },
    End(Event),
    Restart,
    Tick,
}

/// A process that consumes the queue.
struct Consumer {
    dispatcher: Dispatcher,
    /// The number of processes before it: what these had under way is of no more interest.
    life: u64,
    sequence: u64,
    demand: HashMap<usize, usize>,
    interrupted: bool,
    pool: Pool,
    finished: bool,
}

pub struct Groups {
    seed: u64,
    random: Rng,
    start: Instant,
    now: Instant,
    rules: Rules,
    facts: Facts,
    /// How many of a hundred calls, handlers and flushes take longer than they should, or fail.
    trouble: u8,
    accounts: usize,
    consumers: Vec<Consumer>,
    rows: Rows,
    /// The last row that each partner accepted of each group.
    last: BTreeMap<(String, String), i64>,
    /// Rows of which something became a dead letter, or was about to: the rest of those may come later.
    doomed: BTreeSet<i64>,
    acts: BTreeMap<(Instant, u64), (usize, u64, Act)>,
    acted: u64,
}

impl Groups {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let start = start();
        let circulates = random.u8(..4) == 0;
        let queue = QueueRules {
            fifo: true,
            concurrency: random.usize(1..6),
            visibility_timeout: LEASE,
            wait_time: Duration::from_secs(1),
            max_receives: if circulates { 0 } else { [100, 100, 0, 20][random.usize(..4)] },
            pollers: random.usize(1..4),
            ackers: random.usize(1..4),
            receive_limit: random.usize(1..12),
            entry_limit: random.usize(1..12),
            delete_linger: Duration::from_millis(random.u64(0..50)),
            ..queue_rules("q0")
        };
        let mut partner = partner_rules();
        partner.max_batch = random.usize(1..8);
        partner.max_backoff = Duration::from_secs(5);
        partner.parallel = random.usize(1..4);
        partner.breaker_failures = [5, 1000][random.usize(..2)];
        partner.give_up_after = (random.u8(..5) == 0).then(|| Duration::from_secs(20));
        partner.linger = Duration::from_millis(random.u64(0..2) * 300);
        let rules = Rules {
            queues: vec![queue],
            parkings: Vec::new(),
            partners: PartnerTable { default: Arc::new(partner), by_account: Default::default() },
            max_in_flight: MAX_HELD,
            max_in_flight_bytes: [1 << 30, 6_000, 30_000][random.usize(..3)],
            delivery_threads: random.usize(2..9),
            disk_threads: 2,
            until_empty: true,
            seed,
        };
        let facts = Facts {
            longest_lease: (random.u8(..3) == 0).then(|| Duration::from_secs(1800 + 90)),
            redrive_after: [None, None, Some(6)][random.usize(..3)],
            circulates,
            ..Facts::default()
        };
        let (trouble, accounts, groups) = ([2, 5, 20][random.usize(..3)], random.usize(2..4), random.usize(1..4));
        let mut world = Self {
            seed,
            random,
            start,
            now: start,
            rules,
            facts,
            trouble,
            accounts,
            consumers: Vec::new(),
            rows: Rows::default(),
            last: BTreeMap::new(),
            doomed: BTreeSet::new(),
            acts: BTreeMap::new(),
            acted: 0,
        };
        for row in 0..MESSAGES {
            let group = format!("g{}", world.random.usize(..groups));
            let group = Some(&*group).filter(|_| world.random.u8(..20) > 0);
            let mut message = message(&format!("m{row}"), group);
            message.body = vec![b'x'; world.random.usize(1..500)].into();
            world.rows.send(row, message, world.deliveries_of(row), start);
        }
        for who in 0..1 + usize::from(world.random.u8(..3) == 0) {
            let consumer = world.consumer(0);
            world.consumers.push(consumer);
            world.begin(who);
            world.after(who, Duration::from_millis(100), Act::Tick);
            if world.random.u8(..3) == 0 {
                world.plan_the_end(who);
            }
        }
        world
    }

    fn consumer(&self, life: u64) -> Consumer {
        let dispatcher = Dispatcher::new(self.rules.clone(), self.now);
        let (demand, pool) = (HashMap::new(), Pool::default());
        Consumer { dispatcher, life, sequence: 0, demand, interrupted: false, pool, finished: false }
    }

    fn begin(&mut self, who: usize) {
        self.tell(who, Event::Tick);
        self.tell(who, Event::Facts { queue: 0, facts: self.facts });
    }

    fn plan_the_end(&mut self, who: usize) {
        let (at, length) = (Duration::from_secs(1) + self.within(60_000), self.within(15_000));
        let drain = Event::Drain { deadline: self.now + at + length };
        match self.random.u8(..4) {
            0 => self.after(who, at, Act::End(drain)),
            1 => self.after(who, at, Act::End(Event::Stop)),
            2 => {
                self.after(who, at, Act::End(drain));
                self.after(who, at + length / 2, Act::End(Event::Stop));
            }
            _ => self.after(who, at, Act::Restart),
        }
    }

    fn is_well(&self) -> bool {
        self.now > self.start + WELL_AFTER
    }

    fn after(&mut self, who: usize, wait: Duration, act: Act) {
        self.acted += 1;
        self.acts.insert((self.now + wait, self.acted), (who, self.consumers[who].life, act));
    }

    /// Returns a random time of at most so many milliseconds.
    fn within(&mut self, millis: u64) -> Duration {
        Duration::from_micros(self.random.u64(1..millis * 1000))
    }

    /// Returns how long something takes: at most so many milliseconds, or as many as `slow` if there is trouble.
    fn takes(&mut self, usual: u64, slow: u64) -> Duration {
        let is_slow = self.is_in_trouble(1);
        self.within(if is_slow { slow } else { usual })
    }

    fn is_in_trouble(&mut self, times: u8) -> bool {
        !self.is_well() && self.random.u8(..100) < self.trouble * times
    }

    pub fn run(mut self) {
        while !self.consumers.iter().all(|consumer| consumer.finished) {
            let ((at, _), (who, life, act)) = self.acts.pop_first().expect("there is always a tick");
            self.now = at;
            assert!(at < self.start + LONGEST, "not finished in time: {:?}", self.consumers[who].dispatcher.status());
            if self.consumers[who].life != life && !matches!(act, Act::Tick) {
                continue;
            }
            self.act(who, act);
            if self.consumers[who].finished && !self.rows.is_empty() {
                self.restart(who);
            }
        }
        for row in 0..MESSAGES {
            let lost = (0..self.deliveries_of(row)).find(|index| !self.rows.is_settled((row, *index)));
            assert_eq!(lost, None, "a delivery of m{row} is lost");
        }
        for Consumer { dispatcher, .. } in &self.consumers {
            let status = dispatcher.status();
            let counts = &status.queues[0].counts;
            assert_eq!(counts.received, counts.exits() + dispatcher.held() as u64, "{counts:?}");
        }
    }

    /// Ends the process, and starts another. What was on its way may have arrived.
    fn restart(&mut self, who: usize) {
        let life = self.consumers[who].life;
        let acts: Vec<_> = self.acts.extract_if(.., |_, (of, _, act)| *of == who && !matches!(act, Act::Tick)).collect();
        for (_, (_, _, act)) in acts {
            match act {
                Act::Answer { batch, .. } if self.random.bool() => _ = self.answer(&batch),
                Act::CallQueue { call, .. } if self.random.bool() => _ = self.execute(call),
                _ => {}
            }
        }
        self.consumers[who] = self.consumer(life + 1);
        self.begin(who);
    }

    fn act(&mut self, who: usize, act: Act) {
        match act {
            Act::Tick => {
                self.tell(who, Event::Tick);
                self.after(who, Duration::from_millis(100), Act::Tick);
            }
            Act::Receive { poller, ask } => self.receive(who, poller, &ask),
            Act::Handle { job } => {
                let jobs = self.consumers[who].pool.end(0, job);
                let done = handled(jobs, |message| self.handle(message));
                let slowest = self.within(20);
                self.tell(who, Event::Handled { queue: 0, job, done, undone: Vec::new(), slowest });
            }
            Act::Answer { flush, batch } => {
                let answer = self.answer(&batch);
                self.tell(who, Event::Answered { flush, answer });
            }
            Act::CallQueue { acker, call: QueueCall::Count } => {
                let count = Ok(self.rows.count(self.now));
                self.tell(who, Event::Counted { queue: 0, acker, count });
            }
            Act::CallQueue { acker, call } => {
                let fault = || Err(Fault { reason: "throttled".into(), transient: true });
                // A call that fails may have done its work all the same.
                let results = if self.is_in_trouble(1) { fault() } else { Ok(self.execute(call)) };
                let results = if self.is_in_trouble(1) { fault() } else { results };
                let wait = self.takes(15, 6_000);
                self.after(who, wait, Act::QueueAnswers { acker, results });
            }
            Act::QueueAnswers { acker, results } => self.tell(who, Event::QueueAnswered { queue: 0, acker, results }),
            Act::End(event) => self.tell(who, event),
            Act::Restart => self.restart(who),
        }
    }

    fn tell(&mut self, who: usize, event: Event) {
        self.consumers[who].dispatcher.handle(self.now, event);
        while let Some(command) = self.consumers[who].dispatcher.poll_command() {
            self.command(who, command);
        }
        let dispatcher = &self.consumers[who].dispatcher;
        assert!(dispatcher.held() <= MAX_HELD, "{} held", dispatcher.held());
        books::check(dispatcher);
        let is_doomed = |held: &&Held| held.dead_kind().is_some();
        let held = dispatcher.ledger.iter().map(|(_, held)| held);
        self.doomed.extend(held.filter(is_doomed).map(|held| row_of(&held.message.id)));
    }

    fn command(&mut self, who: usize, command: Command) {
        match command {
            Command::Receive { poller, demand, .. } => {
                let asked = self.consumers[who].demand.entry(poller).or_default();
                let is_idle = *asked == 0;
                *asked += demand.messages;
                if is_idle {
                    let wait = self.within(20);
                    self.after(who, wait, Act::Receive { poller, ask: demand.ask });
                }
            }
            Command::Handle { messages, .. } => {
                let wait = self.takes(60, 9_000);
                let job = self.consumers[who].pool.start(0, messages);
                self.after(who, wait, Act::Handle { job });
            }
            Command::TakeBack { job, .. } => {
                let back = self.consumers[who].pool.take_back(0, job, &mut self.random);
                let back = back.map(|back| taken_back(back, |message| self.handle(message)));
                self.consumers[who].dispatcher.handle(self.now, Event::TakenBack { queue: 0, job, back });
            }
            Command::Flush { flush, batch, .. } => {
                let wait = if self.is_in_trouble(2) { self.within(9_000) } else { self.within(80) };
                self.after(who, wait, Act::Answer { flush, batch });
            }
            Command::CallQueue { acker, call, .. } => {
                let wait = self.takes(15, 6_000);
                self.after(who, wait, Act::CallQueue { acker, call });
            }
            Command::Interrupt { .. } => self.consumers[who].interrupted = true,
            Command::Finish => self.consumers[who].finished = true,
            Command::Note(_) | Command::Reply { .. } | Command::Close { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn handle(&mut self, message: &Message) -> Outcome {
        if !self.is_well() && self.random.u8(..30) == 0 {
            return Outcome::Retry { after: Duration::from_secs(1), reason: "not yet".into() };
        }
        self.outcome(row_of(&message.id))
    }

    /// Returns what the handler makes of a message, whenever it sees it.
    fn outcome(&self, row: i64) -> Outcome {
        let mut random = Rng::with_seed(self.seed ^ hash(&format!("m{row}")));
        let count = match random.u8(..20) {
            0 => return Outcome::Discard,
            1 if !self.facts.circulates => return Outcome::reject("no account"),
            2..6 => 1,
            6..14 => 2,
            _ => 3,
        };
        let deliveries = (0..count).map(|_| Delivery {
            account: format!("a{}", random.usize(..self.accounts)).into(),
            payload: vec![b'x'; random.usize(1..900)].into(),
        });
        Outcome::Deliver(deliveries.collect())
    }

    fn deliveries_of(&self, row: i64) -> usize {
        if let Outcome::Deliver(deliveries) = self.outcome(row) { deliveries.len() } else { 0 }
    }

    fn answer(&mut self, batch: &Batch) -> Answer {
        let status = |code, retry_after| Answer::Status { code, retry_after, excerpt: "".into() };
        if !self.is_well() {
            match self.random.u8(..100) {
                0..12 => return status(503, None),
                12..16 => return status(429, Some(Duration::from_secs(3))),
                16..20 => return Answer::Unreachable { reason: "timed out".into() },
                20..22 => return status(429, Some(Duration::from_secs(30))),
                22..26 => return status(422, None),
                26..28 => return status(413, None),
                28..30 => return status(500, None),
                _ => {}
            }
        }
        for item in &batch.items {
            let row = row_of(&item.message.id);
            let is_new = self.rows.accepted.insert((row, usize::from(item.index.unwrap_or(0))));
            let Some(group) = item.message.group.as_ref().filter(|_| is_new) else { continue };
            let last = self.last.entry((group.to_string(), batch.account.to_string())).or_insert(row);
            let is_late = *last > row && !self.doomed.contains(&row);
            assert!(!is_late, "{} accepts m{row} of {group} after m{last}", batch.account);
            *last = row;
        }
        Answer::Accepted
    }

    fn receive(&mut self, who: usize, poller: usize, ask: &Ask) {
        let demand = self.consumers[who].demand.get(&poller).copied().unwrap_or(0);
        let fails = self.is_in_trouble(1);
        let first = self.consumers[who].sequence;
        // A receive that fails may have leased messages all the same.
        let is_empty_handed = fails && self.random.bool();
        let most = if is_empty_handed { 0 } else { ask.max.min(demand) };
        let messages = self.rows.receive(most, ask, first, self.now);
        let interrupted = self.consumers[who].interrupted;
        let all = fails || interrupted || messages.len() < most;
        let demand_used = if all { demand } else { messages.len() };
        self.consumers[who].demand.insert(poller, demand - demand_used);
        if demand_used < demand {
            let wait = self.within(20);
            self.after(who, wait, Act::Receive { poller, ask: *ask });
        }
        if fails {
            let fault = Fault { reason: "throttled".into(), transient: true };
            return self.tell(who, Event::ReceiveFailed { queue: 0, poller, demand_used, fault });
        }
        self.consumers[who].sequence += messages.len() as u64;
        let leased_until = self.now + ask.lease;
        self.tell(who, Event::Received { queue: 0, poller, messages, leased_until, demand_used });
    }

    fn execute(&mut self, call: QueueCall) -> Vec<EntryResult> {
        let (now, well) = (self.now, self.is_well());
        let entry = |world: &mut Self, done: &mut dyn FnMut(&mut Self) -> EntryResult| {
            if world.is_in_trouble(2) { Err(EntryError::Failed("busy".into())) } else { done(world) }
        };
        match call {
            QueueCall::Count => Vec::new(),
            QueueCall::Delete(receipts) => {
                receipts.iter().map(|receipt| entry(self, &mut |world| world.rows.delete(receipt, now))).collect()
            }
            QueueCall::ChangeVisibility(changes) => changes
                .iter()
                .map(|change| {
                    let until = now + change.hidden;
                    entry(self, &mut |world| world.rows.hide(&change.receipt, until, change.settled.clone(), now))
                })
                .collect(),
            QueueCall::SetAside(letters) => letters
                .iter()
                .map(|letter| {
                    entry(self, &mut |world| {
                        let random = (!well).then_some(&mut world.random);
                        world.rows.set_aside(letter, now, random)
                    })
                })
                .collect(),
        }
    }
}
