//! Resolves host names to addresses with the system's resolver, on a few threads of its own.
//!
//! `ureq` asks for addresses before every request, even one that will reuse a connection, so answers are cached. A call
//! of the system's resolver cannot be cancelled, so it never runs on a thread that has a request to make. Simultaneous
//! requests for one name share a look-up.
//!
//! Independence: names whose last look-up failed or was slow may occupy only half of the threads, so that partners with
//! dead name servers do not hold up the others. Of names that were never looked up nothing is known, as all are after a
//! start: while a look-up takes long, another thread stands in for its own. An answer that was good is served while the
//! name is looked up anew, and for long if name servers fail; that a name does not exist is an answer as good as another,
//! since its last address may be another's by then.
//!
//! Called by delivery threads, pollers and ackers.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select_biased};
use parking_lot::{Condvar, Mutex};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ArrayVec, ResolvedSocketAddrs};

use crate::lru::Lru;

use super::clocks::Clocks;

use self::crew::{Crew, Work};

mod crew;

/// The largest number of names that wait for a thread, for each of the two kinds of names.
const MAX_WAITING: usize = 1024;
/// The largest number of names that are remembered.
const MAX_NAMES: usize = 10_000;
/// The largest number of addresses of a name that are remembered: several times what `ureq` tries for one request, since
/// some may not be wanted.
const MAX_ADDRESSES: usize = 64;
/// How long an answer is used as it is. The system's resolver does not report the record's time to live.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// How long an answer is served while a new one is on its way.
const STALE_FOR: Duration = Duration::from_secs(600);
/// How long an answer stands in while look-ups fail or do not end (RFC 8767 suggests one to three days).
const LAST_RESORT_FOR: Duration = Duration::from_secs(86_400);
/// How long a look-up is awaited before such an answer stands in for it. The caller still has to connect: RFC 8767 (5)
/// suggests a timer of its own for this, well before the caller's.
const LAST_RESORT_AFTER: Duration = Duration::from_millis(250);
/// How long a failure counts as an answer, so that a busy bucket does not cause a look-up with every flush.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// The duration from which a look-up makes its name suspect.
const SLOW_FROM: Duration = Duration::from_secs(1);
/// The duration from which another thread stands in for that of a look-up.
const STUCK_FROM: Duration = Duration::from_millis(250);

/// What the system's resolver says of a name that does not exist, or has no address: EAI_NONAME and EAI_NODATA of glibc and
/// of musl. The standard library passes on no code.
const ABSENT: [&str; 4] =
    ["Name or service not known", "No address associated with hostname", "Name does not resolve", "Name has no usable address"];

/// A function that looks a name up: the system's resolver, or a replacement. [`ErrorKind::NotFound`] means that the name
/// servers know of no such name, or of no address of it.
pub type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The names known so far, and the threads that look them up.
pub struct Names {
    shared: Arc<Shared>,
    clock: Clocks,
    /// The threads that look names up.
    crew: Crew,
    /// The number of them that also look up suspect names: half of those that are always there.
    for_suspects: usize,
    good: Waiting,
    suspect: Waiting,
}

/// The channel of names that wait for a look-up.
type Waiting = (Sender<Box<str>>, Receiver<Box<str>>);

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
    /// Signalled when a look-up has ended.
    ended: Condvar,
    look_up: LookUp,
    clock: Clocks,
}

struct Table {
    known: Lru<Box<str>, Name>,
    /// The names that are being looked up, and since when.
    under_way: HashMap<Box<str>, Instant>,
}

#[derive(Default)]
struct Name {
    /// The addresses that the last successful look-up found, and when.
    found: Option<(Arc<[IpAddr]>, Instant)>,
    /// Why the last look-up failed, and when; `None` after a success.
    failed: Option<(Arc<str>, Instant)>,
    /// Whether the name waits for a thread or is being looked up.
    pending: bool,
    /// Whether the last look-up failed or was slow.
    suspect: bool,
}

/// Why no address was found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookUpError {
    /// The look-up did not end before the deadline.
    #[error("the look-up did not end in time")]
    Timeout,
    /// The look-up failed for this reason.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Too many other names wait for a look-up.
    #[error("{MAX_WAITING} other look-ups are waiting: is the name server down?")]
    Busy,
    /// No thread for look-ups runs, because the system refused it for this reason.
    #[error("no thread for look-ups can be started: {0}; raise the limits of this service on tasks and on memory")]
    NoThread(Arc<str>),
}

impl Names {
    /// Creates a table without names. `threads` is the number of names looked up at once, two or more, without those that
    /// take long; half of the threads also look up suspect names. They are started with the first look-up; those that the
    /// system refuses then, with a later one.
    pub fn new(look_up: LookUp, clock: Clocks, threads: usize) -> Self {
        let table = Table { known: Lru::new(), under_way: HashMap::new() };
        let shared = Shared { names: Mutex::new(table), ended: Condvar::new(), look_up, clock: clock.clone() };
        let (good, suspect) = (bounded(MAX_WAITING), bounded(MAX_WAITING));
        Self { shared: Arc::new(shared), clock, crew: Crew::new(threads), for_suspects: threads / 2, good, suspect }
    }

    /// Returns the system's resolver: `/etc/hosts`, DNS and whatever else the machine is set up for.
    pub fn system() -> LookUp {
        Arc::new(|host| {
            let found = (host, 0).to_socket_addrs().map_err(with_absence)?;
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
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
    /// only if no usable address is known; [`LAST_RESORT_AFTER`] at most if there is one of last resort.
    fn find(&self, host: &str, deadline: Instant) -> Result<Arc<[IpAddr]>, LookUpError> {
        let mut names = self.shared.names.lock();
        let began = self.clock.steady();
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
            let end = match last_resort {
                // Of a look-up that takes long already, nothing more is awaited.
                Some(_) => deadline.min(under_way.get(host).map_or(began, |since| began.min(*since)) + LAST_RESORT_AFTER),
                None => deadline,
            };
            let left = end.saturating_duration_since(now);
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

    /// Has all threads run that should. They end once the [`Names`] are dropped.
    fn complete(&self, stuck: usize, now: Instant) -> Result<(), LookUpError> {
        let work = |number| -> Work {
            let shared = Arc::clone(&self.shared);
            let good = self.good.1.clone();
            let suspect = if number < self.for_suspects { self.suspect.1.clone() } else { never() };
            Box::new(move || shared.work(&good, &suspect))
        };
        self.crew.complete(stuck, now, work).map_err(LookUpError::NoThread)
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
                Ok(found) if found.is_empty() => {
                    name.found = None;
                    Some("the name has no address".into())
                }
                Ok(mut found) => {
                    found.truncate(MAX_ADDRESSES);
                    name.found = Some((found.into(), now));
                    None
                }
                Err(error) => {
                    // That is an answer, unlike a failure (RFC 8767, section 4).
                    if error.kind() == ErrorKind::NotFound {
                        name.found = None;
                    }
                    Some(error.to_string().into())
                }
            };
            name.suspect = failure.is_some() || now.saturating_duration_since(started) > SLOW_FROM;
            name.failed = failure.map(|reason| (reason, now));
        }
        drop(names);
        self.ended.notify_all();
    }
}

/// Returns the error of the system's resolver with the kind [`ErrorKind::NotFound`] if that is what it says, and with
/// another if not: a file that the resolver misses is no answer about the name.
fn with_absence(error: io::Error) -> io::Error {
    let text = error.to_string();
    let absent = ABSENT.iter().any(|absent| text.contains(absent));
    io::Error::new(if absent { ErrorKind::NotFound } else { ErrorKind::Other }, text)
}

/// Returns the number of look-ups that take long, of those under way.
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
mod tests;
