//! The largest of the sizes that a queue had lately, which tells how large the next one may be.

/// The number of sizes in one window of the search for the largest; the search covers two windows.
const WINDOW: u64 = 1000;

/// The number of sizes in the first window. After it the largest size is one that was seen, no longer what was assumed of
/// an unknown one.
pub const FIRST_WINDOW: u64 = 100;

/// The largest of the last 1,000 to 2,000 sizes.
#[derive(Debug, Clone)]
pub struct Largest {
    /// The largest size of the window before; `None` during the first window.
    before: Option<u64>,
    /// The largest size of the present window.
    now: u64,
    /// The number of sizes until the next window begins.
    left: u64,
}

impl Default for Largest {
    fn default() -> Self {
        Self { before: None, now: 0, left: FIRST_WINDOW }
    }
}

impl Largest {
    /// Takes in one more size.
    pub fn saw(&mut self, bytes: u64) {
        self.now = self.now.max(bytes);
        self.left -= 1;
        if self.left == 0 {
            (self.before, self.now, self.left) = (Some(self.now), 0, WINDOW);
        }
    }

    /// Returns the largest size; during the first window at least `unknown`.
    pub fn get(&self, unknown: u64) -> u64 {
        self.before.unwrap_or(unknown).max(self.now)
    }
}
