//! One open file of a partner: found or created without leaving its folder, locked against other processes, its
//! torn last line repaired.
//!
//! Called by delivery threads, under the lock of the file's slot.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::Volume;
use super::disk::Disk;
use super::held::{Claim, Found, Held, Id};
use super::template::FilePath;
use crate::json;

/// The number of bytes of a torn line that are read at once.
const CHUNK: usize = 64 * 1024;

/// The largest number of bytes of a last line that can be one of ours: the most that a jq handler may return, and
/// 16 times the longest body.
const MAX_LAST_LINE: u64 = 16 * 1024 * 1024;

/// A file that is open for appending, shared by all paths that lead to it.
pub struct OpenFile {
    pub file: File,
    pub device: u64,
    inode: u64,
    /// The file system of the file, from the first append on.
    pub volume: OnceLock<Arc<Volume>>,
    pub progress: Mutex<Progress>,
    /// Dropped after the file, so that the next thread that opens the file does not find this process's own lock.
    claim: Claim<Self>,
}

/// How far a file has got. Changed by the thread that appends, and by the leader of a sync round.
pub struct Progress {
    /// The length up to which the file has survived a sync, or was there when it was opened.
    pub durable: u64,
    /// The length after the last append or cut of ours. A file that is shorter was cut short by another program.
    length: u64,
    /// How often the file was cut, by us or by another program. Lines that waited for their sync at such a cut are gone.
    pub cuts: u64,
    /// Why it was cut last.
    pub cut: &'static str,
    /// Whether cutting back failed. The file must then be repaired before anything is appended.
    pub broken: bool,
    /// The folders that lead to the file, until they have been synced. They are listed even if the file existed before,
    /// since the process that created it may have died before its entry was on disk.
    pub folders: Vec<Arc<Folder>>,
}

/// What another program did that made a file shorter. Where it makes a copy
/// before (`copytruncate`), that copy may or may not have the lines.
pub const CUT_SHORT: &str = "it was cut short while it was written; the lines are written again";

/// A folder whose entries need a sync.
pub struct Folder {
    pub file: File,
    pub device: u64,
    pub inode: u64,
    /// Whether this is the partner's file itself, because its folder
    /// may not be opened. The whole file system is synced then.
    pub stand_in: bool,
    /// Counts the folder among the open ones.
    _counted: Arc<()>,
}

impl OpenFile {
    /// Opens the file, and creates it and its folders if they are missing. A file that
    /// is open already by another path is shared. Blocks for as long as the disk does.
    pub fn open(target: &FilePath, held: &Held<Self>) -> io::Result<Arc<Self>> {
        make_root(&target.root)?;
        let mut folder = Arc::new(Folder::of(File::open(&target.root)?, held.folder())?);
        let mut folders = vec![Arc::clone(&folder)];
        for name in &target.folders {
            folder = Arc::new(Folder::of(open_folder(&folder.file, name)?, held.folder())?);
            folders.push(Arc::clone(&folder));
        }
        let file = open_in(&folder.file, &target.file, target.follow)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is not a regular file, so nothing in it can be made durable",
            ));
        }
        if target.follow
            && let Some(home) = beyond_link(target, &folder, &file, &meta, held)?
        {
            folders = vec![Arc::new(home)];
        }
        let (device, inode) = (meta.dev(), meta.ino());
        let claim = match held.find((device, inode)) {
            Found::Open(open) => {
                let mut progress = open.progress.lock();
                folders.retain(|folder| progress.folders.iter().all(|known| known.id() != folder.id()));
                progress.folders.append(&mut folders);
                drop(progress);
                return Ok(open);
            }
            Found::Free(claim) => claim,
        };
        let progress = Progress { durable: 0, length: 0, cuts: 0, cut: "", broken: false, folders };
        let mut open = Self { file, device, inode, volume: OnceLock::new(), progress: Mutex::new(progress), claim };
        lock(&open.file)?;
        // The length counts only from here on: another process may have written until it released the lock.
        let length = repair(&open.file, open.file.metadata()?.len(), &target.path)?;
        let progress = open.progress.get_mut();
        (progress.durable, progress.length) = (length, length);
        let open = Arc::new(open);
        open.claim.opened(&open);
        Ok(open)
    }

    /// Appends whole lines. Returns the new length of the file and the number of cuts it has seen, or `None`
    /// if nothing was written because the path no longer leads to this file: it was moved away or deleted.
    ///
    /// After an error the lines are removed again. If that fails too, the
    /// file is marked as broken, and the next append repairs it first.
    pub fn append(&self, target: &FilePath, lines: &[u8], disk: &dyn Disk) -> io::Result<Option<(u64, u64)>> {
        let mut progress = self.progress.lock();
        // This call tells both which file is there and how long it is.
        let Some(mut before) = self.length_at(target)? else { return Ok(None) };
        if before < progress.length {
            // Once these lines are appended, the file may be as long again as those expect that wait for their sync.
            progress.cuts += 1;
            progress.cut = CUT_SHORT;
        }
        if progress.broken {
            before = repair(&self.file, before, &target.path)?;
            progress.broken = false;
        }
        // If another program emptied the file (`copytruncate`), the
        // lines that were durable in it are no longer our concern.
        progress.durable = progress.durable.min(before);
        progress.length = before;
        if let Err(error) = disk.append(&self.file, lines) {
            progress.broken |= self.file.set_len(before).is_err();
            return Err(error);
        }
        progress.length = before + lines.len() as u64;
        Ok(Some((progress.length, progress.cuts)))
    }

    /// Returns the length of this file, or `None` if the path does not lead to it.
    fn length_at(&self, target: &FilePath) -> io::Result<Option<u64>> {
        let meta = if target.follow { fs::metadata(&target.path) } else { fs::symlink_metadata(&target.path) };
        match meta {
            Ok(meta) if (meta.dev(), meta.ino()) == (self.device, self.inode) => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a folder on the file's file system that can stay open for longer than
    /// the file: one of those that lead to the file, else the file itself, as a
    /// stand-in. The file would keep its blocks after it was moved away and deleted.
    pub fn anchor(&self, held: &Held<Self>) -> io::Result<Arc<Folder>> {
        let progress = self.progress.lock();
        let beside = progress.folders.iter().rev().find(|folder| folder.device == self.device && !folder.stand_in);
        beside.map_or_else(|| Folder::stand_in(&self.file, held.folder()).map(Arc::new), |folder| Ok(Arc::clone(folder)))
    }

    /// Returns whether the file keeps folders open because they have not been synced yet.
    pub fn has_folders(&self) -> bool {
        !self.progress.lock().folders.is_empty()
    }

    /// Removes everything that no sync has confirmed.
    pub fn cut_back(&self) {
        let mut progress = self.progress.lock();
        progress.cuts += 1;
        progress.cut = "an earlier sync of the same file failed";
        progress.length = progress.length.min(progress.durable);
        let unconfirmed = self.file.metadata().map(|meta| meta.len() > progress.durable);
        let cut = unconfirmed.and_then(|unconfirmed| if unconfirmed { self.file.set_len(progress.durable) } else { Ok(()) });
        progress.broken |= cut.is_err();
    }
}

impl Folder {
    fn of(file: File, counted: Arc<()>) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { file, device: meta.dev(), inode: meta.ino(), stand_in: false, _counted: counted })
    }

    pub fn stand_in(file: &File, counted: Arc<()>) -> io::Result<Self> {
        Ok(Self { stand_in: true, ..Self::of(file.try_clone()?, counted)? })
    }

    /// Syncs the folder, and returns once its entries survive a power loss.
    pub fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.stand_in { disk.sync_all(&self.file) } else { disk.sync(&self.file) }
    }

    /// Returns the identity of the folder.
    pub fn id(&self) -> Id {
        (self.device, self.inode)
    }

    /// Returns whether `name` in this folder is the file of `meta` itself, and not a symbolic link to it.
    fn holds(&self, name: impl rustix::path::Arg, meta: &Metadata) -> io::Result<bool> {
        let entry = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((entry.st_dev, entry.st_ino) == (meta.dev(), meta.ino()))
    }
}

/// Returns the folder in which the file itself is, if the path is a symbolic link to it; else `None`.
/// That folder may be on another file system, and the new entry is there if the file was just created.
fn beyond_link(
    target: &FilePath,
    folder: &Folder,
    file: &File,
    meta: &Metadata,
    held: &Held<OpenFile>,
) -> io::Result<Option<Folder>> {
    if folder.holds(&*target.file, meta)? {
        return Ok(None);
    }
    let path = fs::canonicalize(&target.path)?;
    let home = match (path.parent().map(File::open), path.file_name()) {
        (Some(Ok(home)), Some(name)) => {
            Some(Folder::of(home, held.folder())?).filter(|home| home.holds(name, meta).unwrap_or(false))
        }
        (Some(Err(error)), _) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
        // The folder may not be read, or the link has just been changed.
        _ => None,
    };
    home.map_or_else(|| Folder::stand_in(file, held.folder()), Ok).map(Some)
}

/// Keeps other processes from writing the file while it is open.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::WouldBlock, "another process writes it: give each its own path"))
        }
        // The file system has no locks, so the administrator has to make sure that there is only one process.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Creates the missing part of the root, each level durable before the
/// next. Folders below the root are synced together with the files.
fn make_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_root(parent)?;
    match fs::create_dir(root) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(io::Error::new(
            error.kind(),
            format!("{} is a file, or a link that leads nowhere, where a folder belongs: move it away", root.display()),
        )),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

/// Opens a folder by its name in another, and creates it if it is missing. A symbolic link in its place is an error.
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

/// Opens the file itself, without blocking: a named pipe in its place must not hold up the thread.
fn open_in(folder: &File, name: &str, follow: bool) -> io::Result<File> {
    let mut flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?.into())
}

/// Ends the last line if it lacks its line feed, so that the next line does not become part of it. Returns
/// the length that is left.
///
/// A line of ours lacks its end if its writer died, or lost power, before it could report the line as delivered. Such a
/// line is delivered again. What is left of it is the beginning of a JSON value, which no reader could use. It alone is
/// cut off: one line, of at most [`MAX_LAST_LINE`] bytes. A complete value lacks only its line feed, and gets it. So does
/// everything else (text from a library user's handler, or written by a person or another program), since it is not
/// ours to delete. A longer last line is an error, since this is hardly a file of lines.
fn repair(mut file: &File, length: u64, path: &Path) -> io::Result<u64> {
    let Some(start) = last_line(file, length)? else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "its last line has no end within {} MiB, so it is not one of our files; move it away, or end it with a line feed",
                MAX_LAST_LINE / 1024 / 1024
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

/// Returns the offset at which the last line begins, which is `length` if that line is ended, or `None` if the line is
/// longer than one of ours.
fn last_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length;
    // The first read is of one byte, since nearly every file ends well.
    let mut chunk = vec![0; 1];
    while end > 0 && length - end <= MAX_LAST_LINE {
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
    Ok(Some(end).filter(|end| length - end <= MAX_LAST_LINE))
}

/// Returns whether a text is JSON that ends too early: the beginning of a value, but not a complete one. A number may
/// always go on, so it counts as a beginning.
fn is_beginning(line: &[u8]) -> bool {
    let text = match std::str::from_utf8(line) {
        // The line is torn within a character.
        Err(error) if error.error_len().is_none() => line.get(..error.valid_up_to()).unwrap_or_default(),
        _ => line,
    };
    match json::check(text, json::Bounds::NONE) {
        Ok(()) => text.len() == line.len() && line.last().is_some_and(u8::is_ascii_digit),
        Err(error) => error.problem == json::Problem::Ends,
    }
}
