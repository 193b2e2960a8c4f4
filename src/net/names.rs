//! Resolves host names to addresses with the system's resolver, on a few threads of its own.
//!
//! `ureq` asks for addresses before every request, even one that will reuse a connection, so answers are cached. A call
//! of the system's resolver cannot be cancelled, so it never runs on a thread that has a request to make. Simultaneous
//! requests for one name share a lookup.
//!
//! Independence: names whose last lookup failed or was slow may occupy only half of the threads, so that partners with
//! dead name servers do not hold up the others. Of names that were never looked up nothing is known, as all are after a
//! start: while a lookup takes long, another thread stands in for its own. An answer that was good is served while the
//! name is looked up anew.
//!
//! Called by delivery threads, pollers and ackers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select_biased};
use parking_lot::{Condvar, Mutex};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ArrayVec, ResolvedSocketAddrs};

use super::clock::Clock;
use crate::lru::Lru;

/// The largest number of names that wait for a thread, for each of the two kinds of names.
const MAX_WAITING: usize = 1024;
/// The largest number of names that are remembered.
const MAX_NAMES: usize = 10_000;
/// How long an answer is used as it is. The system's resolver does not report the record's time to live.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// How long an answer is served while a new one is on its way.
const STALE_FOR: Duration = Duration::from_secs(600);
/// How long an answer stands in while lookups fail (RFC 8767 suggests one to three days).
const LAST_RESORT_FOR: Duration = Duration::from_secs(86_400);
/// How long a failure counts as an answer, so that a busy bucket does not cause a lookup with every flush.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// The duration from which a lookup makes its name suspect.
const SLOW_FROM: Duration = Duration::from_secs(1);
/// The duration from which another thread stands in for that of a lookup.
const STUCK_FROM: Duration = Duration::from_millis(250);
/// The largest number of threads that stand in for others.
const MAX_STAND_INS: usize = 56;

/// The pause before another attempt to start threads after the system refused one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A function that looks a name up: the system's resolver, or a replacement.
pub type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The names known so far, and the threads that look them up.
pub struct Names {
    shared: Arc<Shared>,
    clock: Clock,
    threads: usize,
    crew: Mutex<Crew>,
    good: Waiting,
    suspect: Waiting,
    spawn: Spawn,
}

/// The channel of names that wait for a lookup.
type Waiting = (Sender<Box<str>>, Receiver<Box<str>>);

/// A function that starts a thread of this name.
type Spawn = Box<dyn Fn(String, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// The threads that run. They are started in order. The first half of those that are always there also looks up suspect
/// names.
#[derive(Default)]
struct Crew {
    running: usize,
    /// When the system last refused a thread.
    refused: Option<Instant>,
    /// Why the system refused a thread; `None` once all threads run.
    lacks: Option<Arc<str>>,
}

/// Where a URL leads.
pub struct Resolved {
    /// The addresses in the order of preference, at least one.
    pub addresses: Arc<[IpAddr]>,
    /// The port of the URL, or the default of its scheme.
    pub port: u16,
    /// Whether the URL contains the address itself instead of a name.
    pub literal: bool,
}

struct Shared {
    names: Mutex<Table>,
    /// Signalled when a lookup has ended.
    ended: Condvar,
    look_up: LookUp,
    clock: Clock,
}

struct Table {
    known: Lru<Box<str>, Name>,
    /// The names that are being looked up, and since when.
    under_way: HashMap<Box<str>, Instant>,
}

#[derive(Default)]
struct Name {
    /// The addresses that the last successful lookup found, and when.
    found: Option<(Arc<[IpAddr]>, Instant)>,
    /// Why the last lookup failed, and when; `None` after a success.
    failed: Option<(Arc<str>, Instant)>,
    /// Whether the name waits for a thread or is being looked up.
    pending: bool,
    /// Whether the last lookup failed or was slow.
    suspect: bool,
}

/// Why no address was found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookUpError {
    /// The lookup did not end before the deadline.
    #[error("the look-up did not end in time")]
    Timeout,
    /// The lookup failed for this reason.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Too many other names wait for a lookup.
    #[error("{MAX_WAITING} other look-ups are waiting: is the name server down?")]
    Busy,
    /// No thread for lookups runs, because the system refused it for this reason.
    #[error("no thread for look-ups can be started: {0}; raise the limits of this service on tasks and on memory")]
    NoThread(Arc<str>),
}

impl Names {
    /// Creates a table without names. `threads` is the number of names looked up at once, two or more, without those that
    /// take long; half of the threads also look up suspect names. They are started with the first lookup; those that the
    /// system refuses then, with a later one.
    pub fn new(look_up: LookUp, clock: Clock, threads: usize) -> Self {
        let table = Table { known: Lru::new(), under_way: HashMap::new() };
        let shared = Shared { names: Mutex::new(table), ended: Condvar::new(), look_up, clock: clock.clone() };
        let spawn: Spawn = Box::new(|name, body| thread::Builder::new().name(name).spawn(body).map(drop));
        let (good, suspect) = (bounded(MAX_WAITING), bounded(MAX_WAITING));
        Self { shared: Arc::new(shared), clock, threads, crew: Mutex::default(), good, suspect, spawn }
    }

    /// Returns the system's resolver: `/etc/hosts`, DNS and whatever else the machine is set up for.
    pub fn system() -> LookUp {
        Arc::new(|host| {
            let mut addresses: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
            addresses.dedup();
            Ok(addresses)
        })
    }

    /// Returns where a URL leads. Blocks until `deadline` at most, and only if no usable address of the host is known.
    pub fn resolve(&self, url: &Uri, deadline: Instant) -> Result<Resolved, LookUpError> {
        let host = url.host().unwrap_or_default();
        let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let addresses = match literal {
            Some(address) => Arc::from([address]),
            None => self.find(host, deadline)?,
        };
        Ok(Resolved { addresses, port, literal: literal.is_some() })
    }

    /// Returns the addresses of a host in the order of preference, at least one. Blocks until `deadline` at most, and
    /// only if no usable address is known.
    fn find(&self, host: &str, deadline: Instant) -> Result<Arc<[IpAddr]>, LookUpError> {
        let mut names = self.shared.names.lock();
        if names.known.get(host).is_none() {
            names.known.insert(host.into(), Name::default());
            if names.known.len() > MAX_NAMES {
                names.known.evict(64, |name| !name.pending);
            }
        }
        loop {
            let now = self.clock.steady();
            let Table { known, under_way } = &mut *names;
            let Some(name) = known.get(host) else { return Err(LookUpError::Busy) };
            let age = name.found.as_ref().map(|(_, at)| now.saturating_duration_since(*at));
            let usable_for =
                |limit| name.found.as_ref().filter(|_| age.is_some_and(|age| age < limit)).map(|(found, _)| Arc::clone(found));
            if let Some(found) = usable_for(FRESH_FOR) {
                return Ok(found);
            }
            let last_resort = usable_for(LAST_RESORT_FOR);
            let failed = name.failed.as_ref().filter(|(_, at)| now.saturating_duration_since(*at) < FAILED_FOR);
            if let Some((reason, _)) = failed {
                return last_resort.ok_or_else(|| LookUpError::Failed(Arc::clone(reason)));
            }
            let stale = usable_for(STALE_FOR);
            if !name.pending {
                let queued = self.queue(host, name.suspect, stuck(under_way, now), now);
                name.pending = queued.is_ok();
                if let Err(error) = queued {
                    return last_resort.ok_or(error);
                }
            } else if !name.suspect && !under_way.contains_key(host) {
                // The name is in the line already, so a refused stand-in is no reason to fail.
                let _ = self.complete(stuck(under_way, now), now);
            }
            if let Some(found) = stale {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return last_resort.ok_or(LookUpError::Timeout);
            }
            self.shared.ended.wait_for(&mut names, left.min(STUCK_FROM));
        }
    }

    fn queue(&self, host: &str, suspect: bool, stuck: usize, now: Instant) -> Result<(), LookUpError> {
        self.complete(stuck, now)?;
        let (waiting, _) = if suspect { &self.suspect } else { &self.good };
        waiting.try_send(host.into()).map_err(|_| LookUpError::Busy)
    }

    /// Starts the threads that are missing, and stand-ins for those that are stuck. If the system refuses one, they
    /// are tried again after [`RETRY_PAUSE`]. Fails only if no thread runs at all.
    ///
    /// The threads end once the [`Names`] are dropped. None is joined, since a thread
    /// may be inside the system's resolver for very long, and it holds nothing.
    fn complete(&self, stuck: usize, now: Instant) -> Result<(), LookUpError> {
        let mut crew = self.crew.lock();
        let wanted = self.threads + stuck.min(MAX_STAND_INS);
        let due = crew.refused.is_none_or(|refused| now.saturating_duration_since(refused) >= RETRY_PAUSE);
        while crew.running < wanted && due {
            let at = crew.running;
            let shared = Arc::clone(&self.shared);
            let from_good = self.good.1.clone();
            let from_suspect = if at < self.threads / 2 { self.suspect.1.clone() } else { never() };
            let body = Box::new(move || shared.work(&from_good, &from_suspect));
            if let Err(error) = (self.spawn)(format!("resolve-{at}"), body) {
                if crew.lacks.is_none() {
                    log::error!(
                        "thread=resolve-{at}: it cannot be started: {error}; trying again with later look-ups; raise the limits of this \
                         service on tasks and on memory"
                    );
                }
                crew.lacks = Some(error.to_string().into());
                crew.refused = Some(now);
                break;
            }
            crew.running += 1;
            if crew.running >= wanted && crew.lacks.take().is_some() {
                log::info!("threads={}: all threads for look-ups run now", crew.running);
            }
        }
        let lacks = crew.lacks.as_ref().filter(|_| crew.running == 0);
        lacks.map_or(Ok(()), |why| Err(LookUpError::NoThread(Arc::clone(why))))
    }
}

impl Shared {
    fn work(&self, good: &Receiver<Box<str>>, suspect: &Receiver<Box<str>>) {
        loop {
            let job = select_biased! {
                recv(good) -> job => job,
                recv(suspect) -> job => job,
            };
            let Ok(host) = job else { return };
            let started = self.clock.steady();
            self.names.lock().under_way.insert(host.clone(), started);
            // A few of these threads serve all names, so none may end, and no name may wait for an
            // answer that never comes.
            let answer = catch_unwind(AssertUnwindSafe(|| (self.look_up)(&host)))
                .unwrap_or_else(|_| Err(io::Error::other("the look-up panicked")));
            self.record(&host, started, answer);
        }
    }

    fn record(&self, host: &str, started: Instant, answer: io::Result<Vec<IpAddr>>) {
        let now = self.clock.steady();
        let mut names = self.names.lock();
        names.under_way.remove(host);
        if let Some(name) = names.known.get(host) {
            name.pending = false;
            let failure = match answer {
                Ok(found) if found.is_empty() => Some("the name has no address".into()),
                Ok(found) => {
                    name.found = Some((found.into(), now));
                    None
                }
                Err(error) => Some(error.to_string().into()),
            };
            name.suspect = failure.is_some() || now.saturating_duration_since(started) > SLOW_FROM;
            name.failed = failure.map(|reason| (reason, now));
        }
        drop(names);
        self.ended.notify_all();
    }
}

/// Returns the number of lookups that take long, of those under way.
fn stuck(under_way: &HashMap<Box<str>, Instant>, now: Instant) -> usize {
    under_way.values().filter(|since| now.saturating_duration_since(**since) >= STUCK_FROM).count()
}

/// Returns the wanted addresses of a URL's host, as many of them as `ureq` accepts for one host.
pub fn addresses(resolved: &Resolved, wanted: impl Fn(IpAddr) -> bool) -> ResolvedSocketAddrs {
    let mut taken = ArrayVec::from_fn(|_| ([0, 0, 0, 0], 0).into());
    let wanted = resolved.addresses.iter().filter(|address| wanted(**address));
    for address in wanted.take(most(&taken)) {
        taken.push((*address, resolved.port).into());
    }
    taken
}

fn most<T, const N: usize>(_: &ArrayVec<T, N>) -> usize {
    N
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const THREADS: usize = 8;

    /// A name server that answers when a test wants, and a clock that stands still in between.
    struct Stage {
        names: Names,
        /// The names being looked up, each with the channel for its answer.
        asked: Receiver<(String, Sender<io::Result<Vec<IpAddr>>>)>,
        seconds: Arc<AtomicU64>,
        start: Instant,
    }

    impl Stage {
        fn new() -> Self {
            let start = Clock::system().steady();
            let seconds = Arc::new(AtomicU64::new(0));
            let now = Arc::clone(&seconds);
            let clock = Clock::with_steady(move || start + Duration::from_secs(now.load(Ordering::SeqCst)));
            let (ask, asked) = bounded(100);
            let look_up: LookUp = Arc::new(move |host| {
                let (answer, on_answer) = bounded(1);
                ask.send((host.to_owned(), answer)).map_err(io::Error::other)?;
                on_answer.recv().map_err(io::Error::other)?
            });
            Self { names: Names::new(look_up, clock, THREADS), asked, seconds, start }
        }

        fn pass(&self, seconds: u64) {
            self.seconds.fetch_add(seconds, Ordering::SeqCst);
        }

        /// Blocks for as long as the lookup takes.
        fn find(&self, host: &str) -> Result<Arc<[IpAddr]>, LookUpError> {
            self.names.find(host, self.start + Duration::from_secs(3600))
        }

        /// Does not block.
        fn peek(&self, host: &str) -> Result<Arc<[IpAddr]>, LookUpError> {
            self.names.find(host, self.start)
        }

        /// Answers the next lookup and waits until the answer is recorded.
        fn answer(&self, host: &str, answer: io::Result<Vec<IpAddr>>) {
            let (asked, reply) = self.asked.recv().unwrap();
            assert_eq!(asked, host);
            reply.send(answer).unwrap();
            let mut names = self.names.shared.names.lock();
            while names.known.get(host).unwrap().pending {
                self.names.shared.ended.wait(&mut names);
            }
        }
    }

    #[test]
    fn threads_that_the_system_does_not_give_are_started_with_a_later_look_up() {
        let mut stage = Stage::new();
        // How many more threads the system grants, and how many were requested.
        let (given, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (left, tries) = (Arc::clone(&given), Arc::clone(&asked));
        let spawn = std::mem::replace(&mut stage.names.spawn, Box::new(|_, _| Ok(())));
        stage.names.spawn = Box::new(move |name, body| {
            tries.fetch_add(1, Ordering::SeqCst);
            let given = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            given.map_err(|_| io::Error::other("no more tasks"))?;
            spawn(name, body)
        });
        for _ in 0..3 {
            let Err(error @ LookUpError::NoThread(_)) = stage.peek("a") else { panic!("it was looked up") };
            assert!(error.to_string().contains("no more tasks"), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "not before a second has passed");

        stage.pass(1);
        given.store(1, Ordering::SeqCst);
        assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)));
        stage.answer("a", Err(io::Error::other("no such name")));
        stage.pass(6);
        assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)), "the only thread takes names under suspicion too");
        stage.answer("a", Ok(vec![ip(1)]));

        stage.pass(1);
        given.store(100, Ordering::SeqCst);
        assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
        stage.answer("b", Ok(vec![ip(2)]));
        assert_eq!(stage.names.crew.lock().running, THREADS);
        assert!(stage.names.crew.lock().lacks.is_none());
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn names_that_are_never_answered_do_not_hold_up_others_that_are_new() {
        let stage = Stage::new();
        let dead = (0..THREADS).map(|number| format!("dead-{number}"));
        dead.for_each(|name| assert!(matches!(stage.peek(&name), Err(LookUpError::Timeout))));
        let held_up: Vec<_> = (0..THREADS).map(|_| stage.asked.recv().unwrap()).collect();
        assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
        assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
        assert_eq!(stage.names.crew.lock().running, THREADS, "none takes long yet");
        stage.pass(1);
        assert!(matches!(stage.peek("b"), Err(LookUpError::Timeout)));
        stage.answer("b", Ok(vec![ip(1)]));
        assert_eq!(stage.find("b").unwrap()[0], ip(1));
        drop(held_up);
    }

    #[test]
    fn many_who_ask_at_once_are_one_look_up() {
        let stage = Stage::new();
        thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| stage.find("a").unwrap()[0])).collect();
            stage.answer("a", Ok(vec![ip(1)]));
            for thread in asking {
                assert_eq!(thread.join().unwrap(), ip(1));
            }
        });
        assert_eq!(stage.find("a").unwrap()[0], ip(1));
        assert!(stage.asked.is_empty());
    }

    #[test]
    fn an_old_answer_is_served_while_a_new_one_is_fetched() {
        let stage = Stage::new();
        assert!(matches!(stage.peek("a"), Err(LookUpError::Timeout)));
        stage.answer("a", Ok(vec![ip(1)]));
        stage.pass(31);
        assert_eq!(stage.peek("a").unwrap()[0], ip(1));
        stage.answer("a", Ok(vec![ip(2)]));
        assert_eq!(stage.peek("a").unwrap()[0], ip(2));
    }

    #[test]
    fn a_failure_is_remembered_for_a_moment_and_an_answer_outlives_it() {
        let stage = Stage::new();
        let fails = || Err(io::Error::other("no such name"));
        assert!(stage.peek("a").is_err());
        stage.answer("a", fails());
        let Err(LookUpError::Failed(reason)) = stage.find("a") else { panic!("found") };
        assert_eq!(&*reason, "no such name");
        assert!(stage.asked.is_empty());
        stage.pass(6);
        assert!(stage.peek("a").is_err());
        stage.answer("a", Ok(vec![ip(1)]));

        stage.pass(3600);
        assert_eq!(stage.peek("a").unwrap()[0], ip(1), "nothing newer is known in time");
        stage.answer("a", fails());
        assert_eq!(stage.find("a").unwrap()[0], ip(1));
        stage.pass(86_400);
        assert!(stage.peek("a").is_err(), "it is too old for anything");
    }

    #[test]
    fn a_resolver_that_panics_is_a_failure_like_any_other() {
        let clock = Clock::system();
        let names = Names::new(Arc::new(|_| std::panic::resume_unwind(Box::new(()))), clock.clone(), THREADS);
        for host in (0..2 * THREADS).map(|host| host.to_string()) {
            let Err(LookUpError::Failed(reason)) = names.find(&host, clock.steady() + Duration::from_secs(60)) else {
                panic!("{host} was found")
            };
            assert_eq!(&*reason, "the look-up panicked");
        }
    }

    #[test]
    fn names_under_suspicion_leave_threads_for_the_others() {
        let stage = Stage::new();
        let hosts: Vec<String> = (0..THREADS * 2).map(|host| format!("dead-{host}")).collect();
        for host in &hosts {
            assert!(stage.peek(host).is_err());
            let (_, reply) = stage.asked.recv().unwrap();
            reply.send(Ok(Vec::new())).unwrap();
            let mut names = stage.names.shared.names.lock();
            while names.known.get(host.as_str()).unwrap().pending {
                stage.names.shared.ended.wait(&mut names);
            }
        }
        stage.pass(6);
        for host in &hosts {
            assert!(stage.peek(host).is_err());
        }
        let held: Vec<_> = (0..THREADS / 2).map(|_| stage.asked.recv().unwrap()).collect();
        assert!(held.iter().all(|(host, _)| host.starts_with("dead")));
        assert!(stage.peek("well").is_err());
        stage.answer("well", Ok(vec![ip(1)]));
        assert_eq!(stage.find("well").unwrap()[0], ip(1));
    }
}
