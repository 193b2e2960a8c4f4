//! Host names for requests to SQS, looked up within the time that a request has to connect.

use std::fmt;
use std::sync::Arc;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::net::clocks::Clocks;
use crate::net::names::{LookUpError, Names, addresses};

/// The number of threads that look up names: one server has one name, or two with a proxy.
const THREADS: usize = 2;

/// The resolver of one server's agents. It blocks the thread that makes the request.
#[derive(Clone)]
pub struct Lookups {
    names: Arc<Names>,
    clock: Clocks,
}

impl Lookups {
    pub fn system() -> Self {
        let clock = Clocks::system();
        Self { names: Arc::new(Names::new(Names::system(), clock.clone(), THREADS)), clock }
    }
}

impl Resolver for Lookups {
    /// Blocks for at most `timeout`.
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let now = self.clock.steady();
        // The timeout always has an end, since every agent sets one for its look-ups.
        let deadline = now.checked_add(*timeout.after).unwrap_or(now);
        let resolved = self.names.resolve(uri, deadline).map_err(|error| match error {
            LookUpError::Timeout => Error::Timeout(Timeout::Resolve),
            LookUpError::Failed(_) => Error::HostNotFound,
            LookUpError::Busy | LookUpError::NoThread(_) => Error::Other(error.into()),
        })?;
        Ok(addresses(&resolved, |_| true))
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookups")
    }
}
