//! Limits how often the log repeats what goes on for long.

use std::time::{Duration, Instant};

/// The shortest interval between two log lines about the same.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets a log line through at once, then one every ten seconds. Each place that logs has its own.
#[derive(Debug, Default)]
pub struct LogLimit {
    logged: Option<Instant>,
}

impl LogLimit {
    /// Returns whether to log now.
    pub fn allows(&mut self, now: Instant) -> bool {
        let allows = self.logged.is_none_or(|logged| logged + INTERVAL <= now);
        if allows {
            self.logged = Some(now);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_passes_every_ten_seconds() {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let start = Instant::now();
        let mut limit = LogLimit::default();
        let logged: Vec<u64> = (0..25).filter(|at| limit.allows(start + Duration::from_secs(*at))).collect();
        assert_eq!(logged, [0, 10, 20]);
    }
}
