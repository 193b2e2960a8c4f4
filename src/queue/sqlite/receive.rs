//! Receiving messages, in two transactions of the caller. The first makes lapsed messages visible, chooses the oldest
//! that may be taken and leases them; the second reads them, while other threads have their turn to write. The cost
//! grows with the number of messages taken and lapsed, not with the length of the queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::content;
use super::fault::Fault;
use super::groups::{self, Touched};
use super::rows::rows;
use crate::message::{Message, Receipt, Received};
use crate::queue::SettledPart;
use crate::queue::clock::from_millis;

/// A message whose lease or delay has lapsed becomes visible at its old place in age.
const PROMOTE: &str = "
    UPDATE messages SET hidden_until = NULL, delayed = 0
    WHERE queue = ?1 AND hidden_until <= ?2
    RETURNING grp";

const OLDEST: &str = "
    SELECT seq FROM messages
    WHERE queue = ?1 AND hidden_until IS NULL AND grp IS NULL
    ORDER BY seq LIMIT ?2";

const FREE_GROUPS: &str = "SELECT head, grp FROM free_groups WHERE queue = ?1 ORDER BY head LIMIT ?2";

const NEXT_OF_GROUP: &str = "
    SELECT seq, hidden_until IS NULL FROM messages
    WHERE queue = ?1 AND grp = ?2 AND seq > ?3
    ORDER BY seq LIMIT 1";

/// The new number of receives is read afterwards rather than returned: SQLite keeps the rows of `RETURNING` in a table
/// of its own. `OR ROLLBACK` ends the transaction if a row cannot be changed, as the caller would; else SQLite notes
/// what every page held before, so as to undo the statement alone.
const LEASE: &str = "UPDATE OR ROLLBACK messages SET hidden_until = ?2, receives = receives + 1 WHERE seq IN rarray(?1)";

/// Undoes [`LEASE`], as if the message had not been received, unless it was received again since.
const UNLEASE: &str =
    "UPDATE messages SET hidden_until = NULL, receives = receives - 1 WHERE seq IN rarray(?1) AND hidden_until = ?2";

/// Runs after [`LEASE`], so it reads the new number of receives. A row whose lease has another end was received again by
/// another process. `CROSS JOIN` has SQLite look up the rows in the order of the list, without a table of its own.
const CONTENT: &str = "
    SELECT id, sent_at, body, attributes, open, receives, grp, seq, settled, uncounted
    FROM rarray(?1) CROSS JOIN messages ON seq = value LEFT JOIN contents USING (seq) WHERE hidden_until = ?2";

const ANY: &str = "
    SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND hidden_until IS NULL AND grp IS NULL)
        OR EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND hidden_until <= ?2)
        OR EXISTS (SELECT 1 FROM free_groups WHERE queue = ?1)";

/// The rows that a receive has leased.
pub(super) struct Leased {
    /// The number of each row and the group of its message, from the oldest to the newest.
    rows: Vec<(i64, Option<String>)>,
    /// The end of the leases, in ms since 1970.
    until: i64,
}

/// What was read of leased rows.
pub(super) struct Copies {
    pub good: Vec<Received>,
    /// What is wrong with the rows that were left out. They are hidden for as long as the others.
    pub bad: Vec<String>,
    /// The rows behind those of the same group, and those that would be too many bytes, to be given back by [`unlease`].
    pub unread: Vec<i64>,
    /// The groups of rows that were not read, which [`unlease`] frees if nothing of them is leased any more.
    pub held_up: Touched,
}

/// Chooses up to `max` messages and leases them until `until`. Times are in ms since 1970. What is leased is to be read
/// by [`read_leased`].
pub(super) fn lease(transaction: &Transaction<'_>, queue: i64, max: usize, now: i64, until: i64) -> Result<Leased, Fault> {
    promote(transaction, queue, now)?;
    let chosen = choose(transaction, queue, max)?;
    if !chosen.is_empty() {
        let leased = rows(chosen.iter().map(|(seq, _)| *seq));
        transaction.prepare_cached(LEASE)?.execute((&leased, until))?;
        groups::lock(transaction, queue, &groups_of(&chosen))?;
    }
    Ok(Leased { rows: chosen, until })
}

/// Reads what was leased up to the message that reaches `bytes`, and numbers it from `sequence` on. Only reads. A row that
/// cannot be read must not stop the queue: it is left out, with the messages of its group behind it.
pub(super) fn read_leased(transaction: &Transaction<'_>, leased: &Leased, sequence: u64, bytes: usize) -> Result<Copies, Fault> {
    let mut left = bytes;
    let mut read_rows = match contents(transaction, leased.seqs(), leased.until, &mut left) {
        Ok(read_rows) => read_rows,
        Err(_) => {
            left = bytes;
            one_by_one(transaction, leased.seqs(), leased.until, &mut left)?
        }
    };
    let mut copies =
        Copies { good: Vec::with_capacity(leased.rows.len()), bad: Vec::new(), unread: Vec::new(), held_up: Touched::new() };
    for (seq, group) in &leased.rows {
        if group.as_ref().is_some_and(|group| copies.held_up.contains(group)) {
            copies.unread.push(*seq);
            continue;
        }
        match read_rows.remove(seq) {
            Some(Ok(Content { message, receive, settled })) => {
                let receipt = Receipt::Row { row: *seq, receive };
                let sequence = sequence + copies.good.len() as u64;
                copies.good.push(Received { message: Arc::new(message), receipt, sequence, settled });
            }
            Some(Err(why)) => {
                copies.bad.push(format!("row {seq} of messages: {why}; correct or delete it with the sqlite3 program"));
                copies.held_up.extend(group.clone());
            }
            None if left == 0 => {
                copies.unread.push(*seq);
                copies.held_up.extend(group.clone());
            }
            // The lease has ended already and the message is with another process, or someone has deleted it.
            None => copies.held_up.extend(group.clone()),
        }
    }
    Ok(copies)
}

/// What a row holds.
struct Content {
    message: Message,
    /// The number of the receive, which counts those that [`Message::receives`] does not.
    receive: i64,
    settled: Option<Box<SettledPart>>,
}

type Contents = HashMap<i64, Result<Content, String>>;

/// Returns what the rows hold, or what is wrong with a row, until no bytes are `left`; then the rows behind it are missing.
/// Fails if the file cannot be read where one of them is.
fn contents(
    transaction: &Transaction<'_>,
    wanted: impl Iterator<Item = i64>,
    until: i64,
    left: &mut usize,
) -> Result<Contents, Fault> {
    let mut content = transaction.prepare_cached(CONTENT)?;
    let mut found = content.query((rows(wanted), until))?;
    let mut contents = Contents::new();
    while *left > 0
        && let Some(row) = found.next()?
    {
        let content = read(row);
        *left = left.saturating_sub(content.as_ref().map_or(0, |content| content.message.weight()));
        contents.insert(row.get(7)?, content);
    }
    Ok(contents)
}

/// Does the same row by row, so that a damaged page of the file stops no other messages than those that are on it. Fails
/// if no row can be read.
fn one_by_one(
    transaction: &Transaction<'_>,
    wanted: impl Iterator<Item = i64>,
    until: i64,
    left: &mut usize,
) -> Result<Contents, Fault> {
    let (mut all, mut readable, mut last) = (Contents::new(), false, None);
    for seq in wanted {
        if *left == 0 {
            break;
        }
        match contents(transaction, std::iter::once(seq), until, left) {
            Ok(content) => {
                readable |= !content.is_empty();
                all.extend(content);
            }
            Err(fault) => {
                all.insert(seq, Err(fault.to_string()));
                last = Some(fault);
            }
        }
    }
    match last {
        Some(fault) if !readable => Err(fault),
        _ => Ok(all),
    }
}

/// Gives back rows that could not be read for what is before them. The leases of that keep their groups locked, unless
/// it was deleted meanwhile: then nothing else would free the groups.
pub(super) fn unlease(
    transaction: &Transaction<'_>,
    queue: i64,
    unread: impl Iterator<Item = i64>,
    groups: &Touched,
    leased: &Leased,
) -> Result<(), Fault> {
    transaction.prepare_cached(UNLEASE)?.execute((rows(unread), leased.until))?;
    groups::free(transaction, queue, groups)
}

/// Gives back all that was leased, because nothing of it could be read.
pub(super) fn unlease_all(transaction: &Transaction<'_>, queue: i64, leased: &Leased) -> Result<(), Fault> {
    unlease(transaction, queue, leased.seqs(), &groups_of(&leased.rows), leased)
}

impl Leased {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn seqs(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().map(|(seq, _)| *seq)
    }
}

fn groups_of(rows: &[(i64, Option<String>)]) -> Touched {
    rows.iter().filter_map(|(_, group)| group.clone()).collect()
}

/// Returns whether a [`lease`] would find a message. Only reads.
pub(super) fn any(transaction: &Transaction<'_>, queue: i64, now: i64) -> Result<bool, Fault> {
    Ok(transaction.prepare_cached(ANY)?.query_row([queue, now], |row| row.get(0))?)
}

fn promote(transaction: &Transaction<'_>, queue: i64, now: i64) -> Result<(), Fault> {
    let mut promote = transaction.prepare_cached(PROMOTE)?;
    let mut touched = Touched::new();
    for group in promote.query_map([queue, now], |row| row.get::<_, Option<String>>(0))? {
        touched.extend(group?);
    }
    groups::free(transaction, queue, &touched)
}

/// Returns the oldest messages that may be taken, in order of age, over all groups and all messages that stand alone.
fn choose(transaction: &Transaction<'_>, queue: i64, max: usize) -> Result<Vec<(i64, Option<String>)>, Fault> {
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let mut oldest = transaction.prepare_cached(OLDEST)?;
    let alone: Vec<i64> = oldest.query_map([queue, limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut free = transaction.prepare_cached(FREE_GROUPS)?;
    let heads: Vec<(i64, String)> =
        free.query_map([queue, limit], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    if heads.is_empty() {
        return Ok(alone.into_iter().map(|seq| (seq, None)).collect());
    }
    // Each of the `max` oldest messages belongs to one of the `max`
    // groups with the oldest heads, so no other group matters.
    let mut next_of_group = transaction.prepare_cached(NEXT_OF_GROUP)?;
    let mut candidates: BinaryHeap<_> = heads.iter().map(|(head, group)| Reverse((*head, Some(group.as_str())))).collect();
    candidates.extend(alone.into_iter().map(|seq| Reverse((seq, None))));
    let mut chosen = Vec::new();
    while chosen.len() < max
        && let Some(Reverse((seq, group))) = candidates.pop()
    {
        chosen.push((seq, group.map(str::to_owned)));
        let Some(group) = group else { continue };
        let next: Option<(i64, bool)> =
            next_of_group.query_row(params![queue, group, seq], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((next, true)) = next {
            candidates.push(Reverse((next, Some(group))));
        }
    }
    Ok(chosen)
}

/// Returns what a row holds.
fn read(row: &Row<'_>) -> Result<Content, String> {
    let id = text(row, 0)?.ok_or("it has no content, the file is damaged")?;
    let of = |why: String| format!("message {id}: {why}");
    let settled = content::settled_from_text(text(row, 8).map_err(of)?).map_err(of)?;
    let number = |column| row.get::<_, u32>(column).map_err(|error| of(error.to_string()));
    let receive = number(5)?;
    let message = Message {
        id: id.into(),
        body: row.get::<_, Vec<u8>>(2).map_err(|error| of(error.to_string()))?.into(),
        attributes: content::attributes_from_text(text(row, 3).map_err(of)?).map_err(of)?,
        group: text(row, 6).map_err(of)?.map(Into::into),
        sent_at: from_millis(row.get(1).map_err(|error| of(error.to_string()))?),
        receives: receive.saturating_sub(number(9)?).max(1),
        open: content::open_from_text(text(row, 4).map_err(of)?).map_err(of)?,
    };
    Ok(Content { message, receive: receive.into(), settled: settled.map(Box::new) })
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row str>, String> {
    let value = row.get_ref(column).map_err(|error| error.to_string())?;
    value.as_str_or_null().map_err(|error| format!("column {column}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;

    #[test]
    fn a_receive_walks_no_further_than_what_it_takes() {
        for (statement, uses) in [
            (PROMOTE, "SEARCH messages USING INDEX hidden (queue=? AND hidden_until<?)"),
            (OLDEST, "SEARCH messages USING INDEX visible (queue=?)"),
            (FREE_GROUPS, "SEARCH free_groups USING PRIMARY KEY (queue=?)"),
            (NEXT_OF_GROUP, "SEARCH messages USING INDEX grouped (queue=? AND grp=? AND seq>?)"),
            (LEASE, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"),
            (UNLEASE, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"),
            (CONTENT, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"),
            (CONTENT, "SEARCH contents USING INTEGER PRIMARY KEY (rowid=?)"),
        ] {
            let plan = plan(statement);
            assert!(plan.contains(uses), "{statement}: {plan}");
            assert!(!plan.contains("SCAN messages") && !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
    }

    #[test]
    fn to_look_whether_there_is_anything_takes_three_look_ups() {
        let plan = plan(ANY);
        assert!(plan.contains("INDEX visible (queue=?)"), "{plan}");
        assert!(plan.contains("INDEX hidden (queue=? AND hidden_until<?)"), "{plan}");
        assert!(plan.contains("SEARCH free_groups USING"), "{plan}");
    }
}
