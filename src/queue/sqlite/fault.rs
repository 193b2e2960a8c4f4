//! The meaning of SQLite's errors for an operator: whether waiting helps, and what to do.

use rusqlite::{Error, ErrorCode, ffi};

use super::limits;
use crate::queue::QueueError;

/// Why an operation on the file failed, before it is assigned to a queue.
#[derive(Debug)]
pub(in crate::queue) enum Fault {
    Sqlite(Error),
    /// A reason of our own, in words for the operator; becomes [`QueueError::Refused`].
    Refused(String),
    Unavailable(String),
    /// The disk is full but for its reserve, in words for the operator; becomes [`QueueError::Unavailable`].
    Full(String),
}

impl Fault {
    pub(in crate::queue) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    pub(in crate::queue) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
    }

    /// Returns whether the file could not be opened, for whatever reason.
    pub(super) fn is_unopened(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen))
    }

    /// Returns whether a write failed for lack of room: the disk is full or has only its reserve left,
    /// or a file limit or a quota made the kernel refuse it. A failed sync is not included,
    /// because data whose sync failed must not be taken for written afterwards.
    pub(super) fn lacks_room(&self) -> bool {
        match self {
            Self::Sqlite(error) => lacks_room(error),
            Self::Full(_) => true,
            Self::Refused(_) | Self::Unavailable(_) => false,
        }
    }

    /// Returns whether what was read is certainly damaged.
    pub(in crate::queue) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt))
    }

    /// Returns whether the file may be damaged where it was read and readable elsewhere. Without a second look a sector
    /// that cannot be read is not told from a disk that is away. What could not be written, synced or locked is no damage.
    pub(in crate::queue) fn is_damage(&self) -> bool {
        let unread = [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_DATA, ffi::SQLITE_IOERR_CORRUPTFS];
        let failed = matches!(self, Self::Sqlite(Error::SqliteFailure(error, _)) if unread.contains(&error.extended_code));
        failed || self.is_corrupt()
    }

    /// Converts the fault to the error that the queue's caller sees.
    pub(in crate::queue) fn of(self, queue: &str, what: &'static str) -> QueueError {
        let queue = queue.to_owned();
        let error = match self {
            Self::Refused(why) => return QueueError::Refused { queue, what, why },
            Self::Unavailable(why) | Self::Full(why) => return QueueError::Unavailable { queue, what, why },
            Self::Sqlite(error) => error,
        };
        if let Some(advice) = limits::advice(&error) {
            return QueueError::Unavailable { queue, what, why: format!("{error}: {advice}") };
        }
        let (mends, advice) = match error.sqlite_error_code() {
            // A full disk on which the file cannot be opened, for lack of room for its index in memory (`FILE-shm`).
            Some(ErrorCode::SystemIoFailure) if lacks_room(&error) => (
                true,
                "its disk may be full: free space on it, or check its quotas and the kernel's log; nothing reported as done is lost",
            ),
            code => advice(code),
        };
        let why = format!("{error}: {advice}");
        if mends { QueueError::Unavailable { queue, what, why } } else { QueueError::Refused { queue, what, why } }
    }
}

fn lacks_room(error: &Error) -> bool {
    let codes = [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE];
    matches!(error, Error::SqliteFailure(error, _) if codes.contains(&error.extended_code))
}

/// Returns whether waiting may help, and what a person can do.
fn advice(code: Option<ErrorCode>) -> (bool, &'static str) {
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            (true, "another process holds the file; find it if this persists")
        }
        Some(ErrorCode::DiskFull) => (true, "free space on its disk; this call wrote nothing, what was written before is safe"),
        Some(ErrorCode::SystemIoFailure) => {
            (true, "check the disk, its quotas and the kernel's log; nothing reported as done is lost")
        }
        Some(ErrorCode::ReadOnly) => (true, "make the file and its folder writable for this user"),
        Some(ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted | ErrorCode::SchemaChanged) => {
            (true, "this may pass by itself; free memory if it persists")
        }
        Some(ErrorCode::CannotOpen) => (false, "its folder must exist and be writable for this user"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            (false, "give this user the right to read and write the file")
        }
        Some(ErrorCode::NotADatabase) => (false, "the path names something other than a queue file; correct it"),
        Some(ErrorCode::DatabaseCorrupt) => {
            (false, "stop every process that uses the file, then restore it or try `sqlite3 FILE .recover`")
        }
        _ => (false, "the file is not as octoconf left it; restore it or report this"),
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Refused(why) | Self::Unavailable(why) | Self::Full(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> QueueError {
        Fault::Sqlite(Error::SqliteFailure(ffi::Error::new(code), None)).of("stock", "receive")
    }

    #[test]
    fn what_waiting_mends_is_told_from_what_a_person_must_mend() {
        let mends = [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_READONLY];
        let stays = [ffi::SQLITE_CANTOPEN, ffi::SQLITE_NOTADB, ffi::SQLITE_CORRUPT, ffi::SQLITE_PERM, ffi::SQLITE_ERROR];
        for code in mends {
            assert!(error(code).is_transient(), "{code}");
        }
        for code in stays {
            assert!(!error(code).is_transient(), "{code}");
        }
    }

    /// The service tries again, and says so itself; a command ends with the error.
    #[test]
    fn no_error_says_that_its_call_is_made_again() {
        let codes = [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_PROTOCOL, ffi::SQLITE_NOMEM, ffi::SQLITE_SCHEMA];
        for code in codes {
            let text = error(code).to_string();
            assert!(!text.contains("again"), "{text}");
        }
    }

    #[test]
    fn only_what_could_not_be_opened_may_lack_room_for_a_file() {
        let is_unopened = |code| Fault::Sqlite(Error::SqliteFailure(ffi::Error::new(code), None)).is_unopened();
        assert!(is_unopened(ffi::SQLITE_CANTOPEN) && !is_unopened(ffi::SQLITE_BUSY));
        let full = Fault::Full(String::new());
        assert!(!full.is_unopened() && full.lacks_room() && full.of("q", "open").is_transient());
    }

    #[test]
    fn what_could_not_be_written_is_no_damage() {
        let is_damage = |code| Fault::Sqlite(Error::SqliteFailure(ffi::Error::new(code), None)).is_damage();
        let damage = [ffi::SQLITE_CORRUPT, ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_DATA];
        let none = [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_SHMSIZE];
        for code in damage {
            assert!(is_damage(code), "{code}");
        }
        for code in none {
            assert!(!is_damage(code), "{code}");
        }
    }

    #[test]
    fn an_error_names_the_queue_the_work_and_what_to_do() {
        let text = error(ffi::SQLITE_FULL).to_string();
        assert!(text.contains("stock") && text.contains("receive") && text.contains("free space"), "{text}");
        // How SQLite says that a full disk has no room to open the file.
        let text = error(ffi::SQLITE_IOERR_SHMSIZE).to_string();
        assert!(text.contains("may be full: free space"), "{text}");
    }
}
