//! One open file of a partner: found or made without leaving its folder, held against other processes, its torn last line repaired.
//!
//! Called by deliver threads, under the lock of the file's slot.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::disk::Disk;
use super::template::Place;

/// How much of a torn line is looked at in one read.
const CHUNK: usize = 64 * 1024;

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
                io::ErrorKind::InvalidInput,
                "it is not a regular file, so nothing in it can be made durable",
            ));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process writes it: give each its own path"));
            }
            // A file system without locks: the administrator's word that there is one process has to do.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let durable = repair(&file, meta.len(), &place.path)?;
        let progress = Progress { durable, cuts: 0, broken: false, folders };
        Ok(Self { file, device: meta.dev(), inode: meta.ino(), progress: Mutex::new(progress) })
    }

    /// Whether the path still leads to this file: it does not once someone has moved it away or deleted it.
    pub fn is_at(&self, place: &Place) -> io::Result<bool> {
        let meta = if place.follow { fs::metadata(&place.path) } else { fs::symlink_metadata(&place.path) };
        match meta {
            Ok(meta) => Ok((meta.dev(), meta.ino()) == (self.device, self.inode)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Appends whole lines and says how far the file goes now and which cut it has seen. A failure leaves none of them behind.
    pub fn append(&self, lines: &[u8], disk: &dyn Disk) -> io::Result<(u64, u64)> {
        let mut progress = self.progress.lock();
        let before = self.file.metadata()?.len();
        // Someone emptied the file from under us (`copytruncate`): what was durable in it is theirs now.
        progress.durable = progress.durable.min(before);
        if let Err(error) = disk.append(&self.file, lines) {
            progress.broken |= self.file.set_len(before).is_err();
            return Err(error);
        }
        Ok((before + lines.len() as u64, progress.cuts))
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
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
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

/// Cuts off a last line without a line feed: the process that wrote it died before it could report it as delivered, so it comes again.
/// Returns the length that is left.
fn repair(file: &File, length: u64, path: &Path) -> io::Result<u64> {
    let mut end = length;
    let mut chunk = vec![0; 1];
    while end > 0 {
        let size = chunk.len().min(usize::try_from(end).unwrap_or(usize::MAX));
        let start = end - size as u64;
        chunk.truncate(size);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
        // The first look is at one byte, since nearly every file ends well.
        chunk.resize(CHUNK, 0);
    }
    if end < length {
        file.set_len(end)?;
        log::warn!(
            "file={path:?} torn_bytes={}: a last line that was never finished was cut off; it is delivered again",
            length - end
        );
    }
    Ok(end)
}
