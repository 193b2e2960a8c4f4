//! Keys that are kept, and renewed before they end, by one thread at a time. While the present keys are valid, that is a
//! thread of its own, and no caller waits for it: a source may take a minute, and callers have leases to extend.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::{Chain, Credentials, CredentialsError, Keys, Surroundings};
use crate::queue::clock::Clock;

/// How long before their end keys are renewed, though never before half of their life is over.
/// Instances and containers offer new keys at least this long before the old ones end.
const RENEW_AHEAD: Duration = Duration::from_secs(5 * 60);
/// How often keys without an end are fetched again, since programs and people replace them.
const REFETCH_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The shortest time between two requests to a source.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// What a thread that renews keys does.
type Work = Box<dyn FnOnce() + Send>;

/// A source of keys with a memory. It is meant to be shared, so that many threads use the same keys.
pub struct Cached<S> {
    shared: Arc<Shared<S>>,
    /// Starts a thread.
    spawn: fn(Work) -> io::Result<()>,
}

/// What callers share with the thread that renews the keys.
struct Shared<S> {
    source: S,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Notified when the thread that was asking the source is done.
    done: Condvar,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Whether a thread is asking the source.
    asking: bool,
    /// The last failure and its time; cleared by the next success.
    failed: Option<(SystemTime, CredentialsError)>,
    /// How often [`Cached::look_again`] was called: the source may have had other keys since.
    looks: u64,
}

/// Keys, and when they were fetched.
struct Kept {
    keys: Keys,
    at: SystemTime,
    /// The value of [`State::looks`] when the source was asked for them.
    looks: u64,
}

impl Cached<Chain> {
    /// Returns what a service uses: the sources of the AWS SDKs, with a memory.
    pub fn chain(surroundings: Surroundings) -> Self {
        let clock = Arc::clone(&surroundings.clock);
        Self::new(Chain::new(surroundings), clock)
    }
}

impl<S: Credentials> Cached<S> {
    /// Creates an empty memory for `source`; the first [`Credentials::get`] asks it.
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { source, clock, state: Mutex::default(), done: Condvar::new() }), spawn }
    }

    /// Makes the source be asked again when keys are needed next, even if it is being asked now: what it answers then may
    /// be what it read before. The present keys are used until it returns others.
    pub fn look_again(&self) {
        self.shared.state.lock().looks += 1;
    }
}

/// Starts a thread that renews keys. It is not joined: a source may take a minute, and at the end of the process nobody
/// needs its keys. There is one at a time.
fn spawn(work: Work) -> io::Result<()> {
    thread::Builder::new().name("keys".to_owned()).spawn(work).map(drop)
}

impl<S: Credentials> Shared<S> {
    /// Asks the source on behalf of all threads, and wakes those that
    /// wait. `good` are keys that may still be used if that fails.
    fn renew(&self, good: Option<Keys>) -> Result<Keys, CredentialsError> {
        // However this ends, even by a panic of the source, the other threads stop waiting.
        let _done = Done(self);
        self.ask(good)
    }

    /// Asks the source and keeps what it answers.
    fn ask(&self, good: Option<Keys>) -> Result<Keys, CredentialsError> {
        let looks = self.state.lock().looks;
        let answer = self.source.get();
        let now = self.clock.now();
        let answer = answer.and_then(|keys| keys.checked("their source", now));
        let mut state = self.state.lock();
        match answer {
            Ok(keys) => {
                state.failed = None;
                state.kept = Some(Kept { keys: keys.clone(), at: now, looks });
                Ok(keys)
            }
            Err(error) => {
                state.failed = Some((now, error.clone()));
                good.filter(|keys| keys.are_valid_at(now)).ok_or(error)
            }
        }
    }

    /// Does the same on a thread of its own, while the present keys are valid. A panic of the source, which the panic hook
    /// reports, counts as a failure: once the keys have ended, it happens on a thread that the process needs.
    fn renew_ahead(&self) {
        let _done = Done(self);
        if catch_unwind(AssertUnwindSafe(|| self.ask(None))).is_err() {
            let error = CredentialsError::unreachable("their source", "it panicked, which is a bug in octoconf");
            self.state.lock().failed = Some((self.clock.now(), error));
        }
    }
}

impl<S: Credentials + 'static> Credentials for Cached<S> {
    /// Blocks for as long as the source takes, and only if there are no valid keys, or if the system refuses the thread
    /// that would renew them.
    ///
    /// # Errors
    ///
    /// The errors of the source, if there are no valid keys. For
    /// a second after a failure the source is not asked again.
    fn get(&self) -> Result<Keys, CredentialsError> {
        let mut state = self.shared.state.lock();
        let good = loop {
            let now = self.shared.clock.now();
            let good = state.kept.as_ref().filter(|kept| kept.keys.are_valid_at(now));
            match good {
                Some(kept) if !kept.is_due(now, state.looks) || state.asking => return Ok(kept.keys.clone()),
                _ => {}
            }
            let good = good.map(|kept| kept.keys.clone());
            if let Some(error) = state.just_failed(now) {
                return good.ok_or(error);
            }
            if !state.asking {
                break good;
            }
            self.shared.done.wait(&mut state);
        };
        state.asking = true;
        drop(state);
        let Some(keys) = good else { return self.shared.renew(None) };
        let shared = Arc::clone(&self.shared);
        match (self.spawn)(Box::new(move || shared.renew_ahead())) {
            Ok(()) => Ok(keys),
            Err(_) => self.shared.renew(Some(keys)),
        }
    }

    /// Forgets these keys, unless they were fetched within the last second: a
    /// source that keeps returning them is asked for others once a second at most.
    fn refused(&self, keys: &Keys) {
        let now = self.shared.clock.now();
        let just_came = |kept: &Kept| now.duration_since(kept.at).is_ok_and(|age| age < MIN_PAUSE);
        self.shared.state.lock().kept.take_if(|kept| kept.keys == *keys && !just_came(kept));
    }

    fn origin(&self) -> String {
        self.shared.source.origin()
    }
}

impl State {
    /// Returns the last failure if it is less than [`MIN_PAUSE`] old.
    fn just_failed(&self, now: SystemTime) -> Option<CredentialsError> {
        let (at, error) = self.failed.as_ref()?;
        now.duration_since(*at).is_ok_and(|since| since < MIN_PAUSE).then(|| error.clone())
    }
}

impl Kept {
    fn is_due(&self, now: SystemTime, looks: u64) -> bool {
        // If the clock was set back, the age of the keys is not known.
        let Ok(age) = now.duration_since(self.at) else { return true };
        let life = self.keys.expires_at.map(|end| end.duration_since(self.at).unwrap_or_default());
        let renew_after = match life {
            _ if self.looks != looks => MIN_PAUSE,
            Some(life) => life.saturating_sub(RENEW_AHEAD).max(life / 2),
            None => REFETCH_INTERVAL,
        };
        age >= renew_after.max(MIN_PAUSE)
    }
}

struct Done<'a, S>(&'a Shared<S>);

impl<S> Drop for Done<'_, S> {
    fn drop(&mut self) {
        self.0.state.lock().asking = false;
        self.0.done.notify_all();
    }
}

#[cfg(test)]
mod tests;
