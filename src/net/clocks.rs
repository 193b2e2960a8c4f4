//! The clocks of code that waits for servers. They are passed in from outside, so that tests can set the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Two clocks: a steady one for timeouts and the age of looked-up names, and a wall clock for timestamps and dates.
#[derive(Clone)]
pub struct Clocks {
    steady: Arc<dyn Fn() -> Instant + Send + Sync>,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Clocks {
    /// Returns the clocks of this machine.
    #[expect(clippy::disallowed_methods, reason = "the edge where the time of a request comes from")]
    pub fn system() -> Self {
        Self { steady: Arc::new(Instant::now), wall: Arc::new(SystemTime::now) }
    }

    /// Returns the given wall clock beside the steady clock of this machine.
    pub fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(wall), ..Self::system() }
    }

    /// Returns the given steady clock beside the wall clock of this machine.
    pub fn with_steady(steady: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self { steady: Arc::new(steady), ..Self::system() }
    }

    /// Returns the steady clock's time.
    pub fn steady(&self) -> Instant {
        (self.steady)()
    }

    /// Returns the wall clock's time.
    pub fn wall(&self) -> SystemTime {
        (self.wall)()
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clocks")
    }
}
