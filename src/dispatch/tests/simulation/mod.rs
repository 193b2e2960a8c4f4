//! A seeded simulation around the dispatcher: queues with leases, handlers, and partners
//! with faults, all in virtual time.
//!
//! Checked at every step: a partner never has more flushes than its `parallel`, none starts before a `Retry-After` is
//! over or while the partner is paused, and its rate is kept; partners that are slow, failing or not proven share half
//! of the delivery threads, and no other partner waits while a thread is free; no more is held than allowed. After each
//! turn [`books`] compares what the parts of the dispatcher count with what they hold, and [`liveness`] looks for what
//! waits in vain. Checked at the end: every message is accepted or dead, in the order of receive, and the counters add up.
//!
//! [`outage`] simulates partners that are away for hours, under traffic: what leaves memory then, and how it comes
//! back. [`groups`] simulates a FIFO queue whose leases lapse. `scripts/simulate --seeds N` runs N seeds,
//! `scripts/simulate --seed S` replays one.

pub mod books;
mod groups;
mod liveness;
mod outage;
mod pool;
mod sweep;
mod watch;
mod world;

use self::groups::Groups;
use self::outage::Outage;
use self::sweep::{Failed, Sweep};
use self::world::World;

#[test]
fn nothing_is_lost_whatever_happens() {
    let failed = Sweep::from_environment(60).run(|seed| World::new(seed).run());
    assert!(failed.is_empty(), "{}", failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_outage_costs_no_other_partner_and_ends() {
    let failed = Sweep::from_environment(50).run(|seed| Outage::new(seed).run());
    assert!(failed.is_empty(), "{}", failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn groups_keep_their_order_whatever_becomes_of_leases() {
    let failed = Sweep::from_environment(60).run(|seed| Groups::new(seed).run());
    assert!(failed.is_empty(), "{}", failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_seed_that_fails_is_named_with_its_reason() {
    let sweep = Sweep { seeds: 10..30, shown: false };
    let failed = sweep.run(|seed| assert!(seed != 17, "as {seed} must"));
    assert_eq!(failed, [Failed { seed: 17, reason: "as 17 must".to_owned() }]);
    assert!(failed[0].to_string().contains("scripts/simulate --seed 17"));
}
