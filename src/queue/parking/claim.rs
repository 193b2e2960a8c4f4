//! The claim of one instance on a parking file: two instances
//! that deliver from the same file would each deliver all of it.
//!
//! The claim is a lock on a file beside the parking file, which the kernel releases
//! when the process dies. It is not a lock on the file itself, since closing that
//! would release SQLite's own locks. Called when a parking is opened; never blocks.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::queue::sqlite::fault::Fault;
use crate::queue::sqlite::limits;

/// The claims of this process by path, since several queues may share a file.
static CLAIMED: Mutex<BTreeMap<PathBuf, Weak<Lock>>> = Mutex::new(BTreeMap::new());

/// The lock, held for as long as deliveries of the file are sent.
pub(super) type Claim = Arc<Lock>;

/// A file that is locked until this is dropped.
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a child of this process that is about to start has it open, too.
    fn drop(&mut self) {
        // An error leaves the lock to the close.
        let _ = self.0.unlock();
    }
}

/// Claims the file, which must exist, for this process. Does not wait for another process that has claimed it.
pub(super) fn claim(path: &Path) -> Result<Claim, Fault> {
    let mut claimed = CLAIMED.lock();
    claimed.retain(|_, claim| claim.strong_count() > 0);
    let cannot = |path: &Path, error: Error| {
        let why = format!("cannot lock {}: {error}", path.display());
        if may_pass(&error) { Fault::unavailable(why) } else { Fault::refused(why) }
    };
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
        // Not a refusal, since the other instance may be about to end.
        Err(TryLockError::WouldBlock) => {
            return Err(Fault::unavailable("another instance delivers from this file; give each instance one of its own"));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(&beside, error)),
    }
    let claim = Arc::new(Lock(file));
    claimed.insert(path, Arc::downgrade(&claim));
    Ok(claim)
}

/// Returns whether the error may be over without a change of the configuration: the disk is full, too many files are open, or
/// the system has too few locks.
fn may_pass(error: &Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOLCK, Errno::IO].map(Errno::raw_os_error);
    limits::is_full(error) || error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between its fork and its exec, a child has every descriptor of the process, and with it a part in each lock.
    #[test]
    fn a_dropped_claim_is_free_although_a_child_that_is_starting_still_has_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parking.db");
        File::create(&path).unwrap();
        let first = claim(&path).unwrap();
        let inherited = first.0.try_clone().unwrap();
        drop(first);
        assert!(claim(&path).is_ok());
        drop(inherited);
    }

    #[test]
    fn what_may_pass_is_told_from_what_a_person_must_mend() {
        for (errno, passes) in
            [(Errno::NOSPC, true), (Errno::MFILE, true), (Errno::IO, true), (Errno::ACCESS, false), (Errno::NOTDIR, false)]
        {
            assert_eq!(may_pass(&errno.into()), passes, "{errno:?}");
        }
    }
}
