//! How the process's limit of open files is divided up for partners. The sinks must not exhaust that limit: with no
//! file descriptor left, the embedded queues cannot write and the admin server cannot accept connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of files reserved for everything else: queues and parkings, the admin server's connections, the log. At
/// most half of a low limit is reserved.
const OTHER_FILES: usize = 256;

/// The largest number of partner files worth keeping open.
const MOST_FILES: usize = 8192;

/// How much the sinks may hold open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of threads that may deliver at once.
    pub delivery_threads: usize,
    /// The largest number of idle connections.
    pub idle_connections: usize,
    /// The largest number of partner files that stay open between flushes, and of folders of new files that wait for
    /// their sync. Files being written come on top, one per delivery thread.
    pub open_files: usize,
}

impl Limits {
    /// Returns the limits for `delivery_threads` threads, or for as many as the process's limit of open files allows
    /// (`LimitNOFILE`, 65,536 in the systemd unit). A smaller number is logged.
    pub fn of(delivery_threads: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let limits = Self::within(limit, delivery_threads);
        if limits.delivery_threads < delivery_threads {
            log::warn!(
                "engine.delivery_threads = {delivery_threads} needs more open files than the {limit} that this process may have: {} are used; \
                 raise the limit (LimitNOFILE, ulimit -n)",
                limits.delivery_threads
            );
        }
        limits
    }

    /// Divides up `limit`. A thread has open at most one connection, or one file and its folder. Half of the rest is
    /// for idle connections, half for files that stay open, since opening a file again costs about as much as a flush.
    fn within(limit: usize, delivery_threads: usize) -> Self {
        let left = limit - OTHER_FILES.min(limit / 2);
        let delivery_threads = delivery_threads.min(left / 4).max(1);
        let rest = left.saturating_sub(2 * delivery_threads);
        // The threads take half of it at most, so what is left has room for as many idle connections, and for as many files.
        let idle_connections = delivery_threads;
        Self { delivery_threads, idle_connections, open_files: rest.saturating_sub(idle_connections).clamp(16, MOST_FILES) }
    }
}

/// Raises the process's limit of open files as far as the process may. The usual limit is often that of programs that
/// could not count beyond 1,024. Only the program calls this; an application that embeds the engine decides for itself.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If the system refuses, the present limit has to suffice.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_partners_may_have_open_fits_the_limit() {
        let limits = |delivery_threads, idle_connections, open_files| Limits { delivery_threads, idle_connections, open_files };
        assert_eq!(Limits::within(65_536, 1024), limits(1024, 1024, 8192));
        assert_eq!(Limits::within(4096, 1024), limits(960, 960, 960));
        assert_eq!(Limits::within(1024, 1024), limits(192, 192, 192));
        assert_eq!(Limits::within(1024, 16), limits(16, 16, 720));
        assert_eq!(Limits::within(usize::MAX, 1024), limits(1024, 1024, 8192));
        for limit in 64..70_000 {
            let Limits { delivery_threads, idle_connections, open_files } = Limits::within(limit, 1024);
            assert!(2 * delivery_threads + idle_connections + open_files <= limit, "{limit}");
        }
        assert_eq!(Limits::within(0, 1024), limits(1, 1, 16), "whatever may come of it");
    }
}
