//! What the process's limit of open files leaves for partners. Nothing of ours may reach that limit: with no file left the embedded queues
//! cannot be written and the admin server cannot accept, whoever has the files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything else: those of queues and parkings, the admin server's connections, the log. Of a low limit half.
const OTHERS: usize = 256;

/// Partner files that are worth keeping open.
const MOST_FILES: usize = 8192;

/// What the sinks may hold open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many threads may deliver at once.
    pub delivery_threads: usize,
    /// Connections that lie idle at most.
    pub idle_connections: usize,
    /// Partner files that stay open between flushes. Those being written come on top, one a delivery thread.
    pub open_files: usize,
}

impl Limits {
    /// For so many threads, or as many as the process's limit of open files (`LimitNOFILE`, 65,536 in the systemd unit) has files for. That
    /// there are fewer is said in the log.
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

    /// A thread has at most a connection in use, or a file with its folder; half of the rest is for connections that lie idle, half for
    /// files that stay open: opening one again for a flush costs about as much as the flush.
    fn within(limit: usize, delivery_threads: usize) -> Self {
        let left = limit - OTHERS.min(limit / 2);
        let delivery_threads = delivery_threads.min(left / 4).max(1);
        let rest = left.saturating_sub(2 * delivery_threads);
        let idle_connections = delivery_threads.min(rest / 2).max(1);
        Self { delivery_threads, idle_connections, open_files: rest.saturating_sub(idle_connections).clamp(16, MOST_FILES) }
    }
}

/// Lets the process have as many open files as it may give itself: the limit that is in force is often that of programs which could not
/// count beyond 1,024. For the program; whoever embeds the engine decides for itself.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where that is refused, what there is has to do.
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
