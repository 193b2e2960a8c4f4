//! The socket of `$NOTIFY_SOCKET`: one datagram per notification, without an answer.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The maximum time that a notification waits for systemd, which usually reads at once.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to notify systemd. Without a socket, nothing is sent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
    /// Whether systemd was notified that the service stops.
    stops: Arc<AtomicBool>,
}

impl Notify {
    /// Connects to the socket that the environment names. A socket that cannot be used is
    /// logged, and then nothing is sent.
    pub fn of_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Self::default() };
        let watchdog = watchdog(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id());
        match connect(&path) {
            Ok(socket) => Self { socket: Some(Arc::new(socket)), watchdog, ..Self::default() },
            Err(error) => {
                log::error!("systemd cannot be notified: NOTIFY_SOCKET={path:?} reason={:?}", error.to_string());
                Self::default()
            }
        }
    }

    /// Whether there is a socket to notify.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Returns the time within which systemd expects a sign of life, or `None` if there is no watchdog.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Whether [`Notify::stopping`] was called.
    pub fn stops(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    /// Sends several assignments in one datagram, such as `READY=1` and `STATUS=…`. Waits for at most one second.
    pub fn say(&self, lines: &[&str]) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.join("\n").as_bytes())
        {
            log::warn!("systemd was not notified: what={:?} reason={:?}", lines.first().unwrap_or(&""), error.to_string());
        }
    }

    /// Notifies that the service is up, or that a reload has ended. Does nothing once the service stops.
    pub fn ready(&self) {
        if !self.stops() {
            self.say(&["READY=1"]);
        }
    }

    /// Notifies that the service stops.
    pub fn stopping(&self) {
        self.stops.store(true, Ordering::Release);
        self.say(&["STOPPING=1"]);
    }

    /// Notifies that a reload begins. [`Notify::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&["RELOADING=1", &format!("MONOTONIC_USEC={micros}")]);
    }
}

/// Connects to the socket. A name that starts with `@` is in Linux's abstract namespace.
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    Ok(socket)
}

/// Returns the watchdog's timeout, if it is meant for this process. `process` is the id that the variable names, if
/// any: a parent's watchdog does not concern this process.
fn watchdog(micros: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let is_meant = process.is_none_or(|process| process.parse() == Ok(own));
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    is_meant.then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_sockets_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("octoconf-test-{}", std::process::id());
        let in_file = UnixDatagram::bind(&path).unwrap();
        let in_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(in_file, path.display().to_string()), (in_name, format!("@{name}"))] {
            let notify = Notify { socket: Some(Arc::new(connect(&address).unwrap())), ..Notify::default() };
            notify.say(&["READY=1", "STATUS=well"]);
            assert_eq!(heard(&socket), "READY=1\nSTATUS=well");
            notify.reloading();
            let reloading = heard(&socket);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            notify.ready();
            notify.stopping();
            // A reload that ends now must not notify READY.
            notify.ready();
            notify.say(&["STATUS=done"]);
            assert_eq!([heard(&socket), heard(&socket), heard(&socket)], ["READY=1", "STOPPING=1", "STATUS=done"]);
        }
    }

    #[test]
    fn a_watchdog_of_another_process_is_none() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(watchdog(Some("30000000"), None, 7), seconds(30));
        assert_eq!(watchdog(Some("30000000"), Some("7"), 7), seconds(30));
        assert_eq!(watchdog(Some("30000000"), Some("8"), 7), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
        assert_eq!((watchdog(None, None, 7), watchdog(Some("soon"), None, 7)), (None, None));
    }

    #[test]
    fn where_nobody_listens_nothing_fails() {
        Notify::default().say(&["READY=1"]);
        assert!(connect("/nonexistent/notify").is_err());
    }
}
