//! A parking as a queue beside the others: the same ackers settle its deliveries, it is
//! counted with the other queues, and its dead letters are among those of the queue whose
//! deliveries it holds. Nothing is received from it or sent to it through this trait.

use std::sync::Arc;

use compact_str::CompactString;

use super::claim::{Claim, claim};
use super::{Parking, list, rows};
use crate::message::{Message, Receipt, Received};
use crate::queue::sqlite::store::Promise;
use crate::queue::{
    Ask, Count, DeadLetters, EntryError, EntryResult, Facts, Limits, NewMessage, Queue, QueueError, SetAside, VisibilityChange,
    embedded,
};

/// The size of the bodies, in bytes, from which on a call takes no further dead letter: it bounds the memory that they
/// need, and what the origin queue writes at once.
const BODIES_AT_ONCE: usize = 4 * 1024 * 1024;

/// A parking from which this process delivers.
pub struct ParkedQueue {
    /// The parking itself, for parking and unparking.
    pub parking: Arc<Parking>,
    origin: Arc<dyn Queue>,
    _claim: Claim,
}

impl ParkedQueue {
    /// Claims the parking's file for this process. `origin` is the queue whose deliveries are parked. Does not block.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unavailable`] if another instance has claimed the file.
    pub fn new(parking: Parking, origin: Arc<dyn Queue>) -> Result<Self, QueueError> {
        let claim = claim(&parking.path).map_err(|fault| fault.of(&parking.name, "open"))?;
        Ok(Self { parking: Arc::new(parking), origin, _claim: claim })
    }

    fn refused(&self, what: &'static str, why: &str) -> QueueError {
        QueueError::Refused { queue: self.parking.name.clone(), what, why: why.to_owned() }
    }

    fn delete_rows(&self, receipts: &[&Receipt]) -> Result<(), QueueError> {
        let parking = &self.parking;
        let numbers = receipts.iter().filter_map(|receipt| number(receipt));
        parking.write(Promise::Crash, "delete", |transaction| rows::delete(transaction, parking.queue, numbers.clone()))
    }

    /// Returns the letter as the origin queue takes it: with the message's body, and marked as
    /// about a message that is no longer on that queue. `None` if the delivery has been purged.
    fn letter(&self, letter: &SetAside) -> Result<Option<SetAside>, QueueError> {
        let parking = &self.parking;
        let Some(row) = number(&letter.receipt) else { return Ok(None) };
        let body = parking.read_on("set aside", |transaction| rows::body(transaction, parking.queue, row))?;
        Ok(body.map(|body| SetAside {
            message: Arc::new(Message { body, ..Message::clone(&letter.message) }),
            receipt: Receipt::Parked,
            last: false,
            ..letter.clone()
        }))
    }

    /// Writes the first of these letters to the origin queue, as many as go into one call and as their bodies allow.
    /// Returns their results, at least one. A row that cannot be read fails for itself, unless none of them can.
    fn write_some(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        let most = self.origin.limits().entries.max(1);
        let (mut found, mut written, mut bytes, mut unread) = (Vec::new(), Vec::new(), 0, None);
        for letter in letters {
            if written.len() >= most || bytes >= BODIES_AT_ONCE {
                break;
            }
            found.push(match self.letter(letter) {
                Ok(Some(letter)) => {
                    bytes += letter.message.body.len();
                    written.push(letter);
                    None
                }
                Ok(None) => Some(Ok(())),
                Err(error) => {
                    let failed = Err(EntryError::Failed(error.to_string()));
                    unread.get_or_insert(error);
                    Some(failed)
                }
            });
        }
        if let Some(error) = unread.filter(|_| written.is_empty()) {
            return Err(error);
        }
        let mut results = if written.is_empty() { Vec::new() } else { self.origin.set_aside(&written)? }.into_iter();
        let missing = || Err(EntryError::Failed("no result came for it".to_owned()));
        Ok(found.into_iter().map(|result| result.or_else(|| results.next()).unwrap_or_else(missing)).collect())
    }
}

fn number(receipt: &Receipt) -> Option<i64> {
    match receipt {
        Receipt::Row { row, .. } => Some(*row),
        Receipt::Handle(_) | Receipt::Parked => None,
    }
}

impl Queue for ParkedQueue {
    fn receive(&self, _: &Ask) -> Result<Vec<Received>, QueueError> {
        Err(self.refused("receive", "what is parked comes back account by account"))
    }

    /// A row that is already gone was purged; it counts as deleted. A row on a damaged page cannot be deleted, and stays
    /// in the file after its delivery; the others are then deleted one by one.
    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        embedded::check_entries(&self.parking.name, "delete", receipts.len())?;
        let error = match self.delete_rows(&receipts.iter().collect::<Vec<_>>()) {
            Ok(()) => return Ok(vec![Ok(()); receipts.len()]),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => error,
        };
        let alone = |receipt| {
            self.delete_rows(&[receipt]).map_err(|error| {
                EntryError::NotDeleted(format!("{error}; the row is already delivered, and comes again after a restart"))
            })
        };
        let results: Vec<EntryResult> = receipts.iter().map(alone).collect();
        // Then it is more than a page.
        if results.len() > 1 && results.iter().all(Result::is_err) { Err(error) } else { Ok(results) }
    }

    /// Does nothing, since there are no leases: no other process takes from the file.
    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        Ok(vec![Ok(()); changes.len()])
    }

    /// Writes the letters to the origin queue first, then deletes the rows. If the process dies
    /// between the two, the delivery is attempted again; set aside once more, it is the same letter.
    ///
    /// Once a letter may have been written, a failure is reported for its entries only. If the
    /// whole call failed, it would be made again, with the letters that are already written.
    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        let mut results = Vec::with_capacity(letters.len());
        while results.len() < letters.len() {
            match self.write_some(letters.get(results.len()..).unwrap_or_default()) {
                Ok(ended) => results.extend(ended),
                Err(error) if results.is_empty() => return Err(error),
                Err(error) => results.resize_with(letters.len(), || Err(EntryError::Failed(error.to_string()))),
            }
        }
        let done = letters.iter().zip(&mut results).filter(|(letter, result)| letter.last && result.is_ok());
        let (rows, done): (Vec<_>, Vec<_>) = done.map(|(letter, result)| (&letter.receipt, result)).unzip();
        if let Err(error) = self.delete_rows(&rows) {
            done.into_iter().for_each(|result| *result = Err(EntryError::NotDeleted(error.to_string())));
        }
        Ok(results)
    }

    fn send(&self, _: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        Err(self.refused("send", "only the service parks deliveries; send to the queue itself"))
    }

    /// Returns whether anything is parked, as 0 or 1: counting the rows of months is not needed to know that.
    fn count(&self) -> Result<Count, QueueError> {
        let parking = &self.parking;
        let any = parking.read("count", |transaction| list::any(transaction, parking.queue))?;
        Ok(Count { visible: u64::from(any), ..Count::default() })
    }

    fn limits(&self) -> Limits {
        embedded::limits(None)
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        Ok(Facts::default())
    }

    /// Returns `None`, since the letters are among those of the origin queue.
    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        None
    }
}
