//! Accepts connections, and distributes complete requests among a few threads. The thread `admin` never
//! waits for a single client.
//!
//! A client that is slow to send its request occupies no thread, nor does one that is slow to receive its answer. A
//! request that comes while all threads are busy waits in a short line, and is refused if the line is full.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::arriving::{Arriving, Client};
use super::departing::{Departing, Leaver};
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
        let (leave, leaving) = bounded(THREADS);
        let told = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (alive, ended) = bounded(0);
        let mut server = Self { wake: Some(wake), alive: Some(alive), ended, threads: Vec::with_capacity(THREADS + 1) };
        for number in 1..=THREADS {
            let (waiting, site) = (waiting.clone(), Arc::clone(&site));
            let exit = Exit { leave: leave.clone(), told: Arc::clone(&told) };
            server.spawn(format!("admin-{number}"), move || serve(&waiting, &site, &exit))?;
        }
        server.spawn("admin".to_owned(), move || {
            let door = Door { listener, woken, told, line, leaving };
            if let Some(why) = why_ended(|| door.keep()) {
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

/// What the thread `admin` waits for, and where it passes requests on.
struct Door {
    listener: TcpListener,
    /// Closed at its other end once the server ends.
    woken: UnixStream,
    /// Counts up when a client has come to `leaving`.
    told: Arc<OwnedFd>,
    line: Sender<Client>,
    leaving: Receiver<Leaver>,
}

/// The way back to the thread `admin` for a client that is slow to read its answer.
struct Exit {
    leave: Sender<Leaver>,
    told: Arc<OwnedFd>,
}

/// Which of the things that the thread `admin` waits for have come. All are false if the time of a client or the pause is
/// up, or a signal came.
#[derive(Default)]
struct Come {
    /// Whether the server ends.
    is_over: bool,
    /// Whether a connection waits to be accepted. During a pause none does, as far as this tells.
    is_asked: bool,
    /// For each arriving client, whether it has sent something.
    arriving: Vec<bool>,
    /// For each departing client, whether it takes more, or has sent something that is to be passed over.
    departing: Vec<bool>,
}

impl Door {
    /// Runs the thread `admin` until the other end of `woken` is closed. An error means that the server cannot go on.
    #[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
    fn keep(self) -> io::Result<()> {
        let (mut arriving, mut departing) = (Arriving::default(), Departing::default());
        let mut complaints = LogLimit::default();
        let mut paused_until = None;
        loop {
            let come = self.wait(&arriving, &departing, paused_until)?;
            let now = Instant::now();
            departing.go_on(&come.departing, now);
            self.leaving.try_iter().for_each(|leaver| departing.enter(leaver));
            if come.is_over {
                // Nobody else sends to them from now on.
                let Self { line, leaving, .. } = self;
                drop((line, leaving));
                departing.see_off(now + END_GRACE);
                return Ok(());
            }
            for client in arriving.read(&come.arriving) {
                hand_over(client, &self.line)?;
            }
            paused_until = paused_until.filter(|until| now < *until);
            for client in arriving.expire(now) {
                client.send_away(&request::too_slow());
            }
            if come.is_asked {
                let entered = self.listener.accept().and_then(|(connection, _)| arriving.enter(connection, now));
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

    /// Blocks until there is something to do.
    #[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
    fn wait(&self, arriving: &Arriving, departing: &Departing, paused_until: Option<Instant>) -> io::Result<Come> {
        let connections = if paused_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut sources = vec![
            PollFd::new(&self.woken, PollFlags::IN),
            PollFd::new(&self.listener, connections),
            PollFd::new(&self.told, PollFlags::IN),
        ];
        sources.extend(arriving.connections().map(|connection| PollFd::new(connection, PollFlags::IN)));
        let arrived = sources.len();
        sources.extend(departing.awaited());
        let until = arriving.until().into_iter().chain(departing.until()).chain(paused_until).min();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // There is a timeout if there is a client or a pause, and it is at most [`request::CLIENT_TIMEOUT`].
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut come: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        let departing = come.split_off(arrived);
        let [is_over, is_asked, is_told, arriving @ ..] = &*come else { return Ok(Come::default()) };
        if *is_told {
            // Sets the count back to 0. An error means that it is 0 already.
            let _ = rustix::io::read(&self.told, &mut [0; 8]);
        }
        Ok(Come { is_over: *is_over, is_asked: *is_asked, arriving: arriving.to_vec(), departing })
    }
}

impl Exit {
    /// Sends the answer to the client, or has the thread `admin` send what the client does not take at once. Blocks for
    /// moments, and for [`END_GRACE`] at most if that thread has ended.
    #[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
    fn let_go(&self, mut leaver: Leaver) {
        let now = Instant::now();
        if leaver.go_on(now) {
            return;
        }
        match self.leave.send(leaver) {
            // An error means that the count is at its maximum, so the thread will be woken.
            Ok(()) => _ = rustix::io::write(&self.told, &1_u64.to_ne_bytes()),
            Err(SendError(leaver)) => leaver.see_off(now + END_GRACE),
        }
    }
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
#[expect(clippy::disallowed_methods, reason = "a client's time is measured here")]
fn serve(waiting: &Receiver<Client>, site: &Site, exit: &Exit) {
    for Client { connection, received, .. } in waiting {
        // A panic is a bug in an answer. It costs this client its answer and is logged; the
        // engine's work is not affected.
        let answered = catch_unwind(AssertUnwindSafe(|| request::answer(&received, |request| site.respond(request))));
        match answered {
            // Errors of the socket concern only a client that has gone.
            Ok(Some(answer)) => _ = Leaver::new(connection, answer, Instant::now()).map(|leaver| exit.let_go(leaver)),
            Ok(None) => {}
            Err(_) => log::error!("an answer of the admin server panicked; please report this"),
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
