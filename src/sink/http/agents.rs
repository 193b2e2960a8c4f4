//! One `ureq` agent per authority. An agent that serves many hosts searches its idle connections host by host under one
//! lock, which costs 10 ms a request with 1,000 hosts (measured with 3.5).
//!
//! Called by delivery threads. The lock is held only for a look into the table, never during a request or
//! while connections are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compact_str::{CompactString, format_compact};
use parking_lot::Mutex;
use ureq::Agent;
use ureq::config::AutoHeaderValue;
use ureq::http::Uri;

use super::resolver::DeliveryResolver;
use super::wire::Dialer;
use crate::lru::Lru;
use crate::net::names::Names;
use crate::net::tls;

/// The number of bytes of each of a connection's two buffers, one per direction.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// How long a connection may be idle and still be used: less than the 60 s after which load
/// balancers commonly close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The agents, and the bound on the connections that they hold open.
pub struct Agents {
    dialer: Dialer,
    names: Arc<Names>,
    /// The largest number of idle connections of all agents together, and the largest number of agents.
    limit: usize,
    /// The number of agents in use.
    busy: AtomicUsize,
    table: Mutex<Lru<CompactString, Known>>,
}

/// An agent, and when it was last taken.
struct Known {
    agent: Agent,
    used: Instant,
}

/// An agent in use. Its connection counts as busy until this value is dropped.
pub struct InUse<'a> {
    agents: &'a Agents,
    agent: Agent,
}

impl Agents {
    /// Creates an empty table. `limit` is the largest number of idle connections.
    pub fn new(dialer: Dialer, names: Arc<Names>, limit: usize) -> Self {
        Self { dialer, names, limit: limit.max(1), busy: AtomicUsize::new(0), table: Mutex::new(Lru::new()) }
    }

    /// Returns the agent for the scheme, host and port of a URL. Guarded requests, which may only go to public
    /// addresses, have agents of their own: a connection must not pass from a partner that may be at any
    /// address to one that may not.
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

    /// Closes the connections of agents that were not taken for long. Otherwise, a connection that its host has already
    /// closed would stay open on this side.
    pub fn sweep(&self, now: Instant) {
        self.close(|known| known.used + IDLE_TIMEOUT <= now);
    }

    /// Closes all idle connections, except those of agents in use.
    pub fn close_idle(&self) {
        self.close(|_| true);
    }

    /// Closes agents, from the least recently taken on, up to the first for which `may_be` is false.
    fn close(&self, may_be: impl Fn(&Known) -> bool) {
        loop {
            let evicted = self.table.lock().evict(1, &may_be);
            if evicted.is_none() {
                return;
            }
        }
    }

    fn make(&self, guarded: bool) -> Agent {
        let config = Agent::config_builder()
            .tls_config(tls::config())
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            // A header that does not fit into the buffer is thus reported as too large. It would otherwise be taken for
            // the end of the connection.
            .max_response_header_size(BUFFER_BYTES - 1)
            .max_idle_connections(self.limit)
            .max_idle_connections_per_host(self.limit)
            .max_idle_age(IDLE_TIMEOUT)
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .build();
        let resolver = DeliveryResolver { names: Arc::clone(&self.names), dialer: self.dialer.clone(), guarded };
        Agent::with_parts(config, self.dialer.clone(), resolver)
    }

    /// Closes the connections of the least recently used agents until no more connections are
    /// idle than the limit allows.
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
