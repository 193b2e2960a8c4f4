//! One open file of a partner: found or made without leaving its folder, held against other processes, its torn last line repaired.
//!
//! Called by deliver threads, under the lock of the file's slot.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::disk::Disk;
use super::template::Place;
use crate::json;

/// How much of a torn line is looked at in one read.
const CHUNK: usize = 64 * 1024;

/// Most bytes of a last line that is taken for one of ours: what a handler in jq may give, and 16 times the longest body.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A file open for appending.
pub struct OpenFile {
    pub file: File,
    pub device: u64,
    inode: u64,
    pub progress: Mutex<Progress>,
}

/// How far a file has got. Changed by the thread that appends, and by the leader of a sync round.
pub struct Progress {
    /// Everything before this offset has survived a sync, or was there when the file was opened.
    pub durable: u64,
    /// How often the file was cut back because a sync failed: what was appended before such a cut is gone.
    pub cuts: u64,
    /// Cutting back failed: the file must be opened again, which repairs what can be.
    pub broken: bool,
    /// The folders that lead to the file, until they have been synced. Also when the file was there before: the process that made it
    /// may have died before its entry was on disk.
    pub folders: Vec<Arc<Folder>>,
}

/// A folder whose entries need a sync.
pub struct Folder {
    pub file: File,
    pub inode: u64,
}

impl OpenFile {
    /// Opens the file, and makes it and its folders where they are missing.
    pub fn open(place: &Place) -> io::Result<Self> {
        make_root(&place.root)?;
        let mut folder = Arc::new(Folder::of(File::open(&place.root)?)?);
        let mut folders = vec![Arc::clone(&folder)];
        for name in &place.folders {
            folder = Arc::new(Folder::of(open_folder(&folder.file, name)?)?);
            folders.push(Arc::clone(&folder));
        }
        let file = open_in(&folder.file, &place.file, place.follow)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is not a regular file, so nothing in it can be made durable",
            ));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::WouldBlock, "another process writes it: give each its own path"));
            }
            // A file system without locks: the administrator's word that there is one process has to do.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let durable = repair(&file, meta.len(), &place.path)?;
        let progress = Progress { durable, cuts: 0, broken: false, folders };
        Ok(Self { file, device: meta.dev(), inode: meta.ino(), progress: Mutex::new(progress) })
    }

    /// Appends whole lines and says how far the file goes now and which cut it has seen. A failure leaves none of them behind. `None`:
    /// nothing was written, since the path leads here no more: someone has moved the file away or deleted it, or it is broken.
    pub fn append(&self, place: &Place, lines: &[u8], disk: &dyn Disk) -> io::Result<Option<(u64, u64)>> {
        let mut progress = self.progress.lock();
        // One call tells which file is there and how long it is.
        let Some(before) = self.length_at(place)?.filter(|_| !progress.broken) else { return Ok(None) };
        // Someone emptied the file from under us (`copytruncate`): what was durable in it is theirs now.
        progress.durable = progress.durable.min(before);
        if let Err(error) = disk.append(&self.file, lines) {
            progress.broken |= self.file.set_len(before).is_err();
            return Err(error);
        }
        Ok(Some((before + lines.len() as u64, progress.cuts)))
    }

    /// Bytes of this file, if the path leads to it.
    fn length_at(&self, place: &Place) -> io::Result<Option<u64>> {
        let meta = if place.follow { fs::metadata(&place.path) } else { fs::symlink_metadata(&place.path) };
        match meta {
            Ok(meta) if (meta.dev(), meta.ino()) == (self.device, self.inode) => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes back everything that no sync has confirmed.
    pub fn cut_back(&self) {
        let mut progress = self.progress.lock();
        progress.cuts += 1;
        let unconfirmed = self.file.metadata().map(|meta| meta.len() > progress.durable);
        let cut = unconfirmed.and_then(|unconfirmed| if unconfirmed { self.file.set_len(progress.durable) } else { Ok(()) });
        progress.broken |= cut.is_err();
    }
}

impl Folder {
    fn of(file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }
}

/// Makes the missing part of the root, each level durable before the next: below it the entries are synced with the files.
fn make_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_root(parent)?;
    match fs::create_dir(root) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

/// Opens a folder by its name in another, and makes it where it is missing. A symbolic link in its place is an error.
fn open_folder(parent: &File, name: &str) -> io::Result<File> {
    let open = || {
        rustix::fs::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let fd = match open() {
        Err(rustix::io::Errno::NOENT) => match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => open()?,
            Err(error) => return Err(error.into()),
        },
        other => other?,
    };
    Ok(fd.into())
}

/// Opens the file itself. Not blocking: a named pipe in its place must not hold the thread.
fn open_in(folder: &File, name: &str, follow: bool) -> io::Result<File> {
    let mut flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?.into())
}

/// Ends the last line, where it lacks its line feed, so that the next one does not become a part of it. Returns the length that is left.
///
/// Ours is a line whose writer died, or lost the power, before it could report it as delivered: it comes again. What it left is the
/// beginning of a JSON value, and that alone is cut off, since nobody could read it: one line, of [`LONGEST`] bytes at most. A whole value
/// lacks nothing but its line feed, and gets it. So does everything else (text that a handler of one's own gave, or that a person or
/// another program wrote): not ours to delete. A longer last line is an error: this is hardly a file of lines.
fn repair(mut file: &File, length: u64, path: &Path) -> io::Result<u64> {
    let Some(start) = last_line(file, length)? else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "its last line has no end within {} MiB, so that it is no file of ours; move it away, or end it with a line feed",
                LONGEST / 1024 / 1024
            ),
        ));
    };
    if start == length {
        return Ok(length);
    }
    let mut line = vec![0; usize::try_from(length - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut line, start)?;
    let bytes = line.len();
    if is_beginning(&line) {
        file.set_len(start)?;
        log::warn!("file={path:?} torn_bytes={bytes}: a last line that was never finished was cut off; it is delivered again");
        return Ok(start);
    }
    file.write_all(b"\n")?;
    log::warn!(
        "file={path:?} bytes={bytes}: the last line had no line feed and got one; if it is one of ours, it is delivered again"
    );
    Ok(length + 1)
}

/// Where the last line begins; `length`, where it has its end. `None`: it is longer than one of ours.
fn last_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length;
    // The first look is at one byte, since nearly every file ends well.
    let mut chunk = vec![0; 1];
    while end > 0 && length - end <= LONGEST {
        let size = chunk.len().min(usize::try_from(end).unwrap_or(usize::MAX));
        let start = end - size as u64;
        chunk.truncate(size);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
        chunk.resize(CHUNK, 0);
    }
    Ok(Some(end).filter(|end| length - end <= LONGEST))
}

/// Whether a text is JSON that ends too early: the beginning of a value, and not the whole of one. Of a number nobody can tell, so it counts
/// as a beginning.
fn is_beginning(line: &[u8]) -> bool {
    let text = match std::str::from_utf8(line) {
        // Torn within a character.
        Err(error) if error.error_len().is_none() => line.get(..error.valid_up_to()).unwrap_or_default(),
        _ => line,
    };
    match json::check(text, json::Bounds::NONE) {
        Ok(()) => text.len() == line.len() && line.last().is_some_and(u8::is_ascii_digit),
        Err(error) => error.problem == json::Problem::Ends,
    }
}
