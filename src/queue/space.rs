//! How much a file system has left, handed in like the clock so that a test need not fill a disk.

use std::path::Path;

/// Says how many bytes the file system that holds the file has left for this process; `None`: it does not say. Called under the queue's
/// lock, once a write: it must not take long.
pub trait Space: Send + Sync {
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

/// What the kernel says: a look of a microsecond or two on a local disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Space for FileSystem {
    fn left(&self, file: &Path) -> Option<u64> {
        let told = rustix::fs::statvfs(file).ok()?;
        // One without bounds, in memory or behind a program, has no blocks at all.
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
