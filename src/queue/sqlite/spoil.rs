//! For tests: damage to a file, as a bad sector leaves it.

use std::path::Path;

use rusqlite::Connection;

/// Makes a chain of pages end nowhere: the first one that `mark` fills. No store may have the file open.
pub(in crate::queue) fn spoil(path: &Path, mark: &str) {
    let file = Connection::open(path).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let size = file.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).unwrap() as usize;
    drop(file);
    let mut bytes = std::fs::read(path).unwrap();
    let marks = |page: &[u8]| page.windows(mark.len()).filter(|window| *window == mark.as_bytes()).count();
    // A page of a tree begins with its kind, and one of a chain with the number of the next, which has a zero in front.
    let mut pages = bytes.chunks_mut(size);
    let page = pages.find(|page| page[0] == 0 && marks(page) * mark.len() > size / 2).unwrap();
    page[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    std::fs::write(path, bytes).unwrap();
}

/// Makes the first page of a table or an index one of no kind. No store may have the file open.
pub(in crate::queue) fn spoil_root(path: &Path, name: &str) {
    let file = Connection::open(path).unwrap();
    let root = file.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [name], |row| row.get::<_, u32>(0)).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let size = file.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).unwrap();
    drop(file);
    let mut bytes = std::fs::read(path).unwrap();
    let page = ((root - 1) * size) as usize;
    bytes[page..page + 8].fill(0xff);
    std::fs::write(path, bytes).unwrap();
}
