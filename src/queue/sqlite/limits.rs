//! Limits of this process that make SQLite fail without saying so. Called on the error path only.

use std::fs::File;

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
            "there are too few file descriptors left{most}; raise the limit (ulimit -n, LimitNOFILE= in systemd's unit); it is tried again"
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

/// Returns whether fewer descriptors are free than SQLite needs. SQLite does not report that
/// reason, and has closed the descriptors that it did get, so this opens as many files to find out.
fn has_too_few_descriptors() -> bool {
    let none_left = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let opened: Result<Vec<File>, _> = (0..DESCRIPTORS_A_FILE).map(|_| File::open("/dev/null")).collect();
    opened.is_err_and(|error| error.raw_os_error().is_some_and(|code| none_left.contains(&code)))
}
