//! Whether everything goes on: whatever waits at the end of a turn must wait for something that will come. Checked after
//! each turn.

use std::time::Instant;

use crate::dispatch::Dispatcher;
use crate::dispatch::bucket::Bucket;
use crate::dispatch::keys::{BucketKey, QueueIndex};
use crate::dispatch::obstacle::{Obstacle, Wait};
use crate::dispatch::parking::{Lot, Transfer};
use crate::dispatch::partner::Partner;
use crate::dispatch::queue_state::QueueState;

use super::books::partners;

/// Checks that nothing waits in vain.
pub fn check(dispatcher: &Dispatcher, now: Instant) {
    assert!(!dispatcher.partners.lists_any(), "a bucket is listed, and the turn is over");
    check_handlers(dispatcher, now);
    assert!(!dispatcher.partners.line_moves(), "a bucket waits for a thread, and one is free for it");
    for (key, bucket) in dispatcher.partners.buckets() {
        let partner = dispatcher.partners.partner(bucket.partner).expect("it has a bucket");
        check_bucket(dispatcher, now, key, bucket, partner);
        check_lot(dispatcher, now, key, bucket, partner);
    }
}

/// Checks that a job has been started if a message waits for its handler, and nothing is under way that could make
/// room for one.
fn check_handlers(dispatcher: &Dispatcher, now: Instant) {
    let is_quiet = |queue: &QueueState| {
        let idle_disk = queue.parking.as_deref().is_none_or(Transfer::is_idle);
        queue.intake.running() == 0 && queue.calls.is_idle() && idle_disk
    };
    if !dispatcher.queues.iter().all(is_quiet) || partners(dispatcher).any(|partner| !partner.flights.is_empty()) {
        return;
    }
    for (index, queue) in dispatcher.queues.iter().enumerate() {
        // Suspects wait for the one at work, but not for long.
        let only_suspects = queue.intake.waiting() == queue.intake.suspects.len();
        let has_time = only_suspects && queue.intake.suspects.next_look(false).is_some_and(|at| at > now);
        let waiting = queue.intake.waiting();
        assert!(waiting == 0 || has_time, "{waiting} messages of queue {index} wait for their handler, and nothing moves");
    }
}

/// Checks that a bucket that holds something will be looked at once it may flush.
fn check_bucket(dispatcher: &Dispatcher, now: Instant, key: BucketKey, bucket: &Bucket, partner: &Partner) {
    let (Some(oldest), false) = (bucket.oldest(), dispatcher.phase.is_forced()) else { return };
    let by = |at: Instant| bucket.alarm.at().is_some_and(|alarm| alarm <= at.max(now));
    let partner_by = |at: Instant| partner.alarm.at().is_some_and(|alarm| alarm <= at.max(now));
    let (queue, account, obstacle) = (bucket.queue, &partner.account, partner.obstacle(Some(bucket), now));
    // A bucket that lingers, or leaves its turn to another one, may not know yet of a wait of its partner.
    let own = dispatcher.partners.yields_until(key, now).max(Some(oldest + partner.rules.linger)).unwrap_or(oldest);
    let looked_at = match obstacle {
        // One flush at a time keeps a FIFO group in order over failures.
        None if bucket.in_flight > 0 && dispatcher.queues[queue].rules.fifo => true,
        None => own > now && (by(own) || partner_by(own)),
        Some(Obstacle::Paused) => true,
        Some(Obstacle::Until(at, Wait::Endpoint)) => by(own.max(at)),
        Some(Obstacle::Until(at, _)) => by(own.max(at)) || partner_by(own.max(at)),
        Some(_) => !partner.flights.is_empty(),
    };
    let looked_at = looked_at || bucket.thread_wait.is_some();
    assert!(looked_at, "nothing looks again at what queue {queue} has for {account} ({obstacle:?}): {bucket:?}");
    if let (Some(Obstacle::Until(at, Wait::Rate)), Some((requests, per))) = (obstacle, partner.rules.rate) {
        let (wait, longest) = (at - now, per / requests + std::time::Duration::from_nanos(1));
        assert!(wait <= longest, "{account} waits for {wait:?}, and its rate is one in {longest:?}");
    }
    if let Some(give_up_after) = partner.rules.give_up_after {
        let late = bucket.alarm.at().map(|alarm| alarm.saturating_duration_since(oldest + give_up_after));
        let what = format!("what queue {queue} has for {account} ({obstacle:?}) is given up too late, by {late:?} from {now:?}");
        assert!(by(oldest + give_up_after), "{what}: {bucket:?}");
    }
}

/// Checks that parked rows are asked for, or will be once room is free.
fn check_lot(dispatcher: &Dispatcher, now: Instant, key: BucketKey, bucket: &Bucket, partner: &Partner) {
    let queue: QueueIndex = bucket.queue;
    let Some(transfer) = dispatcher.queues[queue].parking.as_deref() else { return };
    let holder = dispatcher.partners.holder_of(key).expect("its own or its partner");
    let is_away = dispatcher.partners.is_away(holder);
    if !bucket.lot.as_deref().is_some_and(Lot::may_ask) || is_away || dispatcher.phase.is_stopping() {
        return;
    }
    let (holds, share) = (dispatcher.partners.holds(holder), dispatcher.partners.share(holder).max(1));
    let is_in_line = transfer.wanting.contains(&key);
    // A partner that holds half of its share gets rows once it holds less: a change of what it holds is looked at in the next
    // turn. After a flush has landed, and when a thread is free for one of the partner's buckets, the bucket is looked at.
    let is_looked_at = !partner.flights.is_empty() || bucket.thread_wait.is_some() || partner.touched;
    assert!(
        is_in_line || holds * 2 >= share || is_looked_at,
        "nobody asks for the parked deliveries for {}, which holds {holds} of {share}: {bucket:?}",
        partner.account
    );
    // Whatever else is in the room, one row comes if none is in memory.
    let cannot_delete = dispatcher.queues[transfer.rows].calls.cannot_delete();
    let may_read = transfer.gives(now) && !cannot_delete && dispatcher.room.one_more(queue) > 0;
    assert!(
        !is_in_line || holds * 2 >= share || !may_read || transfer.in_memory.rows() > 0,
        "no parked delivery for {} is read, and none is in memory: {bucket:?}",
        partner.account
    );
}
