//! Limits of this process that make SQLite fail without saying so. Called on the error path only.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use bytesize::ByteSize;
use rusqlite::{Error, ErrorCode, ffi};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The number of file descriptors that opening a file needs: three connections, each with
/// the file, its log and the log's shared memory, and one for a folder that is synced.
const DESCRIPTORS_A_FILE: usize = 10;

/// Returns what the operator can do if one of these limits may be the cause of `error`, else `None`.
/// Such a failure counts as transient, since a shortage of descriptors may soon be over.
pub(super) fn advice(error: &Error) -> Option<String> {
    let failure = error.sqlite_error()?;
    if failure.code == ErrorCode::CannotOpen && has_too_few_descriptors() {
        let most = getrlimit(Resource::Nofile).current.map(|most| format!(" of {most}")).unwrap_or_default();
        return Some(format!(
            "there are too few file descriptors left{most}; raise the limit (ulimit -n, LimitNOFILE= in systemd's unit)"
        ));
    }
    if failure.extended_code == ffi::SQLITE_IOERR_WRITE {
        let most = getrlimit(Resource::Fsize).current?;
        return Some(format!(
            "a file of this process may have {} at most; raise that limit (ulimit -f, LimitFSIZE= in systemd's unit) or look at the disk; \
             this call wrote nothing, what was written before is safe",
            ByteSize(most)
        ));
    }
    None
}

/// Returns why a file could not be opened if its disk has no room for another file: SQLite says of that no more than of a
/// folder that is not there. Makes a file beside it to find out.
pub(super) fn lacks_room_beside(path: &Path) -> Option<String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-room");
    match File::create_new(&beside) {
        Ok(_) => {
            // An empty file that stays does no harm.
            let _ = fs::remove_file(&beside);
            None
        }
        Err(error) => of_full_disk(&error),
    }
}

fn of_full_disk(error: &io::Error) -> Option<String> {
    is_full(error).then(|| format!("no file can be made on its disk: {error}; free space or inodes on it, or check its quotas"))
}

/// Returns whether the disk has no room for a file, or a quota none.
pub(in crate::queue) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns whether fewer descriptors are free than SQLite needs. SQLite does not report that
/// reason, and has closed the descriptors that it did get, so this opens as many files to find out.
fn has_too_few_descriptors() -> bool {
    let none_left = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let opened: Result<Vec<File>, _> = (0..DESCRIPTORS_A_FILE).map(|_| File::open("/dev/null")).collect();
    opened.is_err_and(|error| error.raw_os_error().is_some_and(|code| none_left.contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_no_other_file_is_told_from_a_folder_that_is_not_there() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert!(of_full_disk(&errno.into()).is_some());
        }
        let folder = tempfile::tempdir().unwrap();
        for path in ["q.db", "missing/q.db"] {
            assert!(lacks_room_beside(&folder.path().join(path)).is_none());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
