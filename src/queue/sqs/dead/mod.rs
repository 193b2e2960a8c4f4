//! Dead letters: messages on a queue of their own at the same service, each with our facts in an attribute.
//!
//! Acker threads set messages aside through [`mod@write`]; the `dead` commands list,
//! redrive and purge through [`visit`]. This file finds the dead letter queue.

use std::sync::Arc;

use parking_lot::Mutex;

use self::patience::Patience;
use super::error::Fault;
use super::facts::RedrivePolicy;
use super::remote::{ATTR_ARN, ATTR_MAX_MESSAGE_SIZE, Named, RemoteQueue};
use super::service::Service;
use super::{DeadLetterQueue, QueueError};

mod letter;
mod patience;
mod visit;
mod write;

/// What is wrong with a queue that is the place for its own dead letters.
const ITSELF: &str = "its dead letter queue is the queue itself: name another one in dead_letter, or \"none\"";

/// What is wrong with a queue whose dead letter queue sets its own letters aside on the first.
const CIRCLE: &str = "the redrive policy of its dead letter queue leads back to the queue, so dead letters would come back: take that \
                      policy away, or name another queue in dead_letter";

/// The queue of the dead letters, looked up when it is first needed.
pub(super) struct Target {
    service: Arc<Service>,
    configured: DeadLetterQueue,
    found: Mutex<Option<Arc<RemoteQueue>>>,
    /// Who waits for the `dead` commands.
    patience: Mutex<Patience>,
}

impl Target {
    pub(super) fn new(service: Arc<Service>, configured: DeadLetterQueue) -> Self {
        let found = match &configured {
            DeadLetterQueue::To(named) => Some(Arc::new(RemoteQueue::new(Arc::clone(&service), named.clone()))),
            DeadLetterQueue::OfPolicy | DeadLetterQueue::Nowhere => None,
        };
        Self { service, configured, found: Mutex::new(found), patience: Mutex::default() }
    }

    pub(super) fn is_nowhere(&self) -> bool {
        self.configured == DeadLetterQueue::Nowhere
    }

    /// Returns the dead letter queue of `source`; `None` if it has none.
    /// The first call reads the redrive policy, if that names the queue.
    fn of(&self, source: &RemoteQueue) -> Result<Option<Arc<RemoteQueue>>, Fault> {
        let found = self.found.lock().clone();
        if found.is_some() || self.configured != DeadLetterQueue::OfPolicy {
            return Ok(found);
        }
        let policy = RedrivePolicy::of(source)?;
        Ok(policy.and_then(|policy| policy.target).map(|named| self.remember(named)))
    }

    /// Makes the next call read the redrive policy anew, since its target may have changed.
    fn forget(&self) {
        if self.configured == DeadLetterQueue::OfPolicy {
            *self.found.lock() = None;
        }
    }

    fn remember(&self, named: Named) -> Arc<RemoteQueue> {
        let remote = Arc::new(RemoteQueue::new(Arc::clone(&self.service), named));
        *self.found.lock() = Some(Arc::clone(&remote));
        remote
    }

    /// Checks whether the service may start: a rejected message must have a destination other than its queue,
    /// whose ARN is `own`, or be meant to circulate. Returns the largest size of a letter in bytes, if there are letters.
    pub(super) fn check(
        &self,
        queue: &str,
        own: Option<&String>,
        policy: Option<&RedrivePolicy>,
    ) -> Result<Option<usize>, QueueError> {
        let unusable = |why: &str| QueueError::Unusable { queue: queue.to_owned(), why: why.to_owned() };
        let remote = match &self.configured {
            DeadLetterQueue::Nowhere => return Ok(None),
            DeadLetterQueue::To(named) => self.remember(named.clone()),
            DeadLetterQueue::OfPolicy => match policy.and_then(|policy| policy.target.clone()) {
                Some(named) => self.remember(named),
                None => {
                    let why = "it has no dead letter queue: set dead_letter, or a redrive policy on the queue; with dead_letter = \"none\" \
                               rejected messages circulate";
                    return Err(unusable(why));
                }
            },
        };
        let name = format!("{queue}: its dead letter queue {}", remote.name());
        let attributes = remote
            .attributes(&["RedrivePolicy", ATTR_ARN, ATTR_MAX_MESSAGE_SIZE])
            .map_err(|fault| fault.of(&name, "read its attributes"))?;
        // Each letter would be received and rejected again, and a new one written about it, for ever.
        if own.is_some_and(|own| attributes.get(ATTR_ARN) == Some(own)) {
            return Err(unusable(ITSELF));
        }
        // Each listing of the letters is a receive of each, after some of which SQS moves them.
        let of_letters = RedrivePolicy::read(&attributes).and_then(|policy| policy.target);
        if of_letters.is_some() && of_letters == own.and_then(|own| Named::of_arn(own)) {
            return Err(unusable(CIRCLE));
        }
        Ok(Some(remote.most()))
    }
}

/// Returns whether two queues are one, however each is named. Asks the service only if both have the same name.
fn are_one(one: &RemoteQueue, other: &RemoteQueue) -> Result<bool, Fault> {
    if one.name() != other.name() {
        return Ok(false);
    }
    let arn = |queue: &RemoteQueue| queue.attributes(&[ATTR_ARN]).map(|mut attributes| attributes.remove(ATTR_ARN));
    let one = arn(one)?;
    Ok(one.is_some() && one == arn(other)?)
}
