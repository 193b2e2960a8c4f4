//! Connections: TCP with strict deadlines, TLS by the platform's library on top, and above both a transport
//! that watches the plain text.
//!
//! Runs on delivery threads, inside `ureq`. It must not outlast the deadline of the thread's attempt, whatever the
//! partner sends or does not accept.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::RecvFlags;
use ureq::unversioned::transport::time::Duration::NotHappening;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Error, Timeout};

use super::attempt;
use super::reach::Reach;
use crate::net::clocks::Clocks;
use crate::net::tls::Tls;

/// The time within which an address that is alive answers (RFC 8305, section 8, begins another connection after as much).
const PATIENCE: Duration = Duration::from_millis(250);

/// Makes connections for all agents, so that they share one TLS connector with its roots, and one count.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    clock: Clocks,
    tls: Tls,
    reach: Reach,
    open: Arc<AtomicUsize>,
}

impl Dialer {
    /// Creates a dialer without connections.
    pub fn new(clock: Clocks) -> Self {
        Self(Arc::new(Inner { clock, tls: Tls::shared(), reach: Reach::new(), open: Arc::default() }))
    }

    /// Returns the number of connections, in use or idle.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Returns a host's addresses in the order in which they are to be tried.
    pub fn in_order(&self, addresses: &Arc<[IpAddr]>, port: u16) -> Arc<[IpAddr]> {
        // Of a single one there is no order.
        if addresses.len() < 2 { Arc::clone(addresses) } else { self.0.reach.in_order(addresses, port) }
    }

    /// Tries the addresses in turn. Each but the last may take half of the time that is left: with equal shares an attempt
    /// would come to more of them, and one that is far away would never have the time that it needs.
    fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
        let mut last = Error::Io(io::Error::new(ErrorKind::AddrNotAvailable, "there is no address to connect to"));
        for (at, address) in addresses.iter().enumerate() {
            let left = time_left(&self.0.clock)?;
            let share = if at + 1 == addresses.len() { left } else { left / 2 };
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    self.0.reach.reached(*address, addresses, self.0.clock.steady());
                    return Ok(stream);
                }
                Err(error) => {
                    // In less time, the address may not be dead but far away. But none ever has more than the first.
                    if at == 0 || !is_timeout(&error) || share >= PATIENCE {
                        self.0.reach.failed(*address, at == 0, self.0.clock.steady());
                    }
                    last = if is_timeout(&error) { Error::Timeout(Timeout::Connect) } else { Error::Io(error) };
                }
            }
        }
        Err(last)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({} open)", self.open())
    }
}

impl Connector<()> for Dialer {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Watched>, Error> {
        attempt::connecting();
        let stream = self.dial(&details.addrs)?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let (clock, sealed) = (self.0.clock.clone(), Arc::new(AtomicBool::new(false)));
        let tcp = Tcp { stream, buffers, clock, sealed: Arc::clone(&sealed), _counted: Counted::new(&self.0.open) };
        let inner = self.0.tls.connect(details, Some(tcp))?;
        let watched = |inner| Watched { inner, clock: self.0.clock.clone(), sealed, early: None, cut_off: false };
        Ok(inner.map(|inner| watched(Box::new(inner) as Box<dyn Transport>)))
    }
}

/// Counts one connection for as long as it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes on the socket, plain or encrypted.
pub struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    clock: Clocks,
    /// Whether nothing may be read now.
    sealed: Arc<AtomicBool>,
    _counted: Counted,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            // The timeout is set before each write: a partner that accepts a few bytes at a time must
            // not restart the clock.
            self.stream.set_write_timeout(Some(time_left(&self.clock)?))?;
            match (&self.stream).write(rest) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.sealed.load(Ordering::Relaxed) {
            return Err(Error::Io(ErrorKind::WouldBlock.into()));
        }
        loop {
            self.stream.set_read_timeout(Some(time_left(&self.clock)?))?;
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                Err(error) => return Err(Error::Io(error)),
            }
        }
    }

    /// Returns whether the connection is open and silent, as an idle connection must be for the next request: what is
    /// there already would be taken for its answer. Under TLS, a read may have brought more than the library above has
    /// asked for.
    fn is_open(&mut self) -> bool {
        if !self.buffers.input().is_empty() {
            return false;
        }
        let looked = rustix::net::recv(&self.stream, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.is_err_and(|errno| errno == rustix::io::Errno::AGAIN)
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tcp")
    }
}

/// The plain text of a connection, watched for the beginning of a request and for the status line of the answer.
#[derive(Debug)]
pub struct Watched {
    inner: Box<dyn Transport>,
    clock: Clocks,
    /// Keeps [`Tcp`] from reading.
    sealed: Arc<AtomicBool>,
    /// Whether the partner has answered and takes no more of the request.
    cut_off: bool,
    /// What came of the answer to a request that was cut off, until it is read.
    early: Option<Vec<u8>>,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.cut_off {
            return Ok(());
        }
        attempt::sending(&self.clock);
        let Err(error) = self.inner.transmit_output(amount, timeout) else { return Ok(()) };
        // A partner may answer before it has read everything, with 413 for example, and then
        // close the connection or read no further. The answer is still in the socket, and counts.
        match error {
            Error::Io(_) => attempt::waiting(),
            Error::Timeout(_) => attempt::last_look(&self.clock),
            _ => return Err(error),
        }
        let undecided = || attempt::current().is_some_and(|attempt| attempt.status.is_none());
        while undecided() && matches!(self.read(timeout), Ok(true)) {}
        if undecided() {
            return Err(error);
        }
        // To `ureq` the rest of the request is sent, since it reads the fields of an answer only then. It uses the input
        // buffer for other things until then.
        let buffers = self.inner.buffers();
        let early = buffers.input().to_vec();
        buffers.input_consume(early.len());
        (self.cut_off, self.early) = (true, Some(early));
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let Some(early) = self.early.take() else {
            attempt::waiting();
            return self.read(timeout);
        };
        attempt::last_look(&self.clock);
        let buffers = self.inner.buffers();
        let space = buffers.input_append_buf().get_mut(..early.len());
        space.ok_or(Error::BodyStalled)?.copy_from_slice(&early);
        buffers.input_appended(early.len());
        Ok(true)
    }

    fn is_open(&mut self) -> bool {
        !self.cut_off && self.inner.is_open() && !(self.is_tls() && self.holds_text())
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl Watched {
    /// Reads until something of the answer proper has arrived, or the connection has ended: then the result is `false`.
    /// Complete interim answers are dropped, however many come until the deadline.
    fn read(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        while self.inner.await_input(timeout)? {
            let buffers = self.inner.buffers();
            let interim = attempt::received(buffers.input());
            if interim > 0 {
                buffers.input_consume(interim);
            }
            if !buffers.input().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the TLS library holds text, or the end of all text, that was not asked for yet. The connection
    /// must be silent. Does not block.
    fn holds_text(&mut self) -> bool {
        let timeout = NextTimeout { after: NotHappening, reason: Timeout::RecvBody, per_read: None, per_write: None };
        self.sealed.store(true, Ordering::Relaxed);
        let held = self.inner.await_input(timeout);
        self.sealed.store(false, Ordering::Relaxed);
        held.is_ok()
    }
}

/// Returns the time left in the phase of this thread's attempt. It is never zero, which sockets take for no limit.
fn time_left(clock: &Clocks) -> Result<Duration, Error> {
    let attempt = attempt::current().ok_or_else(|| Error::Io(io::Error::other("a connection was used outside of a delivery")))?;
    let left = attempt.deadline.saturating_duration_since(clock.steady());
    if left.is_zero() { Err(Error::Timeout(Timeout::Global)) } else { Ok(left) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
