//! Putting messages on the queue, from a producer or from a dead
//! letter. All functions run in a transaction of the caller.

use compact_str::CompactString;
use rusqlite::{Transaction, params};

use super::fault::Fault;
use super::groups::Touched;
use super::leftovers;

const INSERT: &str = "
    INSERT INTO messages (queue, grp, hidden_until, delayed, bulky, settled) VALUES (?1, ?2, ?3, ?3 IS NOT NULL, ?4, ?5)";

const INSERT_CONTENT: &str = "
    INSERT INTO contents (seq, id, sent_at, body, attributes, open, redrives) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// A message on its way into the file.
pub(super) struct Insert<'a> {
    pub id: &'a str,
    pub group: Option<CompactString>,
    pub body: &'a [u8],
    /// The attributes as [`super::content`] writes them; `None` if there are none.
    pub attributes: Option<&'a str>,
    /// The indices of the deliveries that are open, as a list; `None` for all.
    pub open: Option<&'a str>,
    /// The deliveries that are settled, as [`super::content`] writes them; `None` if nothing is known.
    pub settled: Option<&'a str>,
    /// How often the message was redriven.
    pub redrives: u32,
    /// When the message was sent, in ms since 1970.
    pub sent_at: i64,
    /// When the message becomes visible, in ms since 1970; `None` if at once.
    pub hidden_until: Option<i64>,
}

/// Returns by about how many bytes a message makes the file larger: its contents, and its row in up to two indices.
pub(super) fn weight(body: &[u8], attributes: Option<&str>) -> u64 {
    (body.len() + attributes.map_or(0, str::len) + 200) as u64
}

/// Puts one message behind all others. The caller must free the groups in `touched` afterwards.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    queue: i64,
    message: &Insert<'_>,
    touched: &mut Touched,
) -> Result<(), Fault> {
    let group = message.group.as_deref();
    let bulky = leftovers::is_bulky(message.body, message.attributes);
    let seq = transaction.prepare_cached(INSERT)?.insert(params![queue, group, message.hidden_until, bulky, message.settled])?;
    transaction.prepare_cached(INSERT_CONTENT)?.execute(params![
        seq,
        message.id,
        message.sent_at,
        message.body,
        message.attributes,
        message.open,
        message.redrives,
    ])?;
    touched.extend(group.map(str::to_owned));
    Ok(())
}
