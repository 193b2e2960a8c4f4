//! What the readers of an account's line share: when an answer is full, and what a row holds.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::park::{Row, Unparked, Want};
use crate::message::{Item, Message, Receipt};
use crate::queue::clock::from_millis;
use crate::queue::sqlite::content;

/// Returns how many rows to look for: one more than wanted shows whether there are more.
pub(super) fn limit(want: &Want) -> i64 {
    i64::try_from(want.rows).unwrap_or(i64::MAX).saturating_add(1)
}

pub(super) fn nothing_of(want: &Want) -> Unparked {
    Unparked { account: want.account.clone(), rows: Vec::new(), unreadable: Vec::new(), last: None, more: false }
}

/// Returns whether all that is wanted was looked at, or as many bytes as an answer holds. If so, it notes that there is
/// more: to be called when a further row has been found.
pub(super) fn is_enough(unparked: &mut Unparked, want: &Want, left: usize) -> bool {
    unparked.more = unparked.rows.len() + unparked.unreadable.len() >= want.rows || left == 0;
    unparked.more
}

pub(super) fn add(unparked: &mut Unparked, row: Result<Row, String>, left: &mut usize) {
    match row {
        Ok(row) => {
            *left = left.saturating_sub(row.item.payload.len());
            unparked.rows.push(row);
        }
        Err(why) => unparked.unreadable.push(why),
    }
}

/// Returns the row, or what is wrong with it.
pub(super) fn read(row: &rusqlite::Row<'_>, now: i64) -> Result<Row, String> {
    let number: i64 = row.get(0).map_err(|error| error.to_string())?;
    columns(row, number, now)
        .map_err(|why| format!("row {number} of parked: {why}; correct it with the sqlite3 program and restart, or delete it"))
}

fn columns(row: &rusqlite::Row<'_>, number: i64, now: i64) -> Result<Row, Box<dyn Error>> {
    let id = row.get_ref(2)?.as_str()?;
    let message = Message {
        id: id.into(),
        body: Bytes::new(),
        attributes: content::attributes_from_text(row.get_ref(7)?.as_str_or_null()?)?,
        group: None,
        sent_at: from_millis(row.get(4)?),
        receives: row.get(6)?,
        open: None,
    };
    let waits_since: i64 = row.get(5)?;
    let waited = u64::try_from(now.saturating_sub(waits_since)).unwrap_or(0);
    Ok(Row {
        receipt: Receipt::Row { row: number, receive: 1 },
        place: row.get(1)?,
        item: Item { message: Arc::new(message), index: row.get(3)?, payload: row.get::<_, Vec<u8>>(8)?.into() },
        waited: std::time::Duration::from_millis(waited),
    })
}
