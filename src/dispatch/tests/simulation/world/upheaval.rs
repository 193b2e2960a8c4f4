//! What happens to a running service from outside: partners get other rules.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::tests::simulation::watch::Watch;
use crate::dispatch::{Event, Medium, QueueChanges, Rules};

use super::{ACCOUNTS, World};

/// Returns an observer that knows the rules and has seen nothing yet.
pub fn watch(rules: &Rules) -> Watch {
    let partners = rules.partners.by_account.iter().map(|(account, rules)| (account.to_string(), Arc::clone(rules)));
    Watch::new(rules.delivery_threads, rules.disk_threads, partners)
}

impl World {
    /// Gives one partner other rules.
    pub(super) fn reload_partner(&mut self) {
        let account = format!("a{}", self.random.usize(..ACCOUNTS));
        let own = self.rules.partners.by_account.get_mut(account.as_str()).expect("each has rules of its own");
        let (rules, random) = (Arc::make_mut(own), &mut self.random);
        match random.u8(..5) {
            0 => rules.rate = random.bool().then(|| (random.u32(1..10), Duration::from_secs(1))),
            1 => rules.medium = [Medium::Inline, Medium::Wire, Medium::Disk][random.usize(..3)],
            2 => rules.parallel = random.usize(1..5),
            3 => rules.give_up_after = random.bool().then(|| Duration::from_millis(random.u64(5_000..60_000))),
            _ => rules.linger = Duration::from_millis(random.u64(0..2) * 300),
        }
        self.parallel = self.parallel.max(rules.parallel);
        self.watch.changed(&account, Arc::clone(own));
        self.tell(Event::Reloaded { partners: self.rules.partners.clone(), queues: QueueChanges::default() });
    }
}
