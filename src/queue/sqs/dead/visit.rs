//! The operations behind the `dead` commands. SQS has no list of its messages: a letter must be received to
//! be seen. So a visit leases the letters, page by page, and at its end, however it ends, makes all letters
//! visible again that it did not take. If the process dies meanwhile, they stay hidden for at most [`LEASE`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::{CompactString, format_compact};

use super::letter::Letter;
use super::patience::Patience;
use super::{ITSELF, are_one};
use crate::queue::sqs::SqsQueue;
use crate::queue::sqs::apart::send_apart;
use crate::queue::sqs::call::{Entry, MAX_ENTRIES};
use crate::queue::sqs::content::{self, ALONE};
use crate::queue::sqs::error::{EntryFault, Fault};
use crate::queue::sqs::facts;
use crate::queue::sqs::receive;
use crate::queue::sqs::remote::RemoteQueue;
use crate::queue::{Ask, Attendant, Changed, DeadFilter, DeadLetter, DeadLetters, EntryError, Portions, QueueError, Unseen};

/// How long letters are leased for a visit. Listing, redrives and purges extend the leases in time; finding does not.
const LEASE: Duration = Duration::from_secs(15 * 60);
/// The age of the leases from which on they are extended. Extending many leases takes time, so it starts early.
const EXTEND_AFTER: Duration = Duration::from_secs(5 * 60);
/// The age of the leases from which on no operation is started under them: they must outlast a send and a delete.
const OVER_AFTER: Duration = Duration::from_secs(13 * 60);
/// The long poll of a visit. A receive that waits asks all servers of a
/// queue (AWS: long polling); one that does not wait may miss messages.
const LONG_POLL: Duration = Duration::from_secs(1);

/// A walk through a dead letter queue. Dropping it returns the letters.
struct Visit {
    target: Arc<RemoteQueue>,
    patience: Patience,
    /// The receipt handles of letters that are leased by us and not taken.
    held: Vec<Box<str>>,
    seen: HashSet<CompactString>,
    /// The number of letters that came again since the last new one.
    again: usize,
    /// The letters that could not be read, each with the reason.
    bad: Vec<String>,
    /// When the oldest lease began.
    leased_at: Instant,
}

impl Visit {
    fn new(target: Arc<RemoteQueue>, patience: Patience) -> Self {
        Self { target, patience, held: Vec::new(), seen: HashSet::new(), again: 0, bad: Vec::new(), leased_at: now() }
    }

    /// Returns whether the letters are still leased by us, and extends their leases
    /// when it is time. They are not if the caller took too long in between.
    fn keep(&mut self) -> Result<bool, Fault> {
        let now = now();
        let age = now.saturating_duration_since(self.leased_at);
        if age > EXTEND_AFTER && age < OVER_AFTER {
            let held: Vec<_> = self.held.iter().map(|handle| (&**handle, LEASE)).collect();
            self.patience.call(|| self.target.hide(&held))?;
            self.leased_at = now;
        }
        Ok(age < OVER_AFTER)
    }

    /// Extends the leases when it is time. If the caller took too long in
    /// between, the letters that were leased come again, and are skipped then.
    fn keep_or_go_on(&mut self) -> Result<(), Fault> {
        if !self.keep()? {
            self.held.clear();
            self.leased_at = now();
        }
        Ok(())
    }

    /// Receives up to ten letters. `None` if there are no more, or if more letters came again than are
    /// known. Letters whose lease ended before the walk did come again, with new ones behind them.
    fn page(&mut self) -> Result<Option<Vec<Letter>>, Fault> {
        while self.again <= self.seen.len() && self.patience.goes_on() {
            // The letters of an answer that is lost stay hidden until their leases end.
            let (records, bad) = self.patience.call(|| {
                let document =
                    self.target.receive(&Ask { max: MAX_ENTRIES, wait: LONG_POLL, lease: LEASE, bytes: usize::MAX })?;
                receive::records(&document)
            })?;
            let (came, unreadable) = (records.len(), !bad.is_empty());
            self.bad.extend(bad);
            self.held.extend(records.iter().map(|record| record.handle.clone()));
            let new = records.into_iter().filter(|record| self.seen.insert(record.id.clone()));
            let letters: Vec<_> = new.map(Letter::of).collect();
            if unreadable || !letters.is_empty() {
                self.again = 0;
                return Ok(Some(letters));
            }
            if came == 0 {
                return Ok(None);
            }
            self.again += came;
        }
        Ok(None)
    }

    /// Returns how many letters exist that the walk never received: letters that somebody else has leased, or a command
    /// that was killed. A FIFO queue in addition returns no message of a group while ten earlier
    /// ones of it are leased, as they are until the end of a walk.
    fn unseen(&self) -> Unseen {
        let name = self.target.name();
        if self.again > self.seen.len() {
            let why = format!(
                "{name} returns the same letters again and again, which hides others: another consumer may read them too"
            );
            return Unseen { letters: 0, why: Some(why) };
        }
        match self.patience.call(|| facts::count(&self.target)) {
            Ok(count) => {
                let all = count.visible + count.hidden + count.delayed;
                let letters = all.saturating_sub(self.seen.len() as u64);
                if !self.target.is_fifo() {
                    // Those of others come free by themselves only, so there is nothing to walk for again.
                    let why = || {
                        format!(
                            "{name} counts about {letters} more, which cannot be seen now (an estimate, which may lag by a minute): somebody \
                             else looks at them, or a command that was killed or an answer that was lost hides them for up to {} min",
                            LEASE.as_secs() / 60
                        )
                    };
                    return Unseen { letters: 0, why: (letters > 0).then(why) };
                }
                let why = || {
                    format!(
                        "{name} counts {letters} more, which cannot be seen now: a FIFO queue gives at most ten of a group until these are \
                         taken off, and none of a group that another consumer reads"
                    )
                };
                Unseen { letters, why: (letters > 0).then(why) }
            }
            Err(fault) => Unseen {
                letters: 0,
                why: Some(format!("whether {name} has more that cannot be seen is not known: {}", fault.why())),
            },
        }
    }

    /// Deletes letters. Returns for each whether it was still there, or why it cannot be deleted.
    fn take(&mut self, letters: &[&Letter]) -> Result<Vec<Result<bool, String>>, Fault> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let handles: Vec<_> = letters.iter().map(|letter| &*letter.handle).collect();
        let deleted = self.patience.entries(&handles, |handles| self.target.delete(handles))?;
        let taken: Vec<_> = deleted
            .into_iter()
            .map(|deleted| match deleted {
                Ok(()) => Ok(true),
                Err(EntryFault::Gone) => Ok(false),
                Err(fault) => Err(EntryError::from(fault).to_string()),
            })
            .collect();
        let gone: HashSet<&str> =
            handles.iter().zip(&taken).filter(|(_, taken)| taken.is_ok()).map(|(handle, _)| *handle).collect();
        self.held.retain(|held| !gone.contains(&**held));
        Ok(taken)
    }
}

impl Drop for Visit {
    /// Makes the letters visible again. If that fails, their leases lapse.
    fn drop(&mut self) {
        let back: Vec<_> = self.held.iter().map(|handle| (&**handle, Duration::ZERO)).collect();
        if !back.is_empty() {
            let _ = self.patience.call(|| self.target.hide(&back));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an edge: leases run at the service while a command waits")]
fn now() -> Instant {
    Instant::now()
}

impl SqsQueue {
    /// Calls `page` with the letters of this queue, page by page, until it returns
    /// `false`. Returns how many letters it could not see, if it came to the end.
    fn visit(
        &self,
        what: &'static str,
        mut page: impl FnMut(&mut Visit, Vec<Letter>) -> Result<bool, Fault>,
    ) -> Result<Unseen, QueueError> {
        let failed = self.failed(what);
        let patience = self.dead.patience.lock().clone();
        let target = patience.call(|| self.dead.of(&self.queue)).map_err(&failed)?;
        let target = target.ok_or_else(|| self.refused(what, "it has no dead letter queue".to_owned()))?;
        let failed = |fault: Fault| fault.of(&format!("{}: its dead letter queue {}", self.name, target.name()), what);
        // A purge would delete messages that nobody has handled. The service refuses to start on such a queue.
        if patience.call(|| are_one(&target, &self.queue)).map_err(failed)? {
            return Err(self.refused(what, ITSELF.to_owned()));
        }
        let mut visit = Visit::new(Arc::clone(&target), patience);
        while let Some(mut letters) = visit.page().map_err(failed)? {
            // Several queues may share one dead letter queue.
            letters.retain(|letter| letter.source.as_deref().is_none_or(|source| source == self.queue.name()));
            if !page(&mut visit, letters).map_err(failed)? {
                return Ok(Unseen::default());
            }
        }
        if !visit.patience.goes_on() {
            return Ok(Unseen::default());
        }
        if visit.bad.is_empty() { Ok(visit.unseen()) } else { Err(failed(Fault::Transient(visit.bad.join("; ")))) }
    }

    /// Calls `act` with the letters of these ids, in portions of one page at most. Returns, beside what was changed, the
    /// ids whose letters a walk that came to its end did not see, in the order of `ids`.
    ///
    /// A single walk finds all of them, unless the caller takes longer than the leases
    /// last. That matters because each walk may have to receive the whole queue.
    fn with_letters(
        &self,
        what: &'static str,
        portions: Portions<'_>,
        ids: &[CompactString],
        act: impl Fn(&mut Visit, &[Letter], &mut Changed) -> Result<(), Fault>,
    ) -> (Changed, Vec<CompactString>) {
        let mut wanted: HashSet<&str> = ids.iter().map(CompactString::as_str).collect();
        let mut changed = Changed::default();
        let mut walking = !wanted.is_empty();
        let mut stopped = false;
        while walking {
            walking = false;
            let walked = self.visit(what, |visit, mut letters| {
                letters.retain(|letter| wanted.contains(letter.letter.id.as_str()));
                for portion in letters.chunks(portions.most.max(1)) {
                    if !visit.keep()? {
                        walking = true;
                        return Ok(false);
                    }
                    act(visit, portion, &mut changed)?;
                    for letter in portion {
                        wanted.remove(letter.letter.id.as_str());
                    }
                    if !(portions.after)(portion.len()) {
                        stopped = true;
                        return Ok(false);
                    }
                }
                Ok(!wanted.is_empty())
            });
            if let Err(error) = walked {
                changed.ended = Some(error);
                break;
            }
        }
        if stopped || changed.ended.is_some() || !self.dead.patience.lock().goes_on() {
            wanted.clear();
        }
        let unseen = ids.iter().filter(|id| wanted.remove(id.as_str())).cloned().collect();
        (changed, unseen)
    }

    fn redrive_letters(&self, portions: Portions<'_>, ids: &[CompactString]) -> (Changed, Vec<CompactString>) {
        self.with_letters("redrive", portions, ids, |visit, letters, changed| self.put_back(visit, letters, changed))
    }

    fn purge_letters(&self, portions: Portions<'_>, ids: &[CompactString]) -> (Changed, Vec<CompactString>) {
        self.with_letters("purge", portions, ids, |visit, letters, changed| {
            let all: Vec<_> = letters.iter().collect();
            for (letter, taken) in letters.iter().zip(visit.take(&all)?) {
                match taken {
                    Ok(there) => changed.done += usize::from(there),
                    Err(why) => changed.failed.push((letter.letter.id.clone(), why)),
                }
            }
            Ok(())
        })
    }

    /// Sends letters back to the queue, and takes those that arrived off the dead letter queue.
    fn put_back(&self, visit: &mut Visit, letters: &[Letter], changed: &mut Changed) -> Result<(), Fault> {
        let (fifo, most) = (self.queue.is_fifo(), self.queue.most());
        let mut going = Vec::with_capacity(letters.len());
        for letter in letters {
            let id = &letter.letter.id;
            let group = || letter.group.clone().unwrap_or_else(|| format_compact!("{ALONE}{id}"));
            let written = content::check_text(&letter.letter.body).and_then(|body| Ok((body, letter.attributes(most)?)));
            match written {
                Ok((body, attributes)) => going.push((
                    letter,
                    Entry {
                        body,
                        attributes: attributes.into(),
                        delay: 0,
                        group: fifo.then(group),
                        // If the process dies before the delete and the letter is sent twice, it arrives once.
                        deduplication: fifo.then(|| format_compact!("octoconf.redriven.{id}")),
                    },
                )),
                Err(why) => changed.failed.push((id.clone(), why)),
            }
        }
        let (going, entries): (Vec<&Letter>, Vec<_>) = going.into_iter().unzip();
        // Whoever waits for the command may end it.
        let sent =
            send_apart(&entries, || true, |entries| visit.patience.entries(entries, |entries| self.send_entries(entries)))?;
        let mut arrived = Vec::with_capacity(going.len());
        for (letter, sent) in going.into_iter().zip(sent) {
            match sent {
                Ok(_) => arrived.push(letter),
                Err(fault) => changed.failed.push((letter.letter.id.clone(), EntryError::from(fault).to_string())),
            }
        }
        // By now these are on the queue. A letter that is gone from here was taken by another redrive as well.
        changed.done += arrived.len();
        let kept = |letter: &Letter, why: &str| (letter.letter.id.clone(), why.to_owned());
        let taken = visit.take(&arrived).inspect_err(|fault| {
            changed.kept.extend(arrived.iter().map(|letter| kept(letter, fault.why())));
        })?;
        for (letter, taken) in arrived.iter().zip(taken) {
            if let Err(why) = taken {
                changed.kept.push(kept(letter, &why));
            }
        }
        Ok(())
    }
}

impl DeadLetters for SqsQueue {
    /// Lists the oldest letters first, as far as SQS keeps that
    /// order. Letters that another consumer has leased are not seen.
    fn list(&self, filter: &DeadFilter, each: &mut dyn FnMut(DeadLetter) -> bool) -> Result<Unseen, QueueError> {
        self.visit("list dead letters", |visit, letters| {
            for letter in letters {
                // `each` may take its time, for example if it feeds a pager.
                visit.keep_or_go_on()?;
                if filter.passes(&letter.letter) && !each(letter.letter) {
                    return Ok(false);
                }
            }
            visit.keep_or_go_on()?;
            Ok(true)
        })
    }

    fn attend(&self, attendant: Arc<dyn Attendant>) {
        *self.dead.patience.lock() = Patience(Some(attendant));
    }

    fn find(&self, id: &str) -> Result<Option<DeadLetter>, QueueError> {
        let mut found = None;
        self.visit("find a dead letter", |_, letters| {
            found = letters.into_iter().map(|letter| letter.letter).find(|letter| letter.id == id);
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Sends a letter before it deletes it: if the process dies in between, the letter is on both queues.
    fn redrive(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let (changed, _gone) = self.redrive_letters(Portions { most: MAX_ENTRIES, after: &mut |_| true }, ids);
        changed.all(&self.name, "redrive")
    }

    fn purge(&self, ids: &[CompactString]) -> Result<usize, QueueError> {
        let (changed, _gone) = self.purge_letters(Portions { most: MAX_ENTRIES, after: &mut |_| true }, ids);
        changed.all(&self.name, "purge")
    }

    fn redrive_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        with_unseen(self.redrive_letters(portions, ids))
    }

    fn purge_in(&self, portions: Portions<'_>, ids: &[CompactString]) -> Changed {
        with_unseen(self.purge_letters(portions, ids))
    }
}

/// Counts the letters that were not seen as failed: a person chose them, and they may still be there.
fn with_unseen((mut changed, unseen): (Changed, Vec<CompactString>)) -> Changed {
    let why = format!(
        "it was not seen now: somebody else may look at it, which hides it for up to {} min, or have taken it; list the dead letters \
         again",
        LEASE.as_secs() / 60
    );
    changed.failed.extend(unseen.into_iter().map(|id| (id, why.clone())));
    changed
}
