//! The time of those who wait for others over the network, given from outside so that tests can set it.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Both clocks: one for time-outs and the age of looked-up names, one for timestamps and dates.
#[derive(Clone)]
pub struct Clock {
    steady: Arc<dyn Fn() -> Instant + Send + Sync>,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clock {
    /// The clocks of this machine.
    #[expect(clippy::disallowed_methods, reason = "the edge where the time of a request comes from")]
    pub fn system() -> Self {
        Self { steady: Arc::new(Instant::now), wall: Arc::new(SystemTime::now) }
    }

    /// Any wall clock beside the steady clock of this machine.
    pub fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(wall), ..Self::system() }
    }

    /// Any steady clock beside the wall clock of this machine.
    pub fn with_steady(steady: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self { steady: Arc::new(steady), ..Self::system() }
    }

    pub fn steady(&self) -> Instant {
        (self.steady)()
    }

    pub fn wall(&self) -> SystemTime {
        (self.wall)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
