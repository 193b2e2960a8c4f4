//! Who holds how much: the partners that hold more than their share, by how much, so that the most overfull is found without a look at
//! all others. A partner that is well and within its share costs nothing here.

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

/// Nobody is overfull whose oldest delivery has waited for less: a burst is no backlog.
const YOUNG: Duration = Duration::from_millis(250);

/// Those that are away and hold something have no more than this part of the room in their shares, together.
pub const PART_OF_AWAY: usize = 4;

#[derive(Debug)]
pub struct Crowd {
    /// Partners that take nothing, by what they hold. Their share is the same, so this is the order of being overfull too.
    away: BTreeSet<(usize, PartnerKey)>,
    /// Partners that take, by what they hold beyond their share.
    beyond: BTreeSet<(usize, PartnerKey)>,
    /// How many are away and hold something, those passed over included.
    away_holding: usize,
    /// Deliveries that each of them may hold.
    away_share: usize,
    /// Partners that hold what may not leave, by the age of their oldest delivery when that was found.
    stuck: BTreeSet<(Instant, PartnerKey)>,
    /// What that takes of the room.
    stuck_parts: Stuck,
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

/// Who is to give up what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overfull {
    pub partner: PartnerKey,
    /// Deliveries beyond its share.
    pub beyond: usize,
    /// Of these, those that it holds beyond its share more than the next partner does beyond its own.
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

    /// Ends its being passed over.
    fn join(&mut self, key: PartnerKey, standing: &mut Standing) {
        if let Some((oldest, parts)) = standing.passed_over.take().and_then(|passed| passed.stuck) {
            self.stuck.remove(&(oldest, key));
            self.stuck_parts.take_all(&parts);
        }
    }

    /// The partner is forgotten.
    pub fn leave(&mut self, key: PartnerKey, standing: &mut Standing) {
        self.join(key, standing);
        self.count(standing, false);
        self.rank(key, standing, None);
    }
}

impl Partners {
    /// What the partner holds is another now, or whether it takes: its standing is found out before the turn ends.
    pub fn touch(&mut self, key: PartnerKey) {
        if let Some(partner) = self.partners.get_mut(key.0)
            && !std::mem::replace(&mut partner.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// The next of those whose standing is to be found out.
    pub fn next_touched(&mut self) -> Option<PartnerKey> {
        let key = self.touched.pop()?;
        if let Some(partner) = self.partners.get_mut(key.0) {
            partner.touched = false;
        }
        Some(key)
    }

    /// Deliveries that wait for the partner or are on the wire.
    pub fn holds(&self, partner: &Partner) -> usize {
        let waits = self.buckets_of(partner).map(Bucket::waits);
        partner.on_wire + waits.sum::<usize>()
    }

    /// Deliveries that it may hold before it is overfull.
    pub fn share(&self, partner: &Partner) -> usize {
        if partner.is_away() { self.crowd.away_share.min(partner.rules.max_waiting) } else { partner.drain.share(&partner.rules) }
    }

    /// Whether it holds less than its share.
    pub fn is_below_share(&self, partner: &Partner) -> bool {
        let holds = self.holds(partner);
        // Asked for each delivery, and of a partner that takes no share is smaller: most need no division.
        let takes = || !partner.is_away() && holds < LEAST.min(partner.rules.max_waiting);
        takes() || holds < self.share(partner)
    }

    /// When the longest-waiting of its deliveries entered.
    pub fn oldest(&self, partner: &Partner) -> Option<Instant> {
        self.buckets_of(partner).filter_map(Bucket::oldest).min()
    }

    /// A message was received; whether it was for a partner that held less than its share.
    pub fn saw(&mut self, below: bool) {
        self.crowd.lately.saw(below);
    }

    /// The room has so many places now: what those that are away may hold of it.
    pub fn divide(&mut self, places: usize) {
        self.crowd.away_share = (places / PART_OF_AWAY / self.crowd.away_holding.max(1)).min(LEAST);
    }

    /// Finds out where the partner stands.
    pub fn weigh(&mut self, key: PartnerKey, now: Instant) {
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

    /// Whether a partner that takes nothing holds something that it could be asked to give up.
    pub fn is_anyone_away(&self) -> bool {
        !self.crowd.away.is_empty()
    }

    /// Who is to give something up next, if anybody is; of those that take, only while others need the room.
    pub fn most_overfull(&mut self, now: Instant, due: &mut Due<Timer>) -> Option<Overfull> {
        loop {
            let overfull = self.first_overfull()?;
            let key = overfull.partner;
            let before = self.partner(key)?.standing.ranking;
            self.weigh(key, now);
            let partner = self.partner(key)?;
            if partner.standing.ranking != before {
                continue;
            }
            // Where nothing waits, all of it is on the wire: what comes of that is known in a while.
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

    /// The partner is not asked until then; `stuck`: when its oldest delivery entered, and what part of the room is taken by what it should
    /// give up and may not.
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

    /// What part of the room is taken by what should be given up and may not: in billionths, of that queue or of all.
    pub fn stuck_parts(&self, queue: Option<QueueIndex>) -> u64 {
        self.crowd.stuck_parts.of(queue)
    }

    /// Those that hold what may not leave, of that queue or of any, the one with the oldest delivery first.
    pub fn stuck(&self, queue: Option<QueueIndex>) -> impl Iterator<Item = PartnerKey> + '_ {
        let holds = move |key: &PartnerKey| {
            let passed = self.partner(*key).and_then(|partner| partner.standing.passed_over.as_ref());
            passed.and_then(|passed| passed.stuck.as_ref()).is_some_and(|(_, parts)| parts.of(queue) > 0)
        };
        self.crowd.stuck.iter().map(|&(_, key)| key).filter(holds)
    }

    /// So much of what was stuck has left after all.
    pub fn unstick(&mut self, key: PartnerKey, queue: QueueIndex, part: u64) {
        let Some(partner) = self.partners.get_mut(key.0) else { return };
        let Some((_, stuck)) = partner.standing.passed_over.as_mut().and_then(|passed| passed.stuck.as_mut()) else { return };
        let part = stuck.take(queue, part);
        self.crowd.stuck_parts.take(queue, part);
    }
}
