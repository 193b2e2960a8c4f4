//! The holders of more than their share, ordered by how much more, so that the most overfull one is found without looking
//! at all of them. A holder is a partner, or a bucket whose endpoint alone fails: see [`Holder`]. A partner that is healthy and
//! within its share costs nothing here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::dispatch::due::Due;
use crate::dispatch::keys::{BucketKey, PartnerKey, QueueIndex};
use crate::dispatch::partner::LEAST;
use crate::dispatch::standing::{Holder, PassedOver, Ranking, Standing, Stuck};
use crate::dispatch::timer::Timer;

use super::Partners;
use super::lately::Lately;

/// The age of the oldest delivery below which a partner is not overfull: a burst is no backlog.
const YOUNG: Duration = Duration::from_millis(250);

/// The holders that are away may together have at most this part of the room (one in 4) as their shares.
pub const PART_OF_AWAY: usize = 4;

/// The order of all holders by what they hold beyond their share, and what cannot leave memory.
#[derive(Debug)]
pub struct Crowd {
    /// Holders that are away, by what they hold. They all have the same share, so that this is
    /// also the order of their excess.
    away: BTreeSet<(usize, Holder)>,
    /// Holders that take, by what they hold beyond their share.
    beyond: BTreeSet<(usize, Holder)>,
    /// The number of holders that are away and hold something, those passed over included.
    away_holding: usize,
    /// The number of deliveries that holders that are away may have together.
    away_places: usize,
    /// The share of each holder that is away, in deliveries.
    away_share: usize,
    /// Holders of deliveries that may not leave memory, by the moment at which their oldest delivery entered, as
    /// of when they were passed over.
    stuck: BTreeSet<(Instant, Holder)>,
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
            away_places: 0,
            away_share: LEAST,
            stuck: BTreeSet::new(),
            stuck_parts: Stuck::default(),
            lately: Lately::default(),
        }
    }
}

/// The holder that sheds deliveries next, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overfull {
    /// The holder to ask.
    pub holder: Holder,
    /// The number of deliveries that it holds beyond its share.
    pub beyond: usize,
    /// How many deliveries more it holds beyond its share than the next holder does beyond its own.
    pub more_than_next: usize,
}

impl Crowd {
    fn rank(&mut self, holder: Holder, standing: &mut Standing, ranking: Option<Ranking>) {
        if standing.ranking == ranking {
            return;
        }
        match standing.ranking {
            Some(Ranking::Away(holds)) => _ = self.away.remove(&(holds, holder)),
            Some(Ranking::Beyond(beyond)) => _ = self.beyond.remove(&(beyond, holder)),
            None => {}
        }
        match ranking {
            Some(Ranking::Away(holds)) => _ = self.away.insert((holds, holder)),
            Some(Ranking::Beyond(beyond)) => _ = self.beyond.insert((beyond, holder)),
            None => {}
        }
        standing.ranking = ranking;
    }

    /// Returns the share of each holder that is away, in deliveries.
    pub fn away_share(&self) -> usize {
        self.away_share
    }

    fn count(&mut self, standing: &mut Standing, counts: bool) {
        self.away_holding = self.away_holding + usize::from(counts) - usize::from(standing.counts);
        standing.counts = counts;
    }

    /// Ends the time for which the holder is passed over.
    fn join(&mut self, holder: Holder, standing: &mut Standing) {
        if let Some((oldest, parts)) = standing.passed_over.take().and_then(|passed| passed.stuck) {
            self.stuck.remove(&(oldest, holder));
            self.stuck_parts.take_all(&parts);
        }
    }

    /// Removes a holder that is forgotten.
    pub fn leave(&mut self, holder: Holder, standing: &mut Standing) {
        self.join(holder, standing);
        self.count(standing, false);
        self.rank(holder, standing, None);
    }
}

impl Partners {
    /// Notes that the partner now holds more or less, or that it or an endpoint of it starts or stops taking: where it
    /// stands is determined again when room is next made.
    pub fn touch(&mut self, key: PartnerKey) {
        if let Some(partner) = self.partners.get_mut(key.0)
            && !std::mem::replace(&mut partner.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Returns the next partner whose standing is to be determined; `None` if there is none left.
    pub fn next_touched(&mut self) -> Option<PartnerKey> {
        let key = self.touched.pop()?;
        if let Some(partner) = self.partners.get_mut(key.0) {
            partner.touched = false;
        }
        Some(key)
    }

    /// Records that a message was received, and whether it was for a holder below its share.
    pub fn saw(&mut self, below: bool) {
        self.crowd.lately.saw(below);
    }

    /// Sets the share of holders that are away, from the present number of places of the room.
    pub fn divide(&mut self, places: usize) {
        self.crowd.away_places = places / PART_OF_AWAY;
        self.crowd.away_share = (self.crowd.away_places / self.crowd.away_holding.max(1)).min(LEAST);
    }

    /// Returns whether a holder that is away and has nothing would have a share of at least one delivery if it and `others`
    /// like it had some.
    pub fn has_share_for_one_more(&self, others: usize) -> bool {
        self.crowd.away_holding + others < self.crowd.away_places
    }

    /// Determines where the partner stands, and each bucket of it that is a holder of its own, or was.
    pub fn weigh(&mut self, key: PartnerKey, now: Instant, due: &mut Due<Timer>) {
        let Some(partner) = self.partner(key) else { return };
        let may_be_own = |key: &&BucketKey| {
            self.bucket(**key).is_some_and(|bucket| bucket.standing.is_some() || partner.fails_only_at(bucket))
        };
        let own: SmallVec<[BucketKey; 2]> = partner.buckets.in_use().iter().filter(may_be_own).copied().collect();
        let is_new = |key: &BucketKey| self.bucket(*key).is_some_and(|bucket| bucket.standing.is_none() && bucket.holds() > 0);
        if own.iter().any(is_new)
            && let Some(partner) = self.partners.get_mut(key.0)
        {
            // What of it may not leave counts as the bucket's from now on, and must not count as the partner's beside that.
            self.crowd.join(Holder::Partner(key), &mut partner.standing);
        }
        self.weigh_holder(Holder::Partner(key), now, due);
        own.into_iter().for_each(|key| self.weigh_holder(Holder::Bucket(key), now, due));
    }

    fn weigh_holder(&mut self, holder: Holder, now: Instant, due: &mut Due<Timer>) {
        let (holds, is_away) = (self.holds(holder), self.is_away(holder));
        if let Holder::Partner(key) = holder
            && (holds == 0 || is_away)
            && let Some(partner) = self.partners.get_mut(key.0)
        {
            partner.drain.rests();
        }
        if holds == 0 && self.standing(holder).is_none_or(|standing| !standing.is_any()) {
            // Most partners that something happened to hold nothing at the end of the turn.
            return;
        }
        let share = self.share(holder);
        let Some(mut standing) = self.take_standing(holder) else { return };
        if standing.passed_over.as_ref().is_some_and(|passed| passed.until <= now || passed.away != is_away || holds == 0) {
            self.crowd.join(holder, &mut standing);
        }
        if let Some(passed) = &standing.passed_over {
            // The alarm may have rung for something else.
            self.look_again(holder, passed.until, due);
        }
        self.crowd.count(&mut standing, is_away && holds > 0);
        let ranking = if standing.passed_over.is_some() || holds == 0 {
            None
        } else if is_away {
            Some(Ranking::Away(holds))
        } else {
            let beyond = holds.saturating_sub(share);
            (beyond > 0).then_some(Ranking::Beyond(beyond))
        };
        self.crowd.rank(holder, &mut standing, ranking);
        self.put_standing(holder, standing);
    }

    /// Takes the holder's standing, to be put back by [`Partners::put_standing`].
    fn take_standing(&mut self, holder: Holder) -> Option<Standing> {
        match holder {
            Holder::Partner(key) => Some(std::mem::take(&mut self.partners.get_mut(key.0)?.standing)),
            Holder::Bucket(key) => Some(self.buckets.get_mut(key.0)?.standing.take().map(|own| *own).unwrap_or_default()),
        }
    }

    fn put_standing(&mut self, holder: Holder, standing: Standing) {
        match holder {
            Holder::Partner(key) => {
                if let Some(partner) = self.partners.get_mut(key.0) {
                    partner.standing = standing;
                }
            }
            Holder::Bucket(key) => {
                if let Some(bucket) = self.buckets.get_mut(key.0) {
                    bucket.standing = standing.is_any().then(|| Box::new(standing));
                }
            }
        }
    }

    fn standing(&self, holder: Holder) -> Option<&Standing> {
        match holder {
            Holder::Partner(key) => Some(&self.partner(key)?.standing),
            Holder::Bucket(key) => self.bucket(key)?.standing.as_deref(),
        }
    }

    /// Returns whether one of whom nothing is taken holds deliveries that it could be asked to shed.
    pub fn is_anyone_away(&self) -> bool {
        !self.crowd.away.is_empty()
    }

    /// Returns the holder that sheds deliveries next, if there is one. A partner that takes its deliveries sheds
    /// some only while other partners need the room.
    pub fn most_overfull(&mut self, now: Instant, due: &mut Due<Timer>) -> Option<Overfull> {
        loop {
            let overfull = self.first_overfull()?;
            let holder = overfull.holder;
            let before = self.standing(holder)?.ranking;
            self.weigh_holder(holder, now, due);
            if self.standing(holder).and_then(|standing| standing.ranking) != before {
                continue;
            }
            // If nothing waits, all of it is on the wire and lands soon.
            let at = self.oldest(holder).unwrap_or(now) + YOUNG;
            if at <= now {
                return Some(overfull);
            }
            self.pass_over(holder, at, None, due);
        }
    }

    fn first_overfull(&self) -> Option<Overfull> {
        let share = self.crowd.away_share;
        let away = self.crowd.away.iter().rev().map(|&(holds, holder)| (holds.saturating_sub(share), holder));
        let takes = self.crowd.lately.others_need_room();
        let beyond = self.crowd.beyond.iter().rev().copied().filter(|_| takes);
        let mut first = [away.take(2).collect::<Vec<_>>(), beyond.take(2).collect()].concat();
        first.sort_unstable_by(|a, b| b.cmp(a));
        let (beyond, holder) = *first.first().filter(|(beyond, _)| *beyond > 0)?;
        let next = first.get(1).map_or(0, |(beyond, _)| *beyond);
        Some(Overfull { holder, beyond, more_than_next: beyond - next })
    }

    /// Passes over the holder until the given moment. `stuck` holds the moment at which its oldest delivery entered,
    /// and the part of the room taken by deliveries that it should shed and may not.
    pub fn pass_over(&mut self, holder: Holder, until: Instant, stuck: Option<(Instant, Stuck)>, due: &mut Due<Timer>) {
        let Some(mut standing) = self.take_standing(holder) else { return };
        self.crowd.join(holder, &mut standing);
        self.crowd.rank(holder, &mut standing, None);
        if let Some((oldest, parts)) = &stuck {
            self.crowd.stuck.insert((*oldest, holder));
            self.crowd.stuck_parts.add_all(parts);
        }
        standing.passed_over = Some(Box::new(PassedOver { until, away: self.is_away(holder), stuck }));
        self.put_standing(holder, standing);
        self.look_again(holder, until, due);
    }

    /// Returns the part of the room, in billionths, that is taken by deliveries that should be shed and may not:
    /// those of one queue, or of all.
    pub fn stuck_parts(&self, queue: Option<QueueIndex>) -> u64 {
        self.crowd.stuck_parts.of(queue)
    }

    /// Returns the holders of deliveries that may not leave memory, of one queue or of any, the one
    /// with the oldest delivery first.
    pub fn stuck(&self, queue: Option<QueueIndex>) -> impl Iterator<Item = Holder> + '_ {
        let holds = move |holder: &Holder| {
            let passed = self.standing(*holder).and_then(|standing| standing.passed_over.as_ref());
            passed.and_then(|passed| passed.stuck.as_ref()).is_some_and(|(_, parts)| parts.of(queue) > 0)
        };
        self.crowd.stuck.iter().map(|&(_, holder)| holder).filter(holds)
    }

    /// Records that this part of what was stuck has left memory after all.
    pub fn unstick(&mut self, holder: Holder, queue: QueueIndex, part: u64) {
        let standing = match holder {
            Holder::Partner(key) => self.partners.get_mut(key.0).map(|partner| &mut partner.standing),
            Holder::Bucket(key) => self.buckets.get_mut(key.0).and_then(|bucket| bucket.standing.as_deref_mut()),
        };
        let Some((_, stuck)) = standing.and_then(|own| own.passed_over.as_mut()?.stuck.as_mut()) else { return };
        let part = stuck.take(queue, part);
        self.crowd.stuck_parts.take(queue, part);
    }

    /// Returns whether the order of all holders is that of their standings.
    #[cfg(test)]
    pub fn crowd_adds_up(&self) -> bool {
        let partners = self.partners.iter().map(|(key, partner)| (Holder::Partner(PartnerKey(key)), &partner.standing));
        let buckets =
            self.buckets.iter().filter_map(|(key, bucket)| Some((Holder::Bucket(BucketKey(key)), &**bucket.standing.as_ref()?)));
        let (mut away, mut beyond, mut stuck, mut holding) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
        for (holder, standing) in partners.chain(buckets) {
            match standing.ranking {
                Some(Ranking::Away(holds)) => _ = away.insert((holds, holder)),
                Some(Ranking::Beyond(by)) => _ = beyond.insert((by, holder)),
                None => {}
            }
            if let Some((oldest, _)) = standing.passed_over.as_ref().and_then(|passed| passed.stuck.as_ref()) {
                stuck.insert((*oldest, holder));
            }
            holding += usize::from(standing.counts);
        }
        let crowd = &self.crowd;
        (&crowd.away, &crowd.beyond, &crowd.stuck, crowd.away_holding) == (&away, &beyond, &stuck, holding)
    }
}
