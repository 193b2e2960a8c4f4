//! A lane: one queue with all that the threads around it need; opened at the start and at a reload, by the thread that asks for it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, bounded, select};

use crate::config::settings::{QueueSettings, Source};
use crate::dispatch::{ParkingRules, QueueIndex};
use crate::handler::Handler;
use crate::handler::registry::Registry;
use crate::message::Account;
use crate::message::settle::Facts;
use crate::queue::parking::{ParkedQueue, Parking};
use crate::queue::{Limits, Queue, QueueError};

use super::error::StartError;
use super::open::{open_parking, open_queue};

/// How long the services of all queues may take for what is asked before anything is received.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues that are asked then; each has a thread meanwhile.
const MOST_ASKED: usize = 256;

/// One queue with all that the threads around it need.
pub(crate) struct Lane {
    pub name: Arc<str>,
    pub source: &'static str,
    pub handler_name: String,
    pub limits: Limits,
    /// `None`: a reload took it away, and nothing is left of it.
    pub queue: Option<Arc<dyn Queue>>,
    /// `None`: it is a parking, what comes of it has been handled.
    pub handler: Option<Arc<dyn Handler>>,
    /// Messages in the handler at once.
    pub concurrency: usize,
    /// Where its deliveries wait for partners that are away.
    pub parking: Option<Arc<Parking>>,
    /// A reload took it away: another one may have its name.
    pub retires: bool,
}

impl Lane {
    /// Its name where no other may have the same.
    pub fn label(&self) -> String {
        if self.retires { retiring(&self.name) } else { self.name.to_string() }
    }
}

/// What a queue that retires is called where no other may be called the same.
pub fn retiring(name: &str) -> String {
    format!("{name} (retiring)")
}

/// A lane that is ready, and that of its parking.
pub(crate) struct Opened {
    pub lane: Lane,
    pub rows: Option<Rows>,
}

/// The parking of a queue as a lane of its own.
pub(crate) struct Rows {
    pub lane: Lane,
    entry_limit: usize,
    /// Deliveries that it holds, by account.
    found: Vec<(Account, u64)>,
}

impl Rows {
    /// What the dispatcher is told of it: `of` is the queue whose deliveries it holds. To be asked once.
    pub fn rules(&mut self, of: QueueIndex) -> ParkingRules {
        ParkingRules {
            name: Arc::clone(&self.lane.name),
            of,
            entry_limit: self.entry_limit,
            found: std::mem::take(&mut self.found),
        }
    }
}

/// Opens the queue of a section, finds its handler, and what it parked before. Blocks for as long as a store takes; a service is not
/// asked.
pub(crate) fn open(name: &str, settings: &QueueSettings, registry: &Registry) -> Result<Opened, StartError> {
    let handler_name = settings.handler.clone();
    let handler = registry
        .get(&handler_name)
        .ok_or_else(|| StartError::Handler { queue: name.to_owned(), handler: handler_name.clone() })?;
    let queue = open_queue(name, settings)?;
    let parked = open_parking(name, settings)?.map(|parking| rows(name, parking, &queue)).transpose()?;
    let (parking, rows) = parked.unzip();
    let lane = Lane {
        name: name.into(),
        source: source_name(&settings.source),
        handler_name,
        limits: queue.limits(),
        queue: Some(queue),
        handler: Some(handler),
        concurrency: settings.concurrency,
        parking,
        retires: false,
    };
    Ok(Opened { lane, rows })
}

/// Asks the queues' services, all at once, whether these queues may be used as they are set up: the name of one that may not, and
/// [`QueueError::Unusable`]. Blocks for [`PATIENCE`] at most: whoever has not answered by then, or cannot be reached, is asked again by the queue's
/// pollers, before they receive.
pub(crate) fn refused<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Option<(Arc<str>, QueueError)> {
    // What a queue on the local disk or in memory does by itself is known.
    let services = lanes.filter(|lane| lane.limits.priced);
    let queues = services.filter_map(|lane| Some((Arc::clone(&lane.name), lane.queue.clone()?)));
    first_refusal(queues.map(|(name, queue)| (name, move || queue.facts())), PATIENCE)
}

fn first_refusal<F>(asks: impl Iterator<Item = (Arc<str>, F)>, patience: Duration) -> Option<(Arc<str>, QueueError)>
where
    F: FnOnce() -> Result<Facts, QueueError> + Send + 'static,
{
    let (answers, answered) = bounded(MOST_ASKED);
    for (name, ask) in asks.take(MOST_ASKED) {
        let answers = answers.clone();
        // Nobody hears what comes too late.
        let ask = move || drop(answers.send((name, ask())));
        if let Err(error) = thread::Builder::new().name("facts".to_owned()).spawn(ask) {
            log::warn!("a queue is asked about itself later, there is no thread for it: {error}");
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

/// Claims a parking and finds what is in it.
fn rows(name: &str, parking: Parking, queue: &Arc<dyn Queue>) -> Result<(Arc<Parking>, Rows), QueueError> {
    let rows = ParkedQueue::new(parking, Arc::clone(queue))?;
    let parking = Arc::clone(&rows.parking);
    let mut found = Vec::new();
    parking.list(&mut |line| {
        found.push((line.account, line.deliveries));
        true
    })?;
    let lane = Lane {
        name: format!("{name}.parking").into(),
        source: "sqlite",
        handler_name: String::new(),
        limits: rows.limits(),
        queue: Some(Arc::new(rows)),
        handler: None,
        concurrency: 0,
        parking: None,
        retires: false,
    };
    let entry_limit = lane.limits.entries;
    Ok((parking, Rows { lane, entry_limit, found }))
}

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
        assert!(first_refusal([(Arc::from("a"), || Ok(Facts::default()))].into_iter(), PATIENCE).is_none());
    }
}
