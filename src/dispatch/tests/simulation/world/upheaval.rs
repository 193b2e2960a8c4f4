//! What happens to a running service from outside: partners get other rules, its machine sleeps or gets another time, it is
//! told to end, or it is started anew over what is on the queues and on the disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::tests::simulation::pool::Pool;
use crate::dispatch::tests::simulation::watch::Watch;
use crate::dispatch::{Dispatcher, Event, Medium, QueueChanges, Rules};
use crate::message::Account;

use super::{ACCOUNTS, Act, QUEUES, World};

/// Returns an observer that knows the rules and has seen nothing yet.
pub fn watch(rules: &Rules) -> Watch {
    let partners = rules.partners.by_account.iter().map(|(account, rules)| (account.to_string(), Arc::clone(rules)));
    Watch::new(rules.delivery_threads, rules.disk_threads, partners)
}

impl World {
    /// In every other world, sets when the dispatcher ends: by a drain, by a stop, by a stop during a drain, or because
    /// its process dies.
    pub(super) fn plan_the_end(&mut self) {
        if self.seed.is_multiple_of(2) {
            return;
        }
        let at = Duration::from_secs(1) + self.millis(40_000);
        let length = self.millis(20_000);
        let drain = Event::Drain { deadline: self.now + at + length };
        match self.random.u8(..4) {
            0 => self.after(at, Act::End(drain)),
            1 => self.after(at, Act::End(Event::Stop)),
            2 => {
                self.after(at, Act::End(drain));
                self.after(at + length / 2, Act::End(Event::Stop));
            }
            _ => self.after(at, Act::Restart),
        }
    }

    /// Gives one partner other rules.
    pub(super) fn reload_partner(&mut self) {
        let account = format!("a{}", self.random.usize(..ACCOUNTS));
        let own = self.rules.partners.by_account.get_mut(account.as_str()).expect("each has rules of its own");
        let (rules, random) = (Arc::make_mut(own), &mut self.random);
        match random.u8(..5) {
            0 => rules.rate = random.bool().then(|| (random.u32(1..10), Duration::from_secs(1))),
            1 => rules.medium = [Medium::Inline, Medium::Wire, Medium::Disk, Medium::Pipe][random.usize(..4)],
            2 => rules.parallel = random.usize(1..5),
            3 => rules.give_up_after = random.bool().then(|| Duration::from_millis(random.u64(5_000..60_000))),
            _ => rules.linger = Duration::from_millis(random.u64(0..2) * 300),
        }
        self.parallel = self.parallel.max(rules.parallel);
        self.watch.changed(&account, Arc::clone(own));
        self.tell(Event::Reloaded { partners: self.rules.partners.clone(), queues: QueueChanges::default() });
    }

    /// Sets the wall clock ahead. Half of the time that is because the machine has slept: what the queues hide shows earlier
    /// by that.
    pub(super) fn sleep(&mut self) {
        let most = [8_000, 60_000, 50_000_000][self.random.usize(..3)];
        let length = self.millis(most);
        self.ahead += length;
        if self.random.bool() {
            self.slept = true;
            for row in self.queues.iter_mut().flat_map(|queue| queue.rows.values_mut()) {
                row.visible_at = row.visible_at.checked_sub(length).unwrap_or(self.start).max(self.start);
            }
        }
    }

    /// Checks that a dispatcher that has ended leaves each message to its queue unless all of it is settled.
    pub(super) fn check_what_is_left(&self) {
        for (index, queue) in self.dispatcher.queues.iter().enumerate() {
            let held = self.dispatcher.ledger.iter().filter(|(_, held)| held.queue == index).count() as u64;
            assert_eq!(queue.counts.received, queue.counts.exits() + held, "queue {index}: {:?}", queue.counts);
        }
        for (queue, row) in (0..QUEUES).flat_map(|queue| (0..super::MESSAGES as i64).map(move |row| (queue, row))) {
            let id = format!("q{queue}m{row}");
            let is_settled = || self.expected.get(&id).is_some_and(|all| all.iter().all(|one| self.is_settled(queue, one)));
            assert!(self.queues[queue].rows.contains_key(&row) || is_settled(), "{id} is lost");
        }
        self.check_order();
    }

    /// Remembers which deliveries were accepted of the messages that are back on their queue. Of those that the dispatcher
    /// still holds as it ends nothing was told, and a delivery in the parking is sent again until its row is deleted.
    pub(super) fn close_what_was_returned(&mut self) {
        let held: BTreeSet<String> = self.dispatcher.ledger.iter().map(|(_, held)| held.message.id.to_string()).collect();
        let accepted = self.accepted.keys().filter(|delivery| !self.disk.has(delivery));
        let message = |delivery: &str| delivery.split('-').next().unwrap_or(delivery).to_owned();
        let returned = accepted.filter(|delivery| !held.contains(&message(delivery)));
        self.done.extend(returned.cloned().collect::<Vec<_>>());
    }

    /// Starts a new dispatcher over the same queues and the same disk. A request that was under way has reached its
    /// partner or the disk, or it has not.
    pub(super) fn restart(&mut self) {
        self.check_order();
        for (at, act) in std::mem::take(&mut self.acts) {
            match act {
                Act::Tick | Act::Operate { .. } => _ = self.acts.insert(at, act),
                Act::Answer { batch, .. } if self.random.bool() => _ = self.answer(&batch),
                Act::Park { deliveries, .. } if self.random.bool() => _ = self.disk.park(self.now, &deliveries),
                _ => {}
            }
        }
        self.queues.truncate(QUEUES + 1);
        for model in &mut self.queues {
            model.demand.clear();
            model.busy.clear();
            (model.interrupted, model.sequence) = (false, 0);
        }
        (self.pool, self.order) = (Pool::default(), std::collections::HashMap::new());
        (self.reader, self.errands, self.finished, self.ends) = (1, self.now, false, false);
        let found: Vec<(Account, u64)> = self.disk.found();
        for parking in &mut self.rules.parkings {
            parking.found.clone_from(&found);
        }
        self.lives += 1;
        self.watch = watch(&self.rules);
        self.dispatcher = Dispatcher::new(self.rules.clone(), self.now);
        self.tell(Event::Tick);
    }
}
