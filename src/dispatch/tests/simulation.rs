//! A seeded simulation around the dispatcher: queues with leases, handlers, partners with faults, all in virtual time.
//!
//! At every step: no more flushes of a partner than its `parallel`, none before a `Retry-After` is over or while it is paused, its rate is
//! kept; partners that are slow, failing or not proven share half of the delivery threads, and no other waits while one is free; no more
//! is held than there may be. At the end: every message is accepted or dead, in the order of receive, and the counters add up. `OCTOCONF_SIM_SEED=N cargo test simulation` replays one seed.

mod watch;
mod world;

use self::world::World;

/// Seeds of a normal run.
const SEEDS: u64 = 150;

#[test]
fn nothing_is_lost_whatever_happens() {
    let only = std::env::var("OCTOCONF_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(outcome.is_ok(), "seed {seed} fails; replay it with OCTOCONF_SIM_SEED={seed}");
    }
}
