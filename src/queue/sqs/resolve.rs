//! Addresses of the server, remembered for a while.
//!
//! `ureq` looks a name up before every request, also one that will reuse a connection, and its own resolver starts a thread for each: that
//! was a third of what a request costs. Called by pollers and ackers; a look-up blocks for as long as the request may take to connect.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is taken as it is. The system's resolver does not tell the time to live of the record; AWS has 60 s.
const FRESH: Duration = Duration::from_secs(30);
/// How long it stands in for look-ups that fail (RFC 8767 suggests one to three days).
const LAST_RESORT: Duration = Duration::from_secs(86_400);
/// Names that are remembered: the server, a proxy, and what other hosts the URLs of queues may have.
const NAMES: usize = 16;

/// The system's resolver with a memory.
#[derive(Debug, Default)]
pub struct Remembering {
    system: DefaultResolver,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    /// Scheme, host and port.
    place: Uri,
    addresses: ResolvedSocketAddrs,
    found: Instant,
}

impl Remembering {
    fn find(
        &self,
        uri: &Uri,
        now: Instant,
        ask: impl FnOnce(&DefaultResolver) -> Result<ResolvedSocketAddrs, Error>,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let known = |limit| {
            let known = self.known.lock();
            let known = known.iter().find(|known| is_same_place(&known.place, uri))?;
            (now.saturating_duration_since(known.found) < limit).then(|| known.addresses.clone())
        };
        if let Some(addresses) = known(FRESH) {
            return Ok(addresses);
        }
        // No lock is held meanwhile: two threads may look it up both.
        match ask(&self.system) {
            Ok(addresses) => {
                self.remember(uri, &addresses, now);
                Ok(addresses)
            }
            Err(error) => known(LAST_RESORT).ok_or(error),
        }
    }

    fn remember(&self, uri: &Uri, addresses: &ResolvedSocketAddrs, found: Instant) {
        let mut known = self.known.lock();
        known.retain(|known| !is_same_place(&known.place, uri));
        if known.len() >= NAMES {
            // The oldest: each that is looked up goes to the end.
            known.remove(0);
        }
        known.push(Known { place: uri.clone(), addresses: addresses.clone(), found });
    }
}

fn is_same_place(one: &Uri, other: &Uri) -> bool {
    one.authority() == other.authority() && one.scheme() == other.scheme()
}

impl Resolver for Remembering {
    #[expect(clippy::disallowed_methods, reason = "an edge: how old an answer is")]
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.find(uri, Instant::now(), |system| system.resolve(uri, config, timeout))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
mod tests {
    use super::*;

    const PORT: u16 = 9324;

    fn answer(system: &DefaultResolver, last: u8) -> ResolvedSocketAddrs {
        let mut addresses = system.empty();
        addresses.push(([127, 0, 0, last], PORT).into());
        addresses
    }

    fn last(found: Result<ResolvedSocketAddrs, Error>) -> u8 {
        match found.unwrap()[0].ip() {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(address) => panic!("{address}"),
        }
    }

    #[test]
    fn a_name_is_looked_up_once_in_half_a_minute() {
        let names = Remembering::default();
        let (uri, start) = (Uri::from_static("http://sqs:9324/a"), Instant::now());
        assert_eq!(last(names.find(&uri, start, |system| Ok(answer(system, 1)))), 1);
        // Another queue at the same place.
        let uri = Uri::from_static("http://sqs:9324/b");
        assert_eq!(last(names.find(&uri, start + FRESH / 2, |_| panic!("it is known"))), 1);
        assert_eq!(last(names.find(&uri, start + FRESH, |system| Ok(answer(system, 2)))), 2);
        let elsewhere = Uri::from_static("http://sqs:9325/b");
        assert_eq!(last(names.find(&elsewhere, start + FRESH, |system| Ok(answer(system, 3)))), 3);
        assert_eq!(last(names.find(&uri, start + FRESH, |_| panic!("it is known"))), 2);
    }

    #[test]
    fn what_was_known_stands_in_for_a_look_up_that_fails() {
        let names = Remembering::default();
        let (uri, start) = (Uri::from_static("https://sqs/"), Instant::now());
        let fails = |_: &DefaultResolver| Err(Error::HostNotFound);
        assert!(matches!(names.find(&uri, start, fails), Err(Error::HostNotFound)));
        assert_eq!(last(names.find(&uri, start, |system| Ok(answer(system, 1)))), 1);
        assert_eq!(last(names.find(&uri, start + FRESH * 2, fails)), 1);
        assert!(names.find(&uri, start + LAST_RESORT, fails).is_err());
    }

    #[test]
    fn a_bounded_number_of_names_is_remembered() {
        let names = Remembering::default();
        for host in 0..100 {
            let uri: Uri = format!("http://host-{host}/").parse().unwrap();
            names.find(&uri, Instant::now(), |system| Ok(answer(system, 1))).unwrap();
        }
        assert_eq!(names.known.lock().len(), NAMES);
    }
}
