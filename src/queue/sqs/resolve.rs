//! Names as requests to SQS see them: looked up within the time that a request has to connect.

use std::fmt;
use std::sync::Arc;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::net::clock::Clock;
use crate::net::names::{LookUpError, Names, addresses};

/// Threads that look up: one server has one name, or two with a proxy.
const THREADS: usize = 2;

/// The names of one server's agents.
#[derive(Clone)]
pub struct Lookups {
    names: Arc<Names>,
    clock: Clock,
}

impl Lookups {
    pub fn system() -> Self {
        let clock = Clock::system();
        Self { names: Arc::new(Names::new(Names::system(), clock.clone(), THREADS)), clock }
    }
}

impl Resolver for Lookups {
    /// Blocks for as long as `timeout` says at most.
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let now = self.clock.steady();
        // Without an end there would be no agent: its time to look up is set.
        let deadline = now.checked_add(*timeout.after).unwrap_or(now);
        let place = self.names.place(uri, deadline).map_err(|error| match error {
            LookUpError::Timeout => Error::Timeout(Timeout::Resolve),
            LookUpError::Failed(_) => Error::HostNotFound,
            LookUpError::Busy => Error::Other(error.into()),
        })?;
        Ok(addresses(&place, |_| true))
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookups")
    }
}
