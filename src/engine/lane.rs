//! A lane: one queue with everything that the threads around it need. The thread that starts the engine or asks for a
//! reload opens the lanes; `dispatch` owns them afterwards.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, bounded, select};

use crate::dispatch::{ParkingRules, QueueIndex};
use crate::handler::Handler;
use crate::handler::registry::Registry;
use crate::message::Account;
use crate::message::service::Facts;
use crate::queue::parking::{ParkedQueue, Parking, parking_name};
use crate::queue::{Limits, Queue, QueueError};
use crate::settings::{QueueSettings, Source};

use super::error::StartError;
use super::open::{open_parking, open_queue};

/// How long the services of all queues may take to answer before anything is received.
const FACTS_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest number of queues whose services are asked then. Each takes a thread for that time.
const MOST_ASKED: usize = 256;

/// One queue with everything that the threads around it need.
pub(crate) struct Lane {
    pub name: Arc<str>,
    /// The kind of source, as the configuration spells it.
    pub source: &'static str,
    pub handler_name: String,
    pub limits: Limits,
    /// The queue; `None` once nothing is left of a queue that a reload removed.
    pub queue: Option<Arc<dyn Queue>>,
    /// The handler; `None` for a parking, whose deliveries were handled before they were parked.
    pub handler: Option<Arc<dyn Handler>>,
    /// The number of messages in the handler at once.
    pub concurrency: usize,
    /// The store in which the queue's deliveries wait for partners that are unavailable for long.
    pub parking: Option<Arc<Parking>>,
    /// If this is the lane of a parking, the queue that it parks for; set by [`ParkingLane::rules`].
    pub parks_for: Option<QueueIndex>,
    /// Whether a reload removed this queue. Another queue may have the same name.
    pub retires: bool,
}

impl Lane {
    /// Returns a name that no other queue has: a retiring queue is marked as such.
    pub fn label(&self) -> String {
        if self.retires { retiring(&self.name) } else { self.name.to_string() }
    }
}

/// Returns the unique name of a retiring queue.
pub fn retiring(name: &str) -> String {
    format!("{name} (retiring)")
}

/// A lane that is ready, and the lane of its parking.
pub(crate) struct Opened {
    pub lane: Lane,
    /// The lane of the queue's parking; `None` if the queue has none.
    pub parking: Option<ParkingLane>,
}

/// The parking of a queue as a lane of its own.
pub(crate) struct ParkingLane {
    pub lane: Lane,
    entry_limit: usize,
    /// The number of parked deliveries, by account.
    found: Vec<(Account, u64)>,
}

impl ParkingLane {
    /// Returns the dispatcher's rules for this parking; `of` is the queue whose deliveries it holds. To be called once,
    /// since the counts of parked deliveries are moved out: before
    /// that the lane does not know what it parks for.
    pub fn rules(&mut self, of: QueueIndex) -> ParkingRules {
        self.lane.parks_for = Some(of);
        ParkingRules {
            name: Arc::clone(&self.lane.name),
            of,
            entry_limit: self.entry_limit,
            found: std::mem::take(&mut self.found),
        }
    }
}

/// Opens the queue of a section, looks up its handler, and counts what it parked earlier. Blocks for as long as opening
/// a store takes; services are not asked.
pub(crate) fn open(name: &str, settings: &QueueSettings, registry: &Registry) -> Result<Opened, StartError> {
    let handler_name = settings.handler.clone();
    let handler = handler(name, &handler_name, registry)?;
    let queue = open_queue(name, settings)?;
    let parked = open_parking(name, settings)?.map(|parking| parking_lane(name, parking, &queue)).transpose()?;
    let (parking, parking_lane) = parked.unzip();
    let lane = Lane {
        name: name.into(),
        source: source_name(&settings.source),
        handler_name,
        limits: queue.limits(),
        queue: Some(queue),
        handler: Some(handler),
        concurrency: settings.concurrency,
        parking,
        parks_for: None,
        retires: false,
    };
    Ok(Opened { lane, parking: parking_lane })
}

/// Looks up the handler of a queue by its name.
pub(crate) fn handler(queue: &str, name: &str, registry: &Registry) -> Result<Arc<dyn Handler>, StartError> {
    registry.get(name).ok_or_else(|| StartError::Handler { queue: queue.to_owned(), handler: name.to_owned() })
}

/// Asks the services of all queues at the same time whether the queues can be used as they are configured. Returns the
/// name and [`QueueError::Unusable`] of one that cannot, or `None`.
///
/// Blocks for at most [`FACTS_TIMEOUT`]. A service that has not answered by then, or cannot be reached, is asked again by
/// the queue's pollers before they receive.
pub(crate) fn refused<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Option<(Arc<str>, QueueError)> {
    // Only services have facts to ask for: a queue on disk or in memory is fully known.
    let services = lanes.filter(|lane| lane.limits.remote);
    let queues = services.filter_map(|lane| Some((Arc::clone(&lane.name), lane.queue.clone()?)));
    first_refusal(queues.map(|(name, queue)| (name, move || queue.facts())), FACTS_TIMEOUT)
}

fn first_refusal<F>(asks: impl Iterator<Item = (Arc<str>, F)>, patience: Duration) -> Option<(Arc<str>, QueueError)>
where
    F: FnOnce() -> Result<Facts, QueueError> + Send + 'static,
{
    let (answers, answered) = bounded(MOST_ASKED);
    for (name, ask) in asks.take(MOST_ASKED) {
        let answers = answers.clone();
        // An answer that comes too late is dropped.
        let ask = move || drop(answers.send((name, ask())));
        if let Err(error) = thread::Builder::new().name("facts".to_owned()).spawn(ask) {
            log::warn!("a queue is asked about itself later, since no thread can be started: {error}");
        }
    }
    drop(answers);
    let over = after(patience);
    loop {
        let answer = select! {
            recv(answered) -> answer => answer.ok()?,
            recv(over) -> _ => return None,
        };
        if let (name, Err(error @ QueueError::Unusable { .. })) = answer {
            return Some((name, error));
        }
    }
}

/// Claims a parking and counts what is in it.
fn parking_lane(name: &str, parking: Parking, queue: &Arc<dyn Queue>) -> Result<(Arc<Parking>, ParkingLane), QueueError> {
    let parked = ParkedQueue::new(parking, Arc::clone(queue))?;
    let parking = Arc::clone(&parked.parking);
    let mut found = Vec::new();
    parking.list(&mut |line| {
        found.push((line.account, line.deliveries));
        true
    })?;
    let lane = Lane {
        name: parking_name(name).into(),
        source: "sqlite",
        handler_name: String::new(),
        limits: parked.limits(),
        queue: Some(Arc::new(parked)),
        handler: None,
        concurrency: 0,
        parking: None,
        parks_for: None,
        retires: false,
    };
    let entry_limit = lane.limits.entries;
    Ok((parking, ParkingLane { lane, entry_limit, found }))
}

/// Returns the name of the source as the configuration spells it.
pub fn source_name(source: &Source) -> &'static str {
    match source {
        Source::Sqs(_) => "sqs",
        Source::Sqlite { .. } => "sqlite",
        Source::Memory { .. } => "memory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = Box<dyn FnOnce() -> Result<Facts, QueueError> + Send>;

    #[test]
    fn a_service_that_does_not_answer_keeps_no_other_from_being_asked() {
        let (release, released) = bounded::<()>(0);
        let hangs: Asked = Box::new(move || {
            // Ends once the sender is gone.
            let _ = released.recv();
            Ok(Facts::default())
        });
        let away: Asked =
            Box::new(|| Err(QueueError::Unavailable { queue: "b".into(), what: "look up", why: "nobody listens".into() }));
        let unusable: Asked = Box::new(|| Err(QueueError::Unusable { queue: "c".into(), why: "no dead letters".into() }));
        let name = |name: &str| Arc::<str>::from(name);
        let asks = [(name("a"), hangs), (name("b"), away), (name("c"), unusable)];
        let (refused, error) = first_refusal(asks.into_iter(), Duration::from_secs(600)).unwrap();
        assert_eq!((&*refused, error.to_string().contains("no dead letters")), ("c", true));
        drop(release);
    }

    #[test]
    fn who_has_not_answered_in_time_is_not_waited_for() {
        let (release, released) = bounded::<()>(0);
        let hangs = move || {
            let _ = released.recv();
            Ok(Facts::default())
        };
        assert!(first_refusal([(Arc::from("a"), hangs)].into_iter(), Duration::ZERO).is_none());
        drop(release);
        assert!(first_refusal([(Arc::from("a"), || Ok(Facts::default()))].into_iter(), FACTS_TIMEOUT).is_none());
    }
}
