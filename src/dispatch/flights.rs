//! Flushes on the wire, and the watch over those that stay there for long.
//!
//! A flush is watched for its first second by its place in a line of all of them: that costs no timer a flush, and the line rings about
//! once a second however many there are.

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
    pub bucket: BucketKey,
    pub partner: PartnerKey,
    pub parcel: Parcel,
    pub medium: Medium,
    pub began: Instant,
}

#[derive(Debug, Default)]
pub struct Flights {
    flights: SlotMap<DefaultKey, Flight>,
    /// Those that were not looked at yet, in the order in which they began; some have landed. What began within [`PATIENCE`] at most.
    young: VecDeque<FlushId>,
    alarm: Alarm,
}

impl Flights {
    pub fn begin(&mut self, flight: Flight, due: &mut Due<Timer>) -> FlushId {
        // What is done inline has landed before anybody could watch it.
        let (watched, began) = (flight.medium != Medium::Inline, flight.began);
        let flush = FlushId(self.flights.insert(flight));
        if watched {
            self.young.push_back(flush);
            self.alarm.by(due, began + PATIENCE, Timer::Flights);
        }
        flush
    }

    pub fn get(&self, flush: FlushId) -> Option<&Flight> {
        self.flights.get(flush.0)
    }

    /// Since when it is on the wire.
    pub fn began(&self, flush: FlushId) -> Option<Instant> {
        Some(self.get(flush)?.began)
    }

    pub fn land(&mut self, flush: FlushId) -> Option<Flight> {
        let flight = self.flights.remove(flush.0)?;
        self.drop_landed();
        Some(flight)
    }

    fn drop_landed(&mut self) {
        while self.young.front().is_some_and(|first| !self.flights.contains_key(first.0)) {
            self.young.pop_front();
        }
    }

    /// To be called when [`Timer::Flights`] came up, before [`Flights::next_old`].
    pub fn alarm_rang(&mut self) {
        self.alarm.rang();
    }

    /// The partner of the next flush that has been on the wire for [`PATIENCE`]; it comes up once. `None`: no more, for now.
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
