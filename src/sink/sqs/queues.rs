//! The queues that partners name, and the services behind them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::SqsSink;
use crate::queue::sqs::{Hints, Location, Named, RemoteQueue, Service};

/// Opens queues by their URLs. Queues of one region and server share their connections, over reloads too, since
/// thousands of partners may have queues there.
#[derive(Default)]
pub struct Queues {
    services: Mutex<HashMap<Location, Arc<Service>>>,
}

impl Queues {
    /// Returns the queue as a partner. Reads the files of AWS profiles, but contacts no service. The error says why the
    /// queue's location cannot be determined.
    pub fn open(&self, url: &str) -> Result<SqsSink, String> {
        let location = Location::find(&Hints { url: Some(url), ..Hints::default() }).map_err(|error| format!("url: {error}"))?;
        let mut services = self.services.lock();
        let service = services.entry(location).or_insert_with_key(|location| Arc::new(location.service()));
        Ok(SqsSink::new(Arc::new(RemoteQueue::new(Arc::clone(service), Named::of(url)))))
    }
}
