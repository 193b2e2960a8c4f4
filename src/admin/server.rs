//! Accepts connections, and distributes complete requests among a few threads. The thread `admin` never
//! waits for a single client.
//!
//! A client that is slow to send its request occupies no thread; one that is slow to receive its answer
//! occupies one for a bounded time. A request that comes while all threads are busy waits in a short line, and
//! is refused if the line is full.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::arriving::{Arriving, Client};
use super::request;
use super::response::Response;
use super::site::Site;
use crate::log_limit::LogLimit;

/// The number of threads that answer, and so of requests answered at once.
const THREADS: usize = 8;

/// The largest number of complete requests that wait for a thread.
const MAX_IN_LINE: usize = 32;

/// How long the server accepts no connection after the system refused a file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the end of the server waits for requests that are being answered.
const END_GRACE: Duration = Duration::from_millis(500);

/// Bytes of a thread's stack.
const STACK: usize = 512 * 1024;

/// The threads of the server.
pub struct Server {
    /// Dropping this ends the thread that accepts, and thereby all others.
    wake: Option<UnixStream>,
    /// Cloned into each thread: once the last clone is dropped, all threads have ended.
    alive: Option<Sender<()>>,
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the threads. An error means that the system refuses one, or the socket cannot be set up.
    pub fn start(listener: TcpListener, site: Arc<Site>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (wake, woken) = UnixStream::pair()?;
        let (line, waiting) = bounded(MAX_IN_LINE);
        let (alive, ended) = bounded(0);
        let mut server = Self { wake: Some(wake), alive: Some(alive), ended, threads: Vec::with_capacity(THREADS + 1) };
        for number in 1..=THREADS {
            let (waiting, site) = (waiting.clone(), Arc::clone(&site));
            server.spawn(format!("admin-{number}"), move || serve(&waiting, &site))?;
        }
        server.spawn("admin".to_owned(), move || {
            if let Some(why) = why_ended(|| accept(&listener, &woken, &line)) {
                site.failed(&why);
            }
        })?;
        Ok(server)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let alive = self.alive.clone();
        let body = move || {
            let _alive = alive;
            body();
        };
        self.threads.push(thread::Builder::new().name(name).stack_size(STACK).spawn(body)?);
        Ok(())
    }
}

impl Drop for Server {
    /// Waits up to [`END_GRACE`] for requests that are being answered. Threads that still wait for a
    /// client then are left behind.
    fn drop(&mut self) {
        drop(self.wake.take());
        drop(self.alive.take());
        let _ = self.ended.recv_timeout(END_GRACE);
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                log::error!("a thread of the admin server panicked");
            }
        }
    }
}

/// Runs the body of the thread `admin`. Returns why it ended, if that was too early: an error or a panic.
fn why_ended(body: impl FnOnce() -> io::Result<()>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("the thread admin cannot accept connections: {error}")),
        Err(_) => Some("the thread admin panicked".to_owned()),
    }
}

/// Runs the thread `admin` until the other end of `woken` is closed. An error means that the server cannot go on.
#[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
fn accept(listener: &TcpListener, woken: &UnixStream, line: &Sender<Client>) -> io::Result<()> {
    let mut arriving = Arriving::default();
    let mut complaints = LogLimit::default();
    let mut paused_until = None;
    loop {
        let [is_over, is_asked, clients @ ..] = &*ready(listener, woken, &arriving, paused_until)? else { continue };
        if *is_over {
            return Ok(());
        }
        for client in arriving.read(clients) {
            hand_over(client, line)?;
        }
        let now = Instant::now();
        paused_until = paused_until.filter(|until| now < *until);
        for client in arriving.expire(now) {
            client.send_away(&request::too_slow());
        }
        if *is_asked {
            let entered = listener.accept().and_then(|(connection, _)| arriving.enter(connection, now));
            match entered {
                Ok(None) => {}
                Ok(Some(makes_way)) => makes_way.send_away(&busy()),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    // The system has no file descriptor or memory left. Others will be freed, and the waiting clients
                    // will still be there then.
                    if complaints.allows(now) {
                        log::warn!("the admin server cannot accept a connection: {error}");
                    }
                    paused_until = Some(now + ACCEPT_PAUSE);
                }
            }
        }
    }
}

/// Blocks until there is something to do. Returns whether the server ends, whether a connection waits to be
/// accepted, and for each arriving client whether it has sent something. All are false if the time of a
/// client or the pause is up, or a signal came. During the pause no connection waits, as far as this function tells.
#[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
fn ready(
    listener: &TcpListener,
    woken: &UnixStream,
    arriving: &Arriving,
    paused_until: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let connections = if paused_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
    let mut sources = vec![PollFd::new(woken, PollFlags::IN), PollFd::new(listener, connections)];
    sources.extend(arriving.connections().map(|connection| PollFd::new(connection, PollFlags::IN)));
    let until = arriving.until().into_iter().chain(paused_until).min();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // There is a timeout if there is a client or a pause, and it is at most [`request::CLIENT_TIMEOUT`].
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut sources, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(sources.iter().map(|source| !source.revents().is_empty()).collect())
}

/// Puts a complete request into the line, or refuses it if the line is full. Does not block.
fn hand_over(client: Client, line: &Sender<Client>) -> io::Result<()> {
    match line.try_send(client) {
        Ok(()) => {}
        Err(TrySendError::Full(client)) => client.send_away(&busy()),
        Err(TrySendError::Disconnected(_)) => return Err(io::Error::other("nobody is left to answer")),
    }
    Ok(())
}

/// Returns the answer to a client that is refused because of too many others.
fn busy() -> Response {
    Response::refusal(503, "too many clients at once").with("retry-after: 1\r\n")
}

/// Returns whether the client has gone before it was accepted, or there is nothing to accept after all.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

/// Runs a thread that answers, until the thread `admin` has ended.
fn serve(waiting: &Receiver<Client>, site: &Site) {
    for Client { connection, received, .. } in waiting {
        // A panic is a bug in an answer. It costs this client its answer and is logged; the
        // engine's work is not affected.
        let answered = catch_unwind(AssertUnwindSafe(|| request::answer(connection, &received, |request| site.respond(request))));
        if answered.is_err() {
            log::error!("an answer of the admin server panicked; please report this");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_accepts_does_not_end_unsaid() {
        assert_eq!(why_ended(|| Ok(())), None);
        let why = why_ended(|| Err(io::Error::other("no memory"))).unwrap();
        assert_eq!(why, "the thread admin cannot accept connections: no memory");
        assert_eq!(why_ended(|| std::panic::resume_unwind(Box::new(()))).unwrap(), "the thread admin panicked");
    }
}
