//! Which addresses could not be connected to lately. Of a host with several, these come last: otherwise each new connection
//! would spend its time on the same dead ones first, and those behind too many of them would never be tried.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lru::Lru;

/// How long an address comes last after a failure, at least. Then it is tried in its turn again, in case it is back.
const LAST_FOR: Duration = Duration::from_secs(300);
/// The largest number of addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// The addresses that failed, each with its last failure.
pub struct Reach(Mutex<Lru<SocketAddr, Failure>>);

/// The failure of an address. The smaller one's address comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    /// When the address last failed as the first of its host, which had the most time; `None`: it did not.
    first_at: Option<Instant>,
    at: Instant,
}

impl Reach {
    /// Creates a table without addresses.
    pub fn new() -> Self {
        Self(Mutex::new(Lru::new()))
    }

    /// Records that no connection to the address could be made. `first`: it was tried before all others of its host.
    pub fn failed(&self, address: SocketAddr, first: bool, now: Instant) {
        let mut failed = self.0.lock();
        let before = failed.get(&address).and_then(|failure| failure.first_at);
        failed.insert(address, Failure { first_at: if first { Some(now) } else { before }, at: now });
        if failed.len() > MAX_ADDRESSES {
            failed.evict(1, |_| true);
        }
    }

    /// Records that a connection to the address was made, which is one of those of its host. Those that failed long ago have
    /// their turn again from now on, and not before: as long as none can be reached, the ones that were found dead would come
    /// before others that were never tried.
    pub fn reached(&self, address: SocketAddr, of_host: &[SocketAddr], now: Instant) {
        let mut failed = self.0.lock();
        failed.remove(&address);
        for other in of_host {
            if failed.get(other).is_some_and(|failure| now.saturating_duration_since(failure.at) >= LAST_FOR) {
                failed.remove(other);
            }
        }
    }

    /// Returns a host's addresses in the order in which they are to be tried: those that did not fail lately as they are,
    /// then the others. Of these each is the first in its turn: an attempt has most of its time for that one, and an address
    /// that is far away needs it. Else the one that failed first comes before those that failed after it.
    pub fn in_order(&self, addresses: &Arc<[IpAddr]>, port: u16) -> Arc<[IpAddr]> {
        let mut failed = self.0.lock();
        let since = |address: &IpAddr| failed.get(&SocketAddr::new(*address, port)).copied();
        let mut ordered: Vec<(Option<Failure>, IpAddr)> = addresses.iter().map(since).zip(addresses.iter().copied()).collect();
        if ordered.iter().all(|(failed, _)| failed.is_none()) {
            return Arc::clone(addresses);
        }
        ordered.sort_by_key(|(failed, _)| *failed);
        ordered.into_iter().map(|(_, address)| address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clocks::Clocks;

    #[test]
    fn what_failed_lately_comes_last_and_in_its_turn() {
        let (reach, start) = (Reach::new(), Clocks::system().steady());
        let after = |seconds| start + Duration::from_secs(seconds);
        let hosts = |last: &[u8]| -> Vec<IpAddr> { last.iter().map(|last| [192, 0, 2, *last].into()).collect() };
        let all: Arc<[IpAddr]> = hosts(&[1, 2, 3, 4]).into();
        let order = || reach.in_order(&all, 443).to_vec();
        let socket = |last| SocketAddr::new([192, 0, 2, last].into(), 443);
        let reached = |last, at| reach.reached(socket(last), &[1, 2, 3, 4].map(socket), at);
        assert!(Arc::ptr_eq(&reach.in_order(&all, 443), &all));
        for (seconds, last) in [(0, 2), (1, 1)] {
            reach.failed(socket(last), false, after(seconds));
        }
        assert_eq!(order(), hosts(&[3, 4, 2, 1]));
        assert_eq!(reach.in_order(&all, 80).to_vec(), hosts(&[1, 2, 3, 4]), "another port");
        reached(2, after(2));
        assert_eq!(order(), hosts(&[2, 3, 4, 1]));
        reached(3, after(300));
        assert_eq!(order(), hosts(&[2, 3, 4, 1]));
        reached(3, after(301));
        assert_eq!(order(), hosts(&[1, 2, 3, 4]), "long ago");
    }

    /// An attempt spends its time on three addresses that swallow what is sent to them, and the next one comes after a back-off.
    #[test]
    fn one_behind_many_dead_ones_is_reached_however_long_the_pauses_between_the_attempts_are() {
        let (reach, mut now) = (Reach::new(), Clocks::system().steady());
        let all: Arc<[IpAddr]> = (1..=50).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let mut pause = Duration::from_secs(1);
        for attempt in 1.. {
            let tried = reach.in_order(&all, 443)[..3].to_vec();
            if tried.contains(&all[44]) {
                break;
            }
            assert!(attempt < 15, "it is never reached: {tried:?}");
            tried.iter().for_each(|&address| reach.failed(SocketAddr::new(address, 443), address == tried[0], now));
            now += pause;
            pause = (pause * 2).min(Duration::from_secs(300));
        }
    }

    #[test]
    fn each_of_those_that_failed_is_the_first_in_its_turn() {
        let (reach, start) = (Reach::new(), Clocks::system().steady());
        let all: Arc<[IpAddr]> = (1..=3).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let first = |attempt| {
            let order = reach.in_order(&all, 443);
            for address in &*order {
                reach.failed(SocketAddr::new(*address, 443), *address == order[0], start + Duration::from_secs(attempt));
            }
            order[0]
        };
        assert_eq!([1, 2, 3, 4, 5, 6].map(first), [0, 1, 2, 0, 1, 2].map(|place: usize| all[place]));
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let (reach, now) = (Reach::new(), Clocks::system().steady());
        for port in 0..=u16::MAX {
            reach.failed(SocketAddr::new([192, 0, 2, 1].into(), port), true, now);
        }
        assert_eq!(reach.0.lock().len(), MAX_ADDRESSES);
    }
}
