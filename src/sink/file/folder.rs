//! The folders on the way to a partner's file: found or created one by one, so that no symbolic link below the root
//! leads out of it, and open until their entries are synced.
//!
//! Called by delivery threads. Every function blocks for as long as the disk does.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::held::{Held, Id};
use super::template::FilePath;

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

impl Folder {
    pub fn of(file: File, counted: Arc<()>) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { file, device: meta.dev(), inode: meta.ino(), stand_in: false, _counted: counted })
    }

    /// Returns the file itself in place of its folder.
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

/// Creates the missing part of the root, each level durable before the
/// next. Folders below the root are synced together with the files.
pub fn make_root(root: &Path) -> io::Result<()> {
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
pub fn open_in(parent: &File, name: &str) -> io::Result<File> {
    let open = || {
        rustix::fs::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let fd = match open() {
        Err(Errno::NOENT) => match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => open()?,
            Err(error) => return Err(error.into()),
        },
        other => other?,
    };
    Ok(fd.into())
}

/// Returns the folder in which the file itself is, if the path is a symbolic link to it; else `None`.
/// That folder may be on another file system, and the new entry is there if the file was just created.
pub fn beyond_link<T>(
    target: &FilePath,
    folder: &Folder,
    file: &File,
    meta: &Metadata,
    held: &Held<T>,
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
