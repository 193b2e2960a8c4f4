//! A lane: one queue with all that the threads around it need; opened at the start and at a reload, by the thread that asks for it.

use std::sync::Arc;

use crate::config::settings::{QueueSettings, Source};
use crate::dispatch::{ParkingRules, QueueIndex};
use crate::handler::Handler;
use crate::handler::registry::Registry;
use crate::message::Account;
use crate::queue::parking::{ParkedQueue, Parking};
use crate::queue::{Limits, Queue, QueueError};

use super::error::StartError;
use super::open::{open_parking, open_queue};

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

/// Opens the queue of a section, finds its handler, and what it parked before. Blocks for as long as a store takes, and for a request to
/// a service. One that cannot be reached is opened all the same: its pollers try again.
pub(crate) fn open(name: &str, settings: &QueueSettings, registry: &Registry) -> Result<Opened, StartError> {
    let handler_name = settings.handler.clone();
    let handler = registry
        .get(&handler_name)
        .ok_or_else(|| StartError::Handler { queue: name.to_owned(), handler: handler_name.clone() })?;
    let queue = open_queue(name, settings)?;
    if let Err(error @ QueueError::Unusable { .. }) = queue.facts() {
        return Err(error.into());
    }
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

fn source_name(source: &Source) -> &'static str {
    match source {
        Source::Sqs(_) => "sqs",
        Source::Sqlite { .. } => "sqlite",
        Source::Memory { .. } => "memory",
    }
}
