//! One open file of a partner: found or created without leaving its folder, locked against other processes, its
//! torn last line repaired.
//!
//! Called by delivery threads, under the lock of the file's slot.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::disk::Disk;
use super::folder::{self, Folder};
use super::held::{Claim, Found, Held};
use super::last_line::repair;
use super::template::FilePath;

/// A file that is open for appending, shared by all paths that lead to it.
pub struct OpenFile {
    pub file: File,
    pub device: u64,
    inode: u64,
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

impl OpenFile {
    /// Opens the file, and creates it and its folders if they are missing. A file that
    /// is open already by another path is shared. Blocks for as long as the disk does.
    pub fn open(target: &FilePath, held: &Held<Self>) -> io::Result<Arc<Self>> {
        folder::make_root(&target.root)?;
        let mut folder = Arc::new(Folder::of(File::open(&target.root)?, held.folder())?);
        let mut folders = vec![Arc::clone(&folder)];
        for name in &target.folders {
            folder = Arc::new(Folder::of(folder::open_in(&folder.file, name)?, held.folder())?);
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
            && let Some(home) = folder::beyond_link(target, &folder, &file, &meta, held)?
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
        let mut open = Self { file, device, inode, progress: Mutex::new(progress), claim };
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

impl Drop for OpenFile {
    /// Releases the lock. Closing the file is not enough: a child of this process that is about to start has it open, too.
    fn drop(&mut self) {
        // An error leaves the lock to the close.
        let _ = self.file.unlock();
    }
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

/// Opens the file itself, without blocking: a named pipe in its place must not hold up the thread.
fn open_in(folder: &File, name: &str, follow: bool) -> io::Result<File> {
    let mut flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?.into())
}
