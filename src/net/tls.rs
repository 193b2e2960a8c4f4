//! The one TLS connector of this program, which all connections share: those to partners, to SQS and to what gives keys.
//! All of them trust what the system trusts.
//!
//! `ureq` makes its connector at the first connection, on each thread that gets there before it is made, and for requests
//! with settings of their own at every connection. Each time it parses the system's root certificates, which costs some
//! 80 ms of a core and 2 MB for as long as the connection lives (OpenSSL 3, 140 certificates): a hundred partners that
//! begin at once would take all cores for seconds.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, LazyLock, Once};

use ureq::Error;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NativeTlsConnector, NextTimeout, TcpConnector,
    Transport,
};

static SHARED: LazyLock<Tls> = LazyLock::new(|| Tls::new(NativeTlsConnector::default()));

/// A connector that is made once, by the first thread that needs it; others wait for that.
pub struct Tls<C = NativeTlsConnector>(Arc<Inner<C>>);

struct Inner<C> {
    connector: C,
    made: Once,
}

/// Returns the settings of every agent. The shared connector is made with those of the first one.
pub fn config() -> TlsConfig {
    TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build()
}

/// Returns a connector for TCP, through the proxy of an agent if it has one, and TLS.
pub fn connector() -> impl Connector<()> {
    ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(Tls::shared())
}

impl Tls {
    /// Returns the connector of this program.
    pub fn shared() -> Self {
        Self(Arc::clone(&SHARED.0))
    }
}

impl<C> Tls<C> {
    /// `connector` must keep what it made at the first call.
    fn new(connector: C) -> Self {
        Self(Arc::new(Inner { connector, made: Once::new() }))
    }
}

impl<C: Connector<Nowhere>> Inner<C> {
    /// Has the connector made. Only a connection makes it, so this one leads nowhere; whatever cannot be made here is
    /// reported by the connections that need it.
    fn make(&self, details: &ConnectionDetails<'_>) {
        let details = ConnectionDetails {
            // What is made for the settings of a single request is not kept.
            request_level: false,
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        drop(self.connector.connect(&details, Some(Nowhere(LazyBuffers::new(1024, 1024)))));
    }
}

impl<In: Transport, C: Connector<In> + Connector<Nowhere>> Connector<In> for Tls<C> {
    type Out = <C as Connector<In>>::Out;

    /// Blocks for as long as the handshake does, and once for the time in which the connector is made.
    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if details.needs_tls() {
            self.0.made.call_once(|| self.0.make(details));
        }
        self.0.connector.connect(details, chained)
    }
}

impl<C> fmt::Debug for Tls<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A connection on which nothing can be sent.
pub struct Nowhere(LazyBuffers);

impl Transport for Nowhere {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.0
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        Err(Error::Io(ErrorKind::NotConnected.into()))
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        Err(Error::Io(io::Error::from(ErrorKind::NotConnected)))
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

impl fmt::Debug for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nowhere")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Barrier;
    use std::thread;

    use crossbeam_channel::{Receiver, Sender, bounded};
    use ureq::unversioned::resolver::DefaultResolver;
    use ureq::{Agent, config::Config};

    use super::*;

    /// A library that takes long to be made: it says when a connection reaches it, and whether that leads nowhere.
    struct Slow {
        reached: Sender<bool>,
        made: Receiver<()>,
    }

    impl<In: Transport> Connector<In> for Slow {
        type Out = Box<dyn Transport>;

        fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
            let leads_nowhere = chained.is_some_and(|mut transport| !transport.is_open());
            self.reached.send(leads_nowhere).unwrap();
            if leads_nowhere {
                self.made.recv().unwrap();
            }
            Err(Error::ConnectionFailed)
        }
    }

    impl fmt::Debug for Slow {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Slow")
        }
    }

    #[test]
    fn it_is_made_once_and_before_any_connection_uses_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let ((reached, on_reached), (make, made)) = (bounded(100), bounded(100));
        let tls = Tls::new(Slow { reached, made });
        let chain = ().chain(TcpConnector::default()).chain(tls);
        let agent = Agent::with_parts(Config::default(), chain, DefaultResolver::default());
        let begin = Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..4 {
                let (agent, url, begin) = (&agent, &url, &begin);
                scope.spawn(move || {
                    begin.wait();
                    // Some have settings of their own, as each request to SQS has.
                    let patience = (number % 2 == 0).then(|| std::time::Duration::from_secs(60));
                    agent.get(url).config().timeout_global(patience).build().call().unwrap_err();
                });
            }
            assert_eq!(on_reached.recv(), Ok(true), "the first connection leads nowhere");
            assert!(on_reached.is_empty());
            make.send(()).unwrap();
        });
        assert_eq!(on_reached.try_iter().collect::<Vec<_>>(), [false; 4]);
    }
}
