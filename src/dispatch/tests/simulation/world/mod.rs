//! The world of a simulated dispatcher: everything that threads, queues and partners do, as events at random moments.

mod queues;
mod upheaval;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use smallvec::SmallVec;

use crate::dispatch::tests::disk::Disk;
use crate::dispatch::tests::{message, partner_rules, start};
use crate::dispatch::{
    Action, Command, Dispatcher, Event, Fault, FlushId, Medium, NewQueue, ParkingRules, PartnerRules, PartnerTable, QueueCall,
    QueueChanges, QueueRules, Rules, Ticket,
};
use crate::message::park::{ToPark, Want};
use crate::message::service::{Ask, Facts};
use crate::message::settle::SettledPart;
use crate::message::{Answer, Batch, Delivery, Item, Message, Outcome};

use super::pool::{Pool, handled, taken_back};
use super::watch::Watch;
use super::{books, liveness};

use self::queues::{QueueModel, Row};

const QUEUES: usize = 2;
/// The number of times that the second queue may be replaced, each time by a new consumer.
const REPLACED: usize = 4;
const MESSAGES: usize = 300;
const ACCOUNTS: usize = 12;
const MAX_IN_FLIGHT: usize = 60;
const LEASE: Duration = Duration::from_secs(4);
/// The time by which everything must be settled, however bad the partners were.
const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// Something that happens at a set moment.
enum Act {
    Receive { queue: usize, poller: usize, ask: Ask },
    Handle { queue: usize, job: Ticket },
    Answer { flush: FlushId, batch: Arc<Batch> },
    CallQueue { queue: usize, acker: usize, call: QueueCall },
    Park { queue: usize, deliveries: Vec<ToPark> },
    Unpark { queue: usize, wants: Vec<Want> },
    Operate { account: String, action: Action },
    End(Event),
    Restart,
    Tick,
}

pub struct World {
    seed: u64,
    random: Rng,
    start: Instant,
    now: Instant,
    dispatcher: Dispatcher,
    queues: Vec<QueueModel>,
    acts: BTreeMap<(Instant, u64), Act>,
    acted: u64,
    pool: Pool,
    watch: Watch,
    /// The largest `parallel` that any partner ever had.
    parallel: usize,
    /// The number of times that each delivery was accepted, by id.
    accepted: HashMap<String, u32>,
    /// The deliveries that must not be sent any more, by no process: those in a dead letter, and those that were
    /// accepted before their message was returned to the queue by a process that ended.
    done: BTreeSet<String>,
    order: HashMap<(String, String), Vec<u64>>,
    sequences: HashMap<String, u64>,
    /// The deliveries that each message leads to, as its handler decided.
    expected: HashMap<String, BTreeSet<String>>,
    finished: bool,
    /// The parking of the first queue.
    disk: Disk,
    /// When the last call to the disk ends: they run one after the other.
    errands: Instant,
    /// The rules that are in force, which a restart begins with.
    rules: Rules,
    /// The number of times that the second queue was replaced so far.
    reloads: usize,
    reloads_at_most: usize,
    /// The consumer that reads the second queue now.
    reader: usize,
    /// The number of dispatchers so far.
    lives: u32,
    /// Whether the dispatcher was told to end before all queues are empty.
    ends: bool,
    /// By how much the wall clock is ahead of `now`: the machine slept, or the clock was set.
    ahead: Duration,
    slept: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let start = start();
        let queues: Vec<QueueRules> = (0..QUEUES)
            .map(|queue| QueueRules {
                name: format!("q{queue}").into(),
                fifo: false,
                concurrency: random.usize(1..6),
                cores: 4,
                order_wait: Duration::from_secs(5),
                visibility_timeout: LEASE,
                wait_time: Duration::from_secs(1),
                max_receives: 100,
                pollers: random.usize(1..4),
                ackers: random.usize(1..6),
                receive_limit: random.usize(1..20),
                ask_at_least: if random.bool() { 1 } else { 10 },
                ask_interval: Duration::ZERO,
                letter_requests: 2,
                entry_limit: random.usize(1..20),
                delete_linger: Duration::from_millis(random.u64(0..50)),
                zero_counts: 1,
                recount: Duration::from_millis(100),
            })
            .collect();
        let mut partner = partner_rules();
        partner.max_batch = random.usize(1..12);
        partner.max_backoff = Duration::from_secs(20);
        partner.linger = Duration::from_millis(random.u64(0..2) * 300);
        partner.parallel = random.usize(1..5);
        let by_account: HashMap<_, _> = (0..ACCOUNTS)
            .map(|account| (format!("a{account}").as_str().into(), Arc::new(partner_of(account, &partner, &mut random))))
            .collect();
        let delivery_threads = random.usize(1..9);
        let disk_threads = random.usize(1..=delivery_threads);
        let parallel = partner.parallel;
        // The first queue has a parking, sometimes a small one that also fails.
        let mut disk = Disk::default();
        disk.most = (random.u8(..4) == 0).then(|| random.usize(..30));
        let parkings =
            vec![ParkingRules { name: "q0.parking".into(), of: 0, entry_limit: random.usize(1..20), found: Vec::new() }];
        let partners = PartnerTable { default: Arc::new(partner), by_account };
        let rules = Rules {
            queues,
            parkings,
            partners,
            max_in_flight: MAX_IN_FLIGHT,
            max_in_flight_bytes: 1 << 30,
            delivery_threads,
            disk_threads,
            until_empty: true,
            seed,
        };
        let mut world = Self {
            seed,
            random,
            start,
            now: start,
            dispatcher: Dispatcher::new(rules.clone(), start),
            // The additional queue is the parking.
            queues: (0..=QUEUES).map(|_| QueueModel::default()).collect(),
            acts: BTreeMap::new(),
            acted: 0,
            pool: Pool::default(),
            watch: upheaval::watch(&rules),
            parallel,
            accepted: HashMap::new(),
            done: BTreeSet::new(),
            order: HashMap::new(),
            sequences: HashMap::new(),
            expected: HashMap::new(),
            finished: false,
            disk,
            errands: start,
            rules,
            reloads: 0,
            // Every other world has no reloads.
            reloads_at_most: if seed % 2 == 1 { REPLACED } else { 0 },
            reader: 1,
            lives: 1,
            ends: false,
            ahead: Duration::ZERO,
            slept: false,
        };
        for (queue, model) in world.queues.iter_mut().enumerate().take(QUEUES) {
            for row in 0..MESSAGES as i64 {
                let message = message(&format!("q{queue}m{row}"), None);
                model.rows.insert(row, Row { message, visible_at: start, receive: 0, settled: SettledPart::default() });
            }
        }
        world
    }

    /// Runs until the dispatcher finishes, and checks what became of everything.
    pub fn run(mut self) {
        for queue in 0..QUEUES {
            let facts = Facts { longest_lease: Some(Duration::from_secs(12 * 3600)), ..Facts::default() };
            self.tell(Event::Facts { queue, facts });
        }
        self.after(Duration::from_millis(100), Act::Tick);
        self.plan_the_end();
        while !self.finished {
            let ((at, _), act) = self.acts.pop_first().expect("there is always a tick");
            self.now = at;
            assert!(self.now < self.start + LONGEST, "not finished in time: {:?}", self.dispatcher.status());
            self.act(act);
            if self.finished && self.ends {
                self.check_what_is_left();
                self.close_what_was_returned();
                self.restart();
            }
        }
        self.check_the_end();
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
            Act::Tick => {
                self.operate_at_random();
                // In every fifth world.
                if self.seed.is_multiple_of(5) && self.random.u8(..80) == 0 {
                    self.sleep();
                }
                if self.reloads < self.reloads_at_most && !self.ends && self.random.u8(..60) == 0 {
                    self.reload();
                }
                if self.seed.is_multiple_of(3) && self.random.u8(..40) == 0 {
                    self.reload_partner();
                }
                self.tell(Event::Tick);
                self.after(Duration::from_millis(100), Act::Tick);
            }
            Act::Receive { queue, poller, ask } => self.receive(queue, poller, ask),
            Act::Handle { queue, job } => {
                let jobs = self.pool.end(queue, job);
                let done = handled(jobs, |message| self.handle(message));
                let slowest = Duration::from_micros(self.random.u64(1..20_000));
                self.tell(Event::Handled { queue, job, done, undone: Vec::new(), slowest });
            }
            Act::Answer { flush, batch } => {
                let answer = self.answer(&batch);
                self.watch.lands(self.now, &batch.account, flush, &answer);
                self.tell(Event::Answered { flush, answer });
            }
            Act::CallQueue { queue, acker, call } => self.call_queue(queue, acker, call),
            Act::Park { queue, deliveries } => {
                let fails = self.disk.most.is_some() && self.random.u8(..10) == 0;
                let results = if fails { Err(locked()) } else { Ok(self.disk.park(self.now, &deliveries)) };
                self.tell(Event::Parked { queue, results });
            }
            Act::Unpark { queue, wants } => {
                let fails = self.random.u8(..40) == 0;
                let answers = if fails { Err(locked()) } else { Ok(self.disk.unpark(self.now, &wants)) };
                self.tell(Event::Unparked { queue, answers });
            }
            Act::End(event) => {
                self.ends = true;
                self.tell(event);
            }
            Act::Restart => self.restart(),
            Act::Operate { account, action } => {
                if matches!(action, Action::Pause | Action::Resume) {
                    self.watch.paused(&account, action == Action::Pause);
                }
                self.tell(Event::Operate { request: self.acted, account: account.as_str().into(), action });
            }
        }
    }

    /// Sometimes pauses a partner for a time, as an operator would, or has it tried at once.
    fn operate_at_random(&mut self) {
        let account = format!("a{}", self.random.usize(..ACCOUNTS));
        let (now, later) = (Duration::ZERO, self.millis(30_000));
        match self.random.u8(..100) {
            0 => {
                self.after(now, Act::Operate { account: account.clone(), action: Action::Pause });
                self.after(later, Act::Operate { account, action: Action::Resume });
            }
            1 => self.after(now, Act::Operate { account, action: Action::Flush }),
            2 => self.after(now, Act::Operate { account, action: Action::Skip }),
            _ => {}
        }
    }

    /// Gives the first queue other rules, and replaces the second by another consumer.
    fn reload(&mut self) {
        let (random, [first, second]) = (&mut self.random, &mut self.rules.queues[..]) else { unreachable!() };
        (first.concurrency, first.pollers) = (random.usize(1..6), random.usize(1..4));
        (second.concurrency, second.receive_limit) = (random.usize(1..6), random.usize(1..20));
        let changes = QueueChanges {
            changed: vec![(0, first.clone())],
            retired: vec![self.reader],
            added: vec![NewQueue { rules: second.clone(), parking: None }],
        };
        self.reader = self.queues.len();
        self.queues.push(QueueModel::default());
        self.reloads += 1;
        self.tell(Event::Reloaded { partners: self.rules.partners.clone(), queues: changes });
    }

    fn tell(&mut self, event: Event) {
        let wall = SystemTime::UNIX_EPOCH + (self.now - self.start) + self.ahead;
        self.dispatcher.set_wall_clock(self.now, wall);
        self.dispatcher.handle(self.now, event);
        while let Some(command) = self.dispatcher.poll_command() {
            self.command(command);
        }
        assert!(self.dispatcher.held() <= MAX_IN_FLIGHT, "{} held", self.dispatcher.held());
        books::check(&self.dispatcher);
        liveness::check(&self.dispatcher, self.now);
        self.check_those_that_wait();
    }

    /// Checks that a delivery that could leave waits only for a thread, unless it is a head that may
    /// be at fault and yields its turn.
    fn check_those_that_wait(&self) {
        let partners = &self.dispatcher.partners;
        for (key, bucket) in partners.buckets() {
            let partner = partners.partner(bucket.partner).expect("it has a bucket");
            let could_leave = bucket.oldest().is_some_and(|oldest| oldest + partner.rules.linger <= self.now);
            let yields = partners.yields_until(key, self.now).is_some();
            if could_leave && !yields && partner.obstacle(Some(bucket), self.now).is_none() {
                self.watch.waits(self.now, &partner.account);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Receive { queue, poller, demand } => {
                *self.queues[queue].demand.entry(poller).or_default() += demand.messages;
                if self.queues[queue].busy.insert(poller) {
                    let wait = self.millis(20);
                    self.after(wait, Act::Receive { queue, poller, ask: demand.ask });
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
                let most = if self.random.u8(..20) == 0 { 12_000 } else { 100 };
                let wait = self.millis(most);
                self.after(wait, Act::Answer { flush, batch });
            }
            Command::CallQueue { queue, acker, call } => {
                let wait = self.millis(30);
                self.after(wait, Act::CallQueue { queue, acker, call });
            }
            Command::Park { queue, deliveries } => self.run_errand(Act::Park { queue, deliveries }),
            Command::Unpark { queue, wants } => self.run_errand(Act::Unpark { queue, wants }),
            Command::Interrupt { queue } => self.queues[queue].interrupted = true,
            Command::Finish => self.finished = true,
            Command::Note(_) | Command::Reply { .. } | Command::Close { .. } => {}
        }
    }

    /// Runs a call to the disk after those before it.
    fn run_errand(&mut self, errand: Act) {
        let wait = self.millis(30);
        self.errands = self.errands.max(self.now) + wait;
        let wait = self.errands - self.now;
        self.after(wait, errand);
    }

    /// Returns what a message's handler decides: the same each time, except for "later".
    fn handle(&mut self, message: &Message) -> Outcome {
        if self.random.u8(..40) == 0 {
            return Outcome::Retry { after: Duration::from_secs(1), reason: "not yet".into() };
        }
        let mut fixed = Rng::with_seed(self.seed ^ hash(&message.id));
        let mut deliver = |count: usize| {
            let deliveries = (0..count).map(|_| Delivery {
                account: format!("a{}", fixed.usize(..ACCOUNTS)).into(),
                payload: message.id.as_bytes().to_vec().into(),
            });
            deliveries.collect::<SmallVec<[Delivery; 1]>>()
        };
        let outcome = match hash(&message.id) % 20 {
            0 => Outcome::Discard,
            1 => Outcome::reject("no account"),
            2 => Outcome::Deliver(deliver(3)),
            _ => Outcome::Deliver(deliver(1)),
        };
        let ids = match &outcome {
            Outcome::Deliver(list) if list.len() > 1 => (0..list.len()).map(|index| format!("{}-{index}", message.id)).collect(),
            Outcome::Deliver(_) => BTreeSet::from([message.id.to_string()]),
            _ => BTreeSet::new(),
        };
        self.expected.insert(message.id.to_string(), ids);
        outcome
    }

    /// Returns a partner's answer: each account has its own troubles.
    fn answer(&mut self, batch: &Batch) -> Answer {
        let status = |code, retry_after| Answer::Status { code, retry_after, excerpt: "".into() };
        let well = self.now > self.start + Duration::from_secs(120);
        let trouble = self.random.u8(..100);
        match batch.account.as_str() {
            "a0" if !well => return status(503, None),
            "a1" if trouble < 40 => return status(429, Some(Duration::from_secs(3))),
            "a2" if batch.items.len() > 2 => return status(413, None),
            // After more than `breaker_failures` of these in a row the fault is the partner's, which
            // would keep the run from ending.
            "a3" if !well && batch.items.iter().any(|item| hash(&item.message.id).is_multiple_of(7)) => return status(422, None),
            "a4" if !well => return status(404, None),
            "a5" if trouble < 30 => return Answer::Unreachable { reason: "timed out".into() },
            "a11" if !well && batch.items.iter().any(|item| hash(&item.message.id).is_multiple_of(7)) => {
                return status(500, None);
            }
            "a6" if !well => return status(401, None),
            _ => {}
        }
        for item in &batch.items {
            // While the machine slept, another consumer may have received what this one holds.
            let is_done = !self.slept && self.done.contains(item.id().as_str());
            assert!(!is_done, "{} is sent although it is settled", item.id());
            *self.accepted.entry(item.id().to_string()).or_default() += 1;
            // A delivery at which its partner failed for some time is overtaken by others; the others keep their order.
            if item.message.receives == 1 && !(batch.account == "a11" && breaks(item)) {
                let sequence = self.sequences[item.message.id.as_str()];
                self.order.entry(bucket(batch)).or_default().push(sequence);
            }
        }
        Answer::Accepted
    }

    /// Returns whether the bucket keeps its order. Deliveries that the disk has no room for and that may not be
    /// returned overtake those on the disk.
    fn keeps_order(&self, (queue, _): &(String, String)) -> bool {
        // Two consumers of one queue do not keep its order.
        self.parallel == 1 && if queue == "q0" { self.disk.most.is_none() } else { self.reloads == 0 }
    }

    fn check_the_end(&self) {
        let status = self.dispatcher.status();
        for (queue, model) in self.queues.iter().enumerate().take(QUEUES) {
            assert!(model.rows.is_empty(), "left on queue {queue}: {:?}", model.rows.keys());
            let counts = &status.queues[queue].counts;
            let left = counts.acked + counts.dead + counts.returned + counts.duplicates_dropped + counts.leases_lost;
            assert_eq!(counts.received, left, "{counts:?}");
            for row in 0..MESSAGES {
                let id = format!("q{queue}m{row}");
                let deliveries = &self.expected[&id];
                assert!(deliveries.iter().all(|delivery| self.is_settled(queue, delivery)), "{id} is lost");
            }
            assert!(self.slept || counts.leases_lost == 0, "leases are extended in time");
        }
        assert!(self.disk.is_empty(), "left in the parking");
        assert_eq!(status.queues.len(), QUEUES + 1, "a row a name");
        let rows = &status.queues[QUEUES].counts;
        assert_eq!(rows.received, rows.exits(), "{rows:?}");
        assert_eq!((status.in_flight, status.in_flight_bytes), (0, 0));
        // A restart sends what was accepted and not yet deleted once more: once for the message, once for a parked row.
        let most = 2 * self.lives - 1;
        assert!(self.accepted.values().all(|times| *times <= most), "delivered more than {most} times");
        self.check_order();
    }

    fn check_order(&self) {
        // With several flushes on the wire any of them may arrive first.
        for (bucket, sequences) in self.order.iter().filter(|(bucket, _)| self.keeps_order(bucket)) {
            assert!(sequences.is_sorted(), "{bucket:?} out of order: {sequences:?}");
        }
    }
}

fn locked() -> Fault {
    Fault { reason: "locked".into(), transient: true }
}

/// Returns the rules of one account: some have a rate of their own, or another medium.
fn partner_of(account: usize, partner: &PartnerRules, random: &mut Rng) -> PartnerRules {
    let mut partner = partner.clone();
    match account {
        5 | 7 => (partner.rate, partner.burst) = (Some((random.u32(1..10), Duration::from_secs(1))), random.u32(1..4)),
        8 | 9 => partner.medium = Medium::Disk,
        10 => partner.medium = Medium::Inline,
        _ => {}
    }
    partner
}

fn bucket(batch: &Batch) -> (String, String) {
    (batch.queue.to_string(), batch.account.to_string())
}

/// Returns whether `a11` fails at this delivery.
fn breaks(item: &Item) -> bool {
    hash(&item.message.id).is_multiple_of(7)
}

/// Returns a hash that is the same in every run, unlike the standard library's.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
