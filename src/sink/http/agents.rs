//! One `ureq` agent an authority, since an agent that serves many searches its idle connections host by host under one lock: with 1,000
//! hosts that costs 10 ms a request (measured with 3.5).
//!
//! Called by deliver threads. The lock is held for a look into the table, never during a request or while connections are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compact_str::{CompactString, format_compact};
use parking_lot::Mutex;
use ureq::Agent;
use ureq::config::AutoHeaderValue;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::lookup::Lookups;
use super::wire::Dialer;
use crate::lru::Lru;
use crate::net::names::Names;

/// The buffers of a connection, one for each direction.
const BUFFER: usize = 16 * 1024;
/// How long a connection may lie idle and still be used: below the 60 s after which load balancers commonly close theirs.
const IDLE: Duration = Duration::from_secs(55);

/// The agents, and the bound on what they hold open.
pub struct Agents {
    dialer: Dialer,
    names: Arc<Names>,
    /// Most idle connections of all together, and most agents.
    limit: usize,
    busy: AtomicUsize,
    table: Mutex<Lru<CompactString, Known>>,
}

/// An agent, and when it was taken last.
struct Known {
    agent: Agent,
    used: Instant,
}

/// An agent in use. Its connection counts as busy until this is dropped.
pub struct InUse<'a> {
    agents: &'a Agents,
    agent: Agent,
}

impl Agents {
    pub fn new(dialer: Dialer, names: Arc<Names>, limit: usize) -> Self {
        Self { dialer, names, limit: limit.max(1), busy: AtomicUsize::new(0), table: Mutex::new(Lru::new()) }
    }

    /// The agent for a URL's scheme, host and port. Those that only public addresses will do for have agents of their own: a connection
    /// must not pass from a partner that may be anywhere to one that may not.
    pub fn take(&self, url: &Uri, guarded: bool, now: Instant) -> InUse<'_> {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let key = format_compact!("{}{authority}{}", url.scheme_str().unwrap_or_default(), if guarded { "!" } else { "" });
        self.busy.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.lock();
        let agent = match table.get(&key) {
            Some(known) => {
                known.used = now;
                known.agent.clone()
            }
            None => {
                let agent = self.make(guarded);
                table.insert(key, Known { agent: agent.clone(), used: now });
                agent
            }
        };
        InUse { agents: self, agent }
    }

    /// Closes the connections of agents that nobody has taken for long: a host that closed its end has no more use of ours, and nobody
    /// else would find out.
    pub fn sweep(&self, now: Instant) {
        self.close(|known| known.used + IDLE <= now);
    }

    /// Closes all connections that lie idle, but those of agents in use.
    pub fn close_idle(&self) {
        self.close(|_| true);
    }

    /// Closes those of the agents taken least recently, as long as they may be.
    fn close(&self, may_be: impl Fn(&Known) -> bool) {
        loop {
            let evicted = self.table.lock().evict(1, &may_be);
            if evicted.is_none() {
                return;
            }
        }
    }

    fn make(&self, guarded: bool) -> Agent {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            // What does not fit the buffer is said to be too large, rather than taken for the end of the connection.
            .max_response_header_size(BUFFER - 1)
            .max_idle_connections(self.limit)
            .max_idle_connections_per_host(self.limit)
            .max_idle_age(IDLE)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .build();
        Agent::with_parts(config, self.dialer.clone(), Lookups { names: Arc::clone(&self.names), guarded })
    }

    /// Closes the connections of the agents used least recently until no more lie idle than may.
    fn trim(&self) {
        let mut closed = Vec::new();
        loop {
            let idle = self.dialer.open().saturating_sub(self.busy.load(Ordering::Relaxed));
            let mut table = self.table.lock();
            if (idle <= self.limit && table.len() <= self.limit) || table.len() <= 1 {
                return;
            }
            closed.extend(table.evict(1, |_| true));
            drop(table);
            closed.clear();
        }
    }
}

impl std::ops::Deref for InUse<'_> {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.agents.busy.fetch_sub(1, Ordering::Relaxed);
        self.agents.trim();
    }
}
