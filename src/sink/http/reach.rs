//! Which addresses could not be connected to lately. Of a host with several, these come last: otherwise each new connection
//! would spend its time on the same dead ones first, and those behind too many of them would never be tried.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lru::Lru;

/// How long an address comes last after a failure. Then it is tried in its turn again, in case it is back.
const LAST_FOR: Duration = Duration::from_secs(300);
/// The largest number of addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// The addresses that failed, each with the time of its last failure.
pub struct Reach(Mutex<Lru<SocketAddr, Instant>>);

impl Reach {
    /// Creates a table without addresses.
    pub fn new() -> Self {
        Self(Mutex::new(Lru::new()))
    }

    /// Records that no connection to the address could be made.
    pub fn failed(&self, address: SocketAddr, now: Instant) {
        let mut failed = self.0.lock();
        failed.insert(address, now);
        if failed.len() > MAX_ADDRESSES {
            failed.evict(1, |_| true);
        }
    }

    /// Records that a connection to the address was made.
    pub fn reached(&self, address: SocketAddr) {
        self.0.lock().remove(&address);
    }

    /// Returns a host's addresses in the order in which they are to be tried: those that did not fail lately as they are,
    /// then the others, the one that failed first before those that failed after it.
    pub fn in_order(&self, addresses: &Arc<[IpAddr]>, port: u16, now: Instant) -> Arc<[IpAddr]> {
        let mut failed = self.0.lock();
        let since = |address: &IpAddr| {
            let at = failed.get(&SocketAddr::new(*address, port)).copied();
            at.filter(|at| now.saturating_duration_since(*at) < LAST_FOR)
        };
        let mut ordered: Vec<(Option<Instant>, IpAddr)> = addresses.iter().map(since).zip(addresses.iter().copied()).collect();
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
        let order = |now| reach.in_order(&all, 443, now).to_vec();
        assert!(Arc::ptr_eq(&reach.in_order(&all, 443, start), &all));
        for (seconds, last) in [(0, 2), (1, 1)] {
            reach.failed(SocketAddr::new([192, 0, 2, last].into(), 443), after(seconds));
        }
        assert_eq!(order(after(2)), hosts(&[3, 4, 2, 1]));
        assert_eq!(reach.in_order(&all, 80, after(2)).to_vec(), hosts(&[1, 2, 3, 4]), "another port");
        reach.reached(SocketAddr::new([192, 0, 2, 2].into(), 443));
        assert_eq!(order(after(2)), hosts(&[2, 3, 4, 1]));
        assert_eq!(order(after(301)), hosts(&[1, 2, 3, 4]), "long ago");
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let (reach, now) = (Reach::new(), Clocks::system().steady());
        for port in 0..=u16::MAX {
            reach.failed(SocketAddr::new([192, 0, 2, 1].into(), port), now);
        }
        assert_eq!(reach.0.lock().len(), MAX_ADDRESSES);
    }
}
