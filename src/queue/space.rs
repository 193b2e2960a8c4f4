//! The free space of a file system, passed in like the clock so that a test need not fill a disk.
//! The embedded queues ask for it under their lock, so an implementation must not take long.

use std::path::Path;

/// A source of the free space of a file system. It is called under
/// the queue's lock, on every write, and must not take long.
pub trait Space: Send + Sync {
    /// Returns how many bytes the file system of `file` has left for this process; `None` if that is not known.
    fn left(&self, file: &Path) -> Option<u64>;
}

impl<F> Space for F
where
    F: Fn(&Path) -> Option<u64> + Send + Sync,
{
    fn left(&self, file: &Path) -> Option<u64> {
        self(file)
    }
}

/// The free space that the kernel reports; a look takes a microsecond or two on a local disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Space for FileSystem {
    fn left(&self, file: &Path) -> Option<u64> {
        let told = rustix::fs::statvfs(file).ok()?;
        // A file system without bounds, in memory or behind a program, reports no blocks at all.
        (told.f_blocks > 0).then(|| told.f_bavail.saturating_mul(told.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_says_what_it_has_left_and_a_path_to_nowhere_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FileSystem.left(folder.path()).is_some_and(|left| left > 0));
        assert_eq!(FileSystem.left(&folder.path().join("missing")), None);
    }
}
