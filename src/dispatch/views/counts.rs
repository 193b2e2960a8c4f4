//! What happened so far, per queue. Each copy received ends in exactly one of `acked`, `dead`, `returned`, `duplicates_dropped` and
//! `leases_lost`, so that `received` is their sum and what is held.

use serde::Serialize;

use crate::dispatch::ledger::Exit;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct QueueCounts {
    /// Copies received.
    pub received: u64,
    /// Handler runs that ended.
    pub handled: u64,
    /// Deliveries accepted.
    pub delivered: u64,
    /// Deliveries that became dead letters, those of otherwise accepted messages included.
    #[serde(skip)]
    pub deliveries_dead: u64,
    pub acked: u64,
    pub returned: u64,
    /// Messages set aside, no delivery of them accepted.
    pub dead: u64,
    /// Deliveries parked; a message of which nothing else is open is part of `acked`.
    pub parked: u64,
    /// Messages that their handler discarded; part of `acked`.
    pub discarded: u64,
    pub duplicates_dropped: u64,
    pub leases_lost: u64,
    /// Calls to the queue service.
    pub requests: u64,
    pub empty_receives: u64,
}

impl QueueCounts {
    pub fn exit(&mut self, exit: Exit) {
        *match exit {
            Exit::Acked => &mut self.acked,
            Exit::Dead => &mut self.dead,
            Exit::Returned => &mut self.returned,
            Exit::Duplicate => &mut self.duplicates_dropped,
            Exit::LeaseLost => &mut self.leases_lost,
        } += 1;
    }

    /// Those of another queue are counted with it.
    pub fn add(&mut self, other: &Self) {
        let Self {
            received,
            handled,
            delivered,
            deliveries_dead,
            acked,
            returned,
            dead,
            parked,
            discarded,
            duplicates_dropped,
            leases_lost,
            requests,
            empty_receives,
        } = other;
        self.received += received;
        self.handled += handled;
        self.delivered += delivered;
        self.deliveries_dead += deliveries_dead;
        self.acked += acked;
        self.returned += returned;
        self.dead += dead;
        self.parked += parked;
        self.discarded += discarded;
        self.duplicates_dropped += duplicates_dropped;
        self.leases_lost += leases_lost;
        self.requests += requests;
        self.empty_receives += empty_receives;
    }

    /// Copies received that are not held any more.
    pub fn exits(&self) -> u64 {
        self.acked + self.dead + self.returned + self.duplicates_dropped + self.leases_lost
    }
}
