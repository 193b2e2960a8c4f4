//! The admin server: pages, probes, metrics and actions for operators, over HTTP/1.1 on threads of its own.
//!
//! | thread | does |
//! |---|---|
//! | `admin` | accepts connections, reads requests and hands over those that are complete ([`server`], [`arriving`]); sends on to clients that are slow to read ([`departing`]) |
//! | `admin-1` to `admin-8` | answer one request at a time ([`request`], [`site`]) and send what the connection takes at once |
//!
//! Architecture invariant: nothing here decides about messages. Questions and actions go through [`Remote`], which
//! bounds what they cost the dispatcher. What one client can take is bounded too: a place among the arriving connections
//! and one among the departing, each for [`request::CLIENT_TIMEOUT`], some 20 KiB of memory and that of its answer, and
//! between them a thread for as long as the dispatcher takes to answer. Of those whose searches wait for each other,
//! [`site`] refuses all but a few.

mod access;
mod arriving;
mod departing;
mod metrics;
mod page;
mod request;
mod response;
mod server;
mod site;
mod why;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

use crate::engine::Remote;
use crate::settings::{AdminSettings, Secret};

use self::access::Access;
use self::server::Server;
use self::site::Site;

/// Why there is no admin server.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port is taken, or the address is not one of this machine's. The service does not start, since
    /// no one could observe it.
    #[error("admin.listen: cannot listen on {listen}: {why}; choose another address or port, or \"\" for none")]
    Listen {
        /// The address, as configured.
        listen: String,
        /// The system's error.
        why: io::Error,
    },
    /// The system refuses another thread.
    #[error("cannot start the threads of the admin server: {0}; raise the limits on tasks and on memory")]
    Threads(io::Error),
}

/// A running server. Dropping this value ends it.
pub struct Admin {
    engine: Arc<OnceLock<Remote>>,
    access: Arc<Access>,
    address: SocketAddr,
    _server: Server,
}

impl Admin {
    /// Binds the address and starts the threads. Until [`Admin::shows`] is called, the server can only answer that the
    /// engine is not ready. Returns `None` if the server is turned off.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub fn start(settings: &AdminSettings) -> Result<Option<Self>, AdminError> {
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let cannot = |why| AdminError::Listen { listen: settings.listen.clone(), why };
        let listener = TcpListener::bind(&settings.listen).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let engine = Arc::new(OnceLock::new());
        let access = Arc::new(Access::new(settings.token.clone(), address.ip().is_loopback()));
        let site = Site::new(Arc::clone(&engine), Arc::clone(&access));
        let server = Server::start(listener, Arc::new(site)).map_err(AdminError::Threads)?;
        Ok(Some(Self { engine, access, address, _server: server }))
    }

    /// Sets the engine that the server shows. Only the first call has an effect.
    pub fn shows(&self, remote: Remote) {
        // A second engine would be a mistake of the caller; the first one stays.
        let _ = self.engine.set(remote);
    }

    /// Replaces the token at a reload. The address stays the same until a restart.
    pub fn replace_token(&self, token: Option<Secret>) {
        self.access.replace(token);
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Returns the address at which a command on this machine reaches a server that listens on `listen`: a server on all
/// interfaces is reached over loopback. `None` means that `listen` does not resolve.
pub fn reached_at(listen: &str) -> Option<SocketAddr> {
    let mut address = listen.to_socket_addrs().ok()?.next()?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_all_interfaces_is_reached_over_loopback() {
        let at = |listen: &str| reached_at(listen).map(|address| address.to_string());
        assert_eq!(at("0.0.0.0:9464").as_deref(), Some("127.0.0.1:9464"));
        assert_eq!(at("[::]:9464").as_deref(), Some("[::1]:9464"));
        assert_eq!(at("192.0.2.7:1").as_deref(), Some("192.0.2.7:1"));
    }
}
