//! The files to which nothing may be delivered, since this process keeps its queues in them. Accounts come from
//! producers: with `{account}` in the folder of a queue, one of them may have the name of that queue's file.
//!
//! Called by delivery threads when they open a file, and at the start and at reloads to add files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::template::FilePath;
use crate::settings::Store;

/// The reserved files.
#[derive(Default)]
pub struct Reserved {
    /// By name: the folders in which this file is one of ours, and whose it is. Most accounts have no such name.
    names: RwLock<HashMap<OsString, Vec<(PathBuf, String)>>>,
}

impl Reserved {
    /// Adds the files of the queues, also under the paths to which symbolic links lead. None is removed again: a queue
    /// that left the configuration may still be emptied. Blocks for as long as the disk does.
    pub fn add(&self, stores: &[Store]) {
        for store in stores {
            let target = fs::canonicalize(&store.path).ok();
            for file in [Some(&store.path), target.as_ref()].into_iter().flatten().flat_map(|path| store.files(path)) {
                let (Some(name), folder) = (file.file_name(), folder_of(&file).to_owned()) else { continue };
                let mut names = self.names.write();
                let folders = names.entry(name.to_owned()).or_default();
                if folders.iter().all(|(known, _)| *known != folder) {
                    folders.push((folder, store.whose.clone()));
                }
            }
        }
    }

    /// Fails if the path leads to a reserved file. Folders are compared by identity, whatever paths lead to them. The file
    /// itself is not opened: to close it would release the locks that SQLite holds on it. Blocks for as long as the disk does.
    pub fn check(&self, target: &FilePath) -> io::Result<()> {
        // Only a path that the administrator chose in full may be a link.
        let followed = if target.follow { fs::canonicalize(&target.path).ok() } else { None };
        let path = followed.as_ref().unwrap_or(&target.path);
        let name = path.file_name().unwrap_or_default();
        // Not under the lock: it would hold up others for as long as a disk does not answer.
        let Some(folders) = self.names.read().get(name).cloned() else { return Ok(()) };
        let identity = |folder: &Path| fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()));
        let Some(here) = identity(folder_of(path)) else { return Ok(()) };
        match folders.iter().find(|(folder, _)| identity(folder) == Some(here)) {
            Some((_, whose)) => Err(io::Error::new(
                ErrorKind::InvalidFilename,
                format!("it is the file {whose}, so nothing is delivered to it: give what is delivered a folder of its own"),
            )),
            None => Ok(()),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
