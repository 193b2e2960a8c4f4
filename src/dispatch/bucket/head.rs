//! A head that blocks: what a bucket does about a batch at its front that draws server errors, although
//! the partner may be well.
//!
//! Some partners answer 500 to one message and 200 to all others. Once the breaker is open and the front has drawn
//! `breaker_failures` such answers, the front steps aside for one probe: the delivery behind it.
//!
//! * If the probe is accepted, the front is on trial. It gets one more attempt, and refused again it is a culprit.
//! * If the probe is refused, the partner is at fault. The front has its turn again, until it has drawn as many answers
//!   once more: any such probe would overtake the front if the partner had just come back. Each further probe is taken
//!   from one place further back, up to `breaker_failures` places, since several culprits often come in a row.
//!
//! A front of several deliveries is halved first, until it is a single one: a delivery that was never alone cannot be
//! judged. On FIFO queues that is all: the front blocks, and [`Doubt::draws`] lets `why` report that to an operator.

use std::sync::Arc;

use crate::message::{Account, Item};

use crate::dispatch::keys::Ticket;

use super::{Bounds, Bucket, Parcel};

/// What is known of a batch that was refused, as long as it is not clear who is at fault.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The number of answers that may be the fault of the batch or of the partner, since the batch
    /// last stepped aside in vain.
    pub draws: u32,
    /// What that leads to at the next attempt.
    pub stance: Stance,
    /// How many places behind the next delivery that probe is: the deliveries before it were refused.
    pub passed: u32,
    /// Whether this batch is the probe that goes out in place of one that stepped aside.
    pub probes: bool,
    /// [`Bucket::accepted`] as of the last of these answers: what is accepted after it is a proof against the batch.
    pub accepted_before: u32,
    /// Whether the last answer refused the batch after so many others that the partner is at fault.
    pub refused: bool,
}

/// What a batch at the front does at the next attempt.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It is sent.
    #[default]
    Goes,
    /// It has drawn so many answers that a delivery behind it is sent as a probe.
    StepsAside,
    /// It is sent once more: the partner has accepted a delivery behind it since it stepped aside, or while it was refused.
    OnTrial,
}

impl Doubt {
    /// Returns whether the batch leaves its turn to a delivery behind it.
    pub fn steps_aside(&self) -> bool {
        self.stance == Stance::StepsAside
    }

    /// Returns what of this holds for a part of the batch: a delivery that was not alone is not in doubt itself.
    pub(super) fn of_a_part(self, deliveries: usize) -> Self {
        if deliveries > 1 {
            Self { draws: self.draws, accepted_before: self.accepted_before, ..Self::default() }
        } else {
            Self::default()
        }
    }
}

impl Bucket {
    /// Returns what is known of the front, if it is a composed batch that is to be sent again.
    pub fn doubt(&self) -> Option<Doubt> {
        self.parcels.front().map(|parcel| parcel.doubt)
    }

    /// Returns the id of the first delivery at the front.
    pub fn front_id(&self) -> Option<String> {
        let composed = self.parcels.front().and_then(|parcel| parcel.batch.items.first());
        composed.or_else(|| self.waiting.front().map(|(_, item)| item)).map(|item| item.id().to_string())
    }

    /// Returns whether the front would step aside, but nothing is behind it.
    pub fn is_only_a_doubtful_front(&self) -> bool {
        self.doubt().is_some_and(|doubt| doubt.steps_aside()) && self.parcels.len() == 1 && self.waiting.is_empty()
    }

    /// Returns whether the front steps aside for a delivery that would have to come into memory first.
    pub fn lacks_proof(&self) -> bool {
        self.is_only_a_doubtful_front() && self.in_flight == 0
    }

    /// Returns whether the front steps aside, and a single delivery is behind it in memory.
    pub fn has_just_its_proof(&self) -> bool {
        self.doubt().is_some_and(|doubt| doubt.steps_aside()) && self.waits() == 2
    }

    /// Composes the probe that goes out in place of the front. `None`: the front does not step aside,
    /// or nothing is behind it.
    pub fn compose_probe(&mut self, account: &Account, queue: &Arc<str>, may_be_sent: impl Fn(Ticket) -> bool) -> Option<Parcel> {
        let doubt = self.doubt().filter(Doubt::steps_aside)?;
        let probe = self
            .take_behind(doubt.passed as usize, &may_be_sent)
            .or_else(|| self.compose_waiting(Bounds { count: 1, bytes: 0 }, account, queue, &may_be_sent))
            .or_else(|| self.take_behind(0, &may_be_sent));
        probe.map(|parcel| Parcel { doubt: Doubt { probes: true, ..parcel.doubt }, ..parcel })
    }

    /// Takes one delivery out of the batches behind the front, `places` further back than the first one there.
    fn take_behind(&mut self, mut places: usize, may_be_sent: impl Fn(Ticket) -> bool) -> Option<Parcel> {
        let mut at = 1;
        while let Some(parcel) = self.parcels.remove(at) {
            let Some(parcel) = parcel.retain(&may_be_sent) else { continue };
            let deliveries = parcel.slips.len();
            if places >= deliveries {
                places -= deliveries;
                self.parcels.insert(at, parcel);
                at += 1;
                continue;
            }
            if deliveries == 1 {
                return Some(parcel);
            }
            let (before, from) = parcel.split_at(places);
            let (probe, after) = from.split_at(1);
            for rest in [after, before].into_iter().filter(|rest| !rest.slips.is_empty()) {
                self.parcels.insert(at, rest);
            }
            return Some(probe);
        }
        None
    }

    /// Records that the probe was accepted: the front has one more attempt.
    pub fn probe_accepted(&mut self) {
        if let Some(front) = self.parcels.front_mut().filter(|front| front.doubt.steps_aside()) {
            front.doubt = Doubt { draws: front.doubt.draws, stance: Stance::OnTrial, ..Doubt::default() };
        }
    }

    /// Records that the probe was refused as well: the front has its turn again, for as many answers as before. The
    /// next probe comes from one place further back, and from the first place again after `among` probes.
    pub fn probe_refused(&mut self, among: u32) {
        if let Some(front) = self.parcels.front_mut().filter(|front| front.doubt.steps_aside()) {
            (front.doubt.stance, front.doubt.draws) = (Stance::Goes, 0);
            front.doubt.passed = (front.doubt.passed + 1) % among.max(1);
        }
    }

    /// Takes out the first delivery that may still be sent.
    pub fn take_front(&mut self, may_be_sent: impl Fn(Ticket) -> bool) -> Option<(Ticket, Item)> {
        while let Some(parcel) = self.parcels.pop_front() {
            let Some(parcel) = parcel.retain(&may_be_sent) else { continue };
            let front = parcel.slips.first().map(|slip| slip.ticket).zip(parcel.batch.items.first().cloned());
            if let Some(rest) = parcel.without(0) {
                self.parcels.push_front(rest);
            }
            return front;
        }
        while let Some((slip, item)) = self.waiting.pop_front() {
            if may_be_sent(slip.ticket) {
                return Some((slip.ticket, item));
            }
        }
        None
    }
}
