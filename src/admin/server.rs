//! Accepts connections and shares them out among a few threads. One slow client costs one of these, for a bounded time; who comes while
//! all are taken waits in a short line, and who finds that full is sent away.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never};
use rustix::event::{PollFd, PollFlags, poll};

use super::request;
use super::site::Site;

/// Requests answered at once.
const THREADS: usize = 8;

/// Connections that wait for a thread.
const LINE: usize = 32;

/// What a connection that is sent away hears.
const SENT_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How long nobody is accepted when the system gives no file for it.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the end of the server waits for its clients.
const GRACE: Duration = Duration::from_millis(500);

const STACK: usize = 512 * 1024;

pub struct Server {
    /// Dropped, it ends the thread that accepts; with that all others.
    wake: Option<UnixStream>,
    /// Cloned into each thread: when the last is dropped, all have ended.
    alive: Option<Sender<()>>,
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: TcpListener, site: Arc<Site>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (wake, woken) = UnixStream::pair()?;
        let (line, waiting) = bounded(LINE);
        let (alive, ended) = bounded(0);
        let mut server = Self { wake: Some(wake), alive: Some(alive), ended, threads: Vec::with_capacity(THREADS + 1) };
        for number in 1..=THREADS {
            let (waiting, site) = (waiting.clone(), Arc::clone(&site));
            server.spawn(format!("admin-{number}"), move || serve(&waiting, &site))?;
        }
        server.spawn("admin".to_owned(), move || {
            if let Err(error) = accept(&listener, &woken, &line) {
                site.failed(&format!("the thread admin cannot accept connections: {error}"));
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
    /// Waits a moment for the requests that are being answered; threads that still wait for a client then are left behind.
    fn drop(&mut self) {
        drop(self.wake.take());
        drop(self.alive.take());
        let _ = self.ended.recv_timeout(GRACE);
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                log::error!("a thread of the admin server panicked");
            }
        }
    }
}

/// Until the other end of `woken` is closed.
fn accept(listener: &TcpListener, woken: &UnixStream, line: &Sender<TcpStream>) -> io::Result<()> {
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        let [_, end] = &ready;
        if !end.revents().is_empty() {
            return Ok(());
        }
        let connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                // No file, no memory: others give theirs back, and whoever waits is still there then.
                log::warn!("the admin server cannot accept a connection: {error}");
                let _ = never::<()>().recv_timeout(PAUSE);
                continue;
            }
        };
        match line.try_send(connection) {
            Ok(()) => {}
            Err(TrySendError::Full(connection)) => send_away(connection),
            Err(TrySendError::Disconnected(_)) => return Err(io::Error::other("nobody is left to answer")),
        }
    }
}

/// Whether the client has gone by the time that it is accepted, or there is nothing to accept after all.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

/// Does not wait: what does not fit into the socket's buffer at once is not sent.
fn send_away(mut connection: TcpStream) {
    if connection.set_nonblocking(true).is_ok() {
        let _ = connection.write(SENT_AWAY);
    }
}

/// The body of a thread that answers: until nobody accepts any more.
fn serve(waiting: &Receiver<TcpStream>, site: &Site) {
    for connection in waiting {
        // A panic is a bug in an answer: it costs this client its answer, and is said; the engine's work is not touched by it.
        let answered = catch_unwind(AssertUnwindSafe(|| request::answer(connection, |request| site.respond(request))));
        if answered.is_err() {
            log::error!("an answer of the admin server panicked; please report this");
        }
    }
}
