//! The partners that hold more than their share, ordered by how much more, so that the most overfull one is found
//! without looking at all partners. A partner that is healthy and within its share costs nothing here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::dispatch::bucket::Bucket;
use crate::dispatch::due::Due;
use crate::dispatch::keys::{PartnerKey, QueueIndex};
use crate::dispatch::partner::{LEAST, Partner};
use crate::dispatch::standing::{PassedOver, Ranking, Standing, Stuck};
use crate::dispatch::timer::Timer;

use super::Partners;
use super::lately::Lately;

/// The age of the oldest delivery below which a partner is not overfull: a burst is no backlog.
const YOUNG: Duration = Duration::from_millis(250);

/// The partners that are away and hold something may together have at most this part of the
/// room (one in 4) as their shares.
pub const PART_OF_AWAY: usize = 4;

/// The order of all partners by what they hold beyond their share, and what cannot leave memory.
#[derive(Debug)]
pub struct Crowd {
    /// Partners that are away, by what they hold. They all have the same share, so that this is
    /// also the order of their excess.
    away: BTreeSet<(usize, PartnerKey)>,
    /// Partners that take, by what they hold beyond their share.
    beyond: BTreeSet<(usize, PartnerKey)>,
    /// The number of partners that are away and hold something, those passed over included.
    away_holding: usize,
    /// The share of each partner that is away, in deliveries.
    away_share: usize,
    /// Partners with deliveries that may not leave memory, by the moment at which their oldest delivery entered, as
    /// of when they were passed over.
    stuck: BTreeSet<(Instant, PartnerKey)>,
    /// The part of the room that the deliveries that may not leave take.
    stuck_parts: Stuck,
    /// Whether the latest messages were for partners below their share.
    lately: Lately,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            away: BTreeSet::new(),
            beyond: BTreeSet::new(),
            away_holding: 0,
            away_share: LEAST,
            stuck: BTreeSet::new(),
            stuck_parts: Stuck::default(),
            lately: Lately::default(),
        }
    }
}

/// The partner that sheds deliveries next, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overfull {
    /// The partner to ask.
    pub partner: PartnerKey,
    /// The number of deliveries that it holds beyond its share.
    pub beyond: usize,
    /// How many deliveries more the partner holds beyond its share than the next partner does beyond its own.
    pub more_than_next: usize,
}

impl Crowd {
    fn rank(&mut self, key: PartnerKey, standing: &mut Standing, ranking: Option<Ranking>) {
        if standing.ranking == ranking {
            return;
        }
        match standing.ranking {
            Some(Ranking::Away(holds)) => _ = self.away.remove(&(holds, key)),
            Some(Ranking::Beyond(beyond)) => _ = self.beyond.remove(&(beyond, key)),
            None => {}
        }
        match ranking {
            Some(Ranking::Away(holds)) => _ = self.away.insert((holds, key)),
            Some(Ranking::Beyond(beyond)) => _ = self.beyond.insert((beyond, key)),
            None => {}
        }
        standing.ranking = ranking;
    }

    fn count(&mut self, standing: &mut Standing, counts: bool) {
        self.away_holding = self.away_holding + usize::from(counts) - usize::from(standing.counts);
        standing.counts = counts;
    }

    /// Ends the time for which the partner is passed over.
    fn join(&mut self, key: PartnerKey, standing: &mut Standing) {
        if let Some((oldest, parts)) = standing.passed_over.take().and_then(|passed| passed.stuck) {
            self.stuck.remove(&(oldest, key));
            self.stuck_parts.take_all(&parts);
        }
    }

    /// Removes a partner that is forgotten.
    pub fn leave(&mut self, key: PartnerKey, standing: &mut Standing) {
        self.join(key, standing);
        self.count(standing, false);
        self.rank(key, standing, None);
    }
}

impl Partners {
    /// Notes that the partner now holds more or less, or that it starts or stops taking: its standing is
    /// determined again before the turn ends.
    pub fn touch(&mut self, key: PartnerKey) {
        if let Some(partner) = self.partners.get_mut(key.0)
            && !std::mem::replace(&mut partner.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Returns the next partner whose standing must be determined; `None` if there is none left in this turn.
    pub fn next_touched(&mut self) -> Option<PartnerKey> {
        let key = self.touched.pop()?;
        if let Some(partner) = self.partners.get_mut(key.0) {
            partner.touched = false;
        }
        Some(key)
    }

    /// Returns the number of deliveries that wait for the partner or are on the wire.
    pub fn holds(&self, partner: &Partner) -> usize {
        let waits = self.buckets_in_use_of(partner).map(Bucket::waits);
        partner.on_wire + waits.sum::<usize>()
    }

    /// Returns the number of deliveries that the partner may hold before it is overfull.
    pub fn share(&self, partner: &Partner) -> usize {
        if partner.is_away() { self.crowd.away_share.min(partner.rules.max_waiting) } else { partner.drain.share(&partner.rules) }
    }

    /// Returns whether the partner holds less than its share.
    pub fn is_below_share(&self, partner: &Partner) -> bool {
        let holds = self.holds(partner);
        // This is asked for each delivery. No partner that takes has a share below `LEAST` or its own `max_waiting`, so
        // that most calls need no division.
        let takes = || !partner.is_away() && holds < LEAST.min(partner.rules.max_waiting);
        takes() || holds < self.share(partner)
    }

    /// Returns when the longest-waiting of the partner's deliveries entered.
    pub fn oldest(&self, partner: &Partner) -> Option<Instant> {
        self.buckets_in_use_of(partner).filter_map(Bucket::oldest).min()
    }

    /// Records that a message was received, and whether it was for a partner that held less than its share.
    pub fn saw(&mut self, below: bool) {
        self.crowd.lately.saw(below);
    }

    /// Sets the share of partners that are away, from the present number of places of the room.
    pub fn divide(&mut self, places: usize) {
        self.crowd.away_share = (places / PART_OF_AWAY / self.crowd.away_holding.max(1)).min(LEAST);
    }

    /// Determines where the partner stands.
    pub fn weigh(&mut self, key: PartnerKey, now: Instant, due: &mut Due<Timer>) {
        let Some(partner) = self.partner(key) else { return };
        let (holds, is_away) = (self.holds(partner), partner.is_away());
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        if holds == 0 || is_away {
            partner.drain.rests();
        }
        let standing = &mut partner.standing;
        if standing.passed_over.as_ref().is_some_and(|passed| passed.until <= now || passed.away != is_away || holds == 0) {
            self.crowd.join(key, standing);
        }
        if let Some(passed) = &standing.passed_over {
            // The alarm may have rung for something else.
            partner.alarm.by(due, passed.until, Timer::Partner(key));
        }
        self.crowd.count(standing, is_away && holds > 0);
        let ranking = if standing.passed_over.is_some() || holds == 0 {
            None
        } else if is_away {
            Some(Ranking::Away(holds))
        } else {
            let beyond = holds.saturating_sub(partner.drain.share(&partner.rules));
            (beyond > 0).then_some(Ranking::Beyond(beyond))
        };
        self.crowd.rank(key, standing, ranking);
    }

    /// Returns whether the partner is known and takes nothing now.
    pub fn is_away(&self, key: PartnerKey) -> bool {
        self.partner(key).is_some_and(Partner::is_away)
    }

    /// Returns whether a partner that takes nothing holds deliveries that it could be asked to shed.
    pub fn is_anyone_away(&self) -> bool {
        !self.crowd.away.is_empty()
    }

    /// Returns the partner that sheds deliveries next, if there is one. A partner that takes its deliveries sheds
    /// some only while other partners need the room.
    pub fn most_overfull(&mut self, now: Instant, due: &mut Due<Timer>) -> Option<Overfull> {
        loop {
            let overfull = self.first_overfull()?;
            let key = overfull.partner;
            let before = self.partner(key)?.standing.ranking;
            self.weigh(key, now, due);
            let partner = self.partner(key)?;
            if partner.standing.ranking != before {
                continue;
            }
            // If nothing waits, all of it is on the wire and lands soon.
            let at = self.oldest(partner).unwrap_or(now) + YOUNG;
            if at <= now {
                return Some(overfull);
            }
            self.pass_over(key, at, None, due);
        }
    }

    fn first_overfull(&self) -> Option<Overfull> {
        let share = self.crowd.away_share;
        let away = self.crowd.away.iter().rev().map(|&(holds, key)| (holds.saturating_sub(share), key));
        let takes = self.crowd.lately.others_need_room();
        let beyond = self.crowd.beyond.iter().rev().copied().filter(|_| takes);
        let mut first = [away.take(2).collect::<Vec<_>>(), beyond.take(2).collect()].concat();
        first.sort_unstable_by(|a, b| b.cmp(a));
        let (beyond, partner) = *first.first().filter(|(beyond, _)| *beyond > 0)?;
        let next = first.get(1).map_or(0, |(beyond, _)| *beyond);
        Some(Overfull { partner, beyond, more_than_next: beyond - next })
    }

    /// Passes over the partner until the given moment. `stuck` holds the moment at which its oldest delivery entered,
    /// and the part of the room taken by deliveries that it should shed and may not.
    pub fn pass_over(&mut self, key: PartnerKey, until: Instant, stuck: Option<(Instant, Stuck)>, due: &mut Due<Timer>) {
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        self.crowd.join(key, &mut partner.standing);
        self.crowd.rank(key, &mut partner.standing, None);
        if let Some((oldest, parts)) = &stuck {
            self.crowd.stuck.insert((*oldest, key));
            self.crowd.stuck_parts.add_all(parts);
        }
        partner.standing.passed_over = Some(Box::new(PassedOver { until, away: partner.is_away(), stuck }));
        partner.alarm.by(due, until, Timer::Partner(key));
    }

    /// Returns the part of the room, in billionths, that is taken by deliveries that should be shed and may not:
    /// those of one queue, or of all.
    pub fn stuck_parts(&self, queue: Option<QueueIndex>) -> u64 {
        self.crowd.stuck_parts.of(queue)
    }

    /// Returns the partners with deliveries that may not leave memory, of one queue or of any, the one
    /// with the oldest delivery first.
    pub fn stuck(&self, queue: Option<QueueIndex>) -> impl Iterator<Item = PartnerKey> + '_ {
        let holds = move |key: &PartnerKey| {
            let passed = self.partner(*key).and_then(|partner| partner.standing.passed_over.as_ref());
            passed.and_then(|passed| passed.stuck.as_ref()).is_some_and(|(_, parts)| parts.of(queue) > 0)
        };
        self.crowd.stuck.iter().map(|&(_, key)| key).filter(holds)
    }

    /// Records that this part of what was stuck has left memory after all.
    pub fn unstick(&mut self, key: PartnerKey, queue: QueueIndex, part: u64) {
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        let Some((_, stuck)) = partner.standing.passed_over.as_mut().and_then(|passed| passed.stuck.as_mut()) else { return };
        let part = stuck.take(queue, part);
        self.crowd.stuck_parts.take(queue, part);
    }
}
