//! The placeholders `{queue}` and `{account}`, as the URLs and paths of partners contain them.
//!
//! Pure.

/// A piece of a text with placeholders.
#[derive(Debug)]
pub enum Piece {
    /// Text that stands for itself; never empty.
    Text(String),
    /// The name of the queue.
    Queue,
    /// The account.
    Account,
}

impl Piece {
    /// Returns whether a value takes the place of the piece.
    pub fn is_placeholder(&self) -> bool {
        !matches!(self, Self::Text(_))
    }
}

/// Splits a text into its pieces. The error is an unknown placeholder with its braces, or the text from an unmatched brace
/// on.
pub fn pieces(text: &str) -> Result<Vec<Piece>, &str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from_brace) = rest.split_at(at);
        push_text(&mut pieces, before);
        if let Some(after) = from_brace.strip_prefix("{queue}") {
            pieces.push(Piece::Queue);
            rest = after;
        } else if let Some(after) = from_brace.strip_prefix("{account}") {
            pieces.push(Piece::Account);
            rest = after;
        } else {
            return Err(from_brace.split_inclusive('}').next().unwrap_or(from_brace));
        }
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}
