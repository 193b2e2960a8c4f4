//! The flushes of a turn: the buckets to which something happened are looked at one by one, and each that has no obstacle
//! is flushed.

use std::sync::Arc;

use super::Dispatcher;
use super::event::Command;
use super::keys::{BucketKey, FlushId};
use super::ledger::Held;
use super::obstacle::Obstacle;

impl Dispatcher {
    /// Flushes the next bucket that can be flushed; returns false if there is none. Only one bucket is
    /// flushed per call, so that an answer that is available at once is processed while everything about it
    /// is still in the processor's cache.
    pub(super) fn flush_next(&mut self) -> bool {
        while let Some(key) = self.next_listed() {
            self.wants_rows(key);
            let flush = match self.obstacle(key) {
                None => self.flush(key),
                Some(obstacle) => {
                    self.partners.wait_for(key, obstacle, self.now, &mut self.due);
                    None
                }
            };
            match flush {
                Some(flush) => {
                    self.send(flush);
                    return true;
                }
                None if self.phase.is_stopping() => self.return_what_cannot_leave(key),
                None => {}
            }
        }
        false
    }

    /// Returns the next bucket to look at before the turn ends. If a bucket that waits for a delivery thread may
    /// have one, all listed buckets that need nothing but a thread join the line first; else the buckets come in the
    /// order in which something happened to them.
    fn next_listed(&mut self) -> Option<BucketKey> {
        let serves = self.partners.line_moves();
        while let Some(key) = self.partners.pop_listed() {
            if serves && self.lacks_only_a_thread(key) {
                self.partners.wait_for(key, Obstacle::Thread, self.now, &mut self.due);
            } else if self.partners.is_preceded(key) {
                self.partners.list(key);
            } else {
                return Some(key);
            }
        }
        if serves { self.partners.next_in_line() } else { None }
    }

    fn lacks_only_a_thread(&self, key: BucketKey) -> bool {
        self.partners.needs_thread(key) && matches!(self.obstacle(key), None | Some(Obstacle::Thread))
    }

    /// Composes a batch of the bucket, without what is not held any more, and puts it on the wire; `None`: nothing is left.
    fn flush(&mut self, key: BucketKey) -> Option<FlushId> {
        let queue = self.queues.get(self.partners.bucket(key)?.queue)?;
        let held = |ticket| self.ledger.get(ticket).is_some_and(Held::may_be_sent);
        self.partners.begin_flush(key, self.now, &queue.name, &mut self.due, held)
    }

    fn send(&mut self, flush: FlushId) {
        let Some(flight) = self.partners.flight(flush) else { return };
        for slip in &flight.parcel.slips {
            if let Some(held) = self.ledger.get_mut(slip.ticket) {
                held.took_off();
            }
        }
        let (batch, medium) = (Arc::clone(&flight.parcel.batch), flight.medium);
        self.commands.push_back(Command::Flush { flush, batch, medium });
    }
}
