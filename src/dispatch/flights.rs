//! Flights: flushes on the wire, and the watch over those that last long. Part of the dispatcher's state machine.
//!
//! For its first second a flush is watched by its place in a list of all young flushes. That needs no timer for each
//! flush: one alarm rings about once a second, however many there are.

use std::collections::VecDeque;
use std::time::Instant;

use slotmap::{DefaultKey, SlotMap};

use super::bucket::Parcel;
use super::due::{Alarm, Due};
use super::health::PATIENCE;
use super::keys::{BucketKey, FlushId, PartnerKey};
use super::rules::Medium;
use super::timer::Timer;

/// One flush on the wire.
#[derive(Debug)]
pub struct Flight {
    /// The bucket that is flushed.
    pub bucket: BucketKey,
    /// The partner of the bucket.
    pub partner: PartnerKey,
    /// The batch on the wire, with its slips.
    pub parcel: Parcel,
    /// Where the batch goes, and so which delivery threads it counts against.
    pub medium: Medium,
    /// When the flush began.
    pub began: Instant,
}

/// All flights, by their ids.
#[derive(Debug, Default)]
pub struct Flights {
    flights: SlotMap<DefaultKey, Flight>,
    /// The flights that were not looked at yet, in the order in which they began; at most [`PATIENCE`] old. Some
    /// of them may have landed.
    young: VecDeque<FlushId>,
    alarm: Alarm,
}

impl Flights {
    /// Records a flush that begins, and returns its id.
    pub fn begin(&mut self, flight: Flight, due: &mut Due<Timer>) -> FlushId {
        // An inline flush lands before it could be watched.
        let (watched, began) = (flight.medium != Medium::Inline, flight.began);
        let flush = FlushId(self.flights.insert(flight));
        if watched {
            self.young.push_back(flush);
            self.alarm.by(due, began + PATIENCE, Timer::Flights);
        }
        flush
    }

    /// Returns whether nothing is on the wire.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Returns the flight, `None` if it has landed.
    pub fn get(&self, flush: FlushId) -> Option<&Flight> {
        self.flights.get(flush.0)
    }

    /// Returns when the flush began, `None` if it has landed.
    pub fn began(&self, flush: FlushId) -> Option<Instant> {
        Some(self.get(flush)?.began)
    }

    /// Takes the flight out. `None`: the id names no flight, or it has landed before.
    pub fn land(&mut self, flush: FlushId) -> Option<Flight> {
        let flight = self.flights.remove(flush.0)?;
        self.drop_landed();
        Some(flight)
    }

    /// Drops flights that have landed from the front of the young ones.
    fn drop_landed(&mut self) {
        while self.young.front().is_some_and(|first| !self.flights.contains_key(first.0)) {
            self.young.pop_front();
        }
    }

    /// Records that [`Timer::Flights`] came up; to be called before [`Flights::next_old`].
    pub fn alarm_rang(&mut self) {
        self.alarm.rang();
    }

    /// Returns the partner of the next flight that has been on the wire for [`PATIENCE`]; each flight is returned once.
    /// `None`: there is no other for now, and the alarm is set for the next one.
    pub fn next_old(&mut self, now: Instant, due: &mut Due<Timer>) -> Option<PartnerKey> {
        self.drop_landed();
        let first = self.flights.get(self.young.front()?.0)?;
        let at = first.began + PATIENCE;
        if at > now {
            self.alarm.by(due, at, Timer::Flights);
            return None;
        }
        self.young.pop_front();
        Some(first.partner)
    }
}
