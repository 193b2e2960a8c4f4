//! The embedded queue: there is no network to disturb, so only the program is killed.

use std::path::Path;

use octoconf::handler::jq;
use octoconf::queue::sqlite::{SqliteOptions, SqliteQueue};
use octoconf::queue::{DeadFilter, NewMessage, Queue};

use super::{Source, number};
use crate::traffic::Number;

const GROUP: &str = ".account";

pub struct Sqlite {
    /// The queues, and whether each has groups.
    queues: Vec<(SqliteQueue, bool)>,
}

impl Sqlite {
    /// Opens queues in the file of this folder that a configuration without `path` names.
    pub fn open(folder: &Path, fifo: &[bool]) -> Self {
        let open = |(at, fifo): (usize, &bool)| {
            let grouping = fifo.then(|| jq::group_path(GROUP).expect("a good path"));
            let options = SqliteOptions { grouping, ..SqliteOptions::new(folder.join("octoconf.db"), at.to_string()) };
            (SqliteQueue::open(options).expect("the store opens"), *fifo)
        };
        Self { queues: fifo.iter().enumerate().map(open).collect() }
    }

    fn queue(&self, queue: usize) -> &SqliteQueue {
        &self.queues[queue].0
    }
}

impl Source for Sqlite {
    fn configuration(&self, queue: usize) -> String {
        let group = if self.queues[queue].1 { GROUP } else { "" };
        format!("source = \"sqlite\"\nname = \"{queue}\"\ngroup = \"{group}\"\n")
    }

    fn send(&self, queue: usize, messages: &[Number]) {
        let messages: Vec<_> =
            messages.iter().map(|one| NewMessage { body: one.body().into(), ..NewMessage::default() }).collect();
        self.queue(queue).send(&messages).expect("the store takes messages");
    }

    fn remaining(&self, queue: usize) -> u64 {
        let count = self.queue(queue).count().expect("the store counts");
        count.visible + count.hidden + count.delayed
    }

    fn dead_count(&self, queue: usize) -> u64 {
        self.dead(queue).len() as u64
    }

    fn dead(&self, queue: usize) -> Vec<Number> {
        let mut numbers = Vec::new();
        let letters = self.queue(queue).dead_letters().expect("the embedded queue has dead letters");
        letters
            .list(&DeadFilter::default(), &mut |letter| {
                numbers.push(number(&letter.body));
                true
            })
            .expect("the store lists its dead letters");
        numbers
    }
}
