//! One file, one instance: two that deliver from the same file would each deliver all of it.
//!
//! The claim is a lock on a file beside it, which the kernel gives up when the process dies. Not on the file itself: closing it would
//! end SQLite's own locks.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::queue::sqlite::fault::Fault;

/// The claims of this process by path: several queues may share a file.
static CLAIMED: Mutex<BTreeMap<PathBuf, Weak<File>>> = Mutex::new(BTreeMap::new());

/// Held for as long as rows of the file are delivered.
pub(super) type Claim = Arc<File>;

/// Claims the file for this process; it must exist. Does not wait.
pub(super) fn claim(path: &Path) -> Result<Claim, Fault> {
    let mut claimed = CLAIMED.lock();
    claimed.retain(|_, claim| claim.strong_count() > 0);
    let cannot = |path: &Path, error: std::io::Error| Fault::refused(format!("cannot lock {}: {error}", path.display()));
    let path = path.canonicalize().map_err(|error| cannot(path, error))?;
    if let Some(claim) = claimed.get(&path).and_then(Weak::upgrade) {
        return Ok(claim);
    }
    let mut beside = path.clone().into_os_string();
    beside.push("-lock");
    let beside = PathBuf::from(beside);
    let file = File::options().create(true).append(true).open(&beside).map_err(|error| cannot(&beside, error))?;
    match file.try_lock() {
        Ok(()) => {}
        // The other one may be about to end.
        Err(TryLockError::WouldBlock) => {
            return Err(Fault::unavailable("another instance delivers from this file; give each instance one of its own"));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(&beside, error)),
    }
    let claim = Arc::new(file);
    claimed.insert(path, Arc::downgrade(&claim));
    Ok(claim)
}
