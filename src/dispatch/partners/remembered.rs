//! Partners that have no bucket any more and are known only for a while yet: for a wait that they asked for, their failures, or
//! the use that they made of their rate. Their number has a limit, since a partner may ask for a wait of a day, and every
//! account that comes may be another one.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::dispatch::keys::PartnerKey;

/// The largest number of them. Each takes some 0.7 kB, and 2 kB more with the longest account and the longest error.
pub const MOST: usize = 50_000;

/// When each of them is forgotten by itself.
#[derive(Debug, Default)]
pub struct Remembered {
    ends: HashMap<PartnerKey, Instant, RandomState>,
    by_end: BTreeSet<(Instant, PartnerKey)>,
}

impl Remembered {
    /// Notes until when the partner is known.
    pub fn keep(&mut self, key: PartnerKey, end: Instant) {
        self.leave(key);
        self.ends.insert(key, end);
        self.by_end.insert((end, key));
    }

    /// Notes that the partner has something again, or is forgotten.
    pub fn leave(&mut self, key: PartnerKey) {
        if let Some(end) = self.ends.remove(&key) {
            self.by_end.remove(&(end, key));
        }
    }

    /// Takes out the partner to forget if there is one too many: the one that would be known for the longest. So those that
    /// ask for a day cost each other their place, and nobody who asks for a minute.
    pub fn one_too_many(&mut self) -> Option<PartnerKey> {
        if self.ends.len() <= MOST {
            return None;
        }
        let (_, key) = self.by_end.pop_last()?;
        self.ends.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub fn keys(&self) -> impl Iterator<Item = PartnerKey> {
        self.by_end.iter().map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::due::Due;
    use crate::dispatch::partners::Partners;
    use crate::dispatch::tests::{rules, start};
    use crate::dispatch::threads::DeliveryThreads;
    use crate::dispatch::timer::Timer;

    /// Each account that comes is another one, and asks for a wait: a hundred for a minute, all others for a day.
    #[test]
    fn accounts_that_ask_for_a_day_are_not_all_remembered_and_displace_none_that_asks_for_less() {
        let (mut partners, mut due) = (Partners::new(rules().partners, DeliveryThreads::new(1, 1)), Due::<Timer>::default());
        let start = start();
        let mut now = start;
        for number in 0..MOST + 1000 {
            now += Duration::from_millis(1);
            let key = partners.find_or_add(format!("a{number}").into());
            let bucket = partners.bucket_for(0, format!("a{number}").into(), now, &mut due).expect("a bucket");
            let wait = Duration::from_secs(if number < 100 { 3600 } else { 24 * 3600 });
            partners.partner_mut(key).expect("a partner").asks_to_wait(now, wait);
            partners.reclaim(bucket, now + Duration::from_secs(601), &mut due);
        }
        assert_eq!((partners.len(), due.len()), (MOST, MOST));
        assert!((0..100).all(|number| partners.find(&format!("a{number}")).is_some()), "they asked for less");
        assert!(partners.adds_up());

        // One that has something again does not count, and is not forgotten for another.
        partners.bucket_for(0, "a100".into(), now, &mut due);
        let key = partners.find_or_add("other".into());
        partners.partner_mut(key).expect("a partner").asks_to_wait(now, Duration::from_secs(60));
        partners.forget_if_done(key, now, &mut due);
        assert_eq!(partners.len(), MOST + 1);
        assert!(partners.find("a100").is_some() && partners.adds_up());

        now += Duration::from_secs(25 * 3600);
        while let Some(timer) = due.pop(now) {
            let Timer::Partner(key) = timer else { continue };
            partners.partner_mut(key).expect("a partner").alarm.rang();
            partners.forget_if_done(key, now, &mut due);
        }
        assert_eq!((partners.len(), partners.remembered.keys().count()), (1, 0), "all but the one with a bucket");
    }
}
