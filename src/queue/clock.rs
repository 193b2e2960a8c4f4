//! The wall clock of the embedded queues, passed in so that tests can let leases lapse
//! without waiting for them. Queues read it while they hold their lock, so it must not block.
//!
//! Leases end at wall-clock times because several processes compare them in one file. A clock that is set
//! forward ends leases early, which costs duplicates. If a clock is set back, a file of queues moves its leases
//! back with it, and a queue in memory keeps its messages hidden for that much longer. Neither loses a message.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of the current wall-clock time. It is called under the queue's lock and must not block.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> SystemTime;
}

impl<F> Clock for F
where
    F: Fn() -> SystemTime + Send + Sync,
{
    fn now(&self) -> SystemTime {
        self()
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "an edge: the one place where embedded queues read the wall clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A wall clock that is read once and then goes on by a monotonic clock: a
/// step of the machine's clock changes nothing that is measured with it.
///
/// It stands still while the machine is suspended, and does not know what the clock did before the process began.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    wall: SystemTime,
    start: Instant,
}

impl SteadyClock {
    /// Starts with the time that `wall` shows now.
    #[expect(clippy::disallowed_methods, reason = "an edge: what goes on while the wall clock steps")]
    pub fn from(wall: &impl Clock) -> Self {
        Self { wall: wall.now(), start: Instant::now() }
    }

    /// Returns the one clock of this process, so that all times measured with it can be compared.
    pub fn of_process() -> Self {
        static STEADY: OnceLock<SteadyClock> = OnceLock::new();
        *STEADY.get_or_init(|| Self::from(&WallClock))
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> SystemTime {
        self.wall + self.start.elapsed()
    }
}

/// Converts a time to milliseconds since 1970, the unit in which embedded queues store times; 0 for any earlier time.
pub(super) fn to_millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, whole_millis)
}

/// Converts milliseconds since 1970 to a time; a negative number counts as 0.
pub(super) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Returns when something that starts at `now` and lasts for `duration` is over, in milliseconds since
/// 1970. A fraction of a millisecond is rounded up, so that even the shortest lease lasts for some time.
pub(super) fn later(now: i64, duration: Duration) -> i64 {
    let whole = whole_millis(duration);
    let part = i64::from(!duration.subsec_nanos().is_multiple_of(1_000_000));
    now.saturating_add(whole).saturating_add(part)
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_through_milliseconds() {
        let time = UNIX_EPOCH + Duration::from_millis(1_720_000_000_123);
        assert_eq!(from_millis(to_millis(time)), time);
        assert_eq!(to_millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(from_millis(-5), UNIX_EPOCH);
    }

    #[test]
    fn a_lease_is_rounded_up_and_never_overflows() {
        assert_eq!(later(1_000, Duration::ZERO), 1_000);
        assert_eq!(later(1_000, Duration::from_nanos(1)), 1_001);
        assert_eq!(later(1_000, Duration::from_millis(20)), 1_020);
        assert_eq!(later(1_000, Duration::MAX), i64::MAX);
    }
}
