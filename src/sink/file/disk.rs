//! The kernel calls on which durability rests, behind a trait, so that tests can count them and make them fail.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::FsWord;

/// Writing and syncing. Every call blocks for as long as the disk does.
pub trait Disk: Send + Sync {
    /// Appends all of `bytes`, or fails after some of them.
    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()>;

    /// Returns once the data of a file, or the entries of a folder, survive a power loss.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Returns once everything written to the file system that holds `any` survives a power loss.
    fn sync_all(&self, any: &File) -> io::Result<()>;

    /// Returns whether [`Disk::sync_all`] fails if data of any file could not be written. If not, only a sync of the
    /// file itself says so.
    fn reports_losses(&self, any: &File) -> bool;
}

/// The file systems that pass on each failed write to `syncfs`, by their `f_type` in `statfs(2)`:
/// ext2, ext3 and ext4; XFS; btrfs.
const REPORTING: [FsWord; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];

/// The first version of Linux whose `syncfs` reports failed writes at all.
const SYNCFS_REPORTS: (u32, u32) = (5, 8);

/// The real kernel calls.
pub struct Kernel;

impl Disk for Kernel {
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, any: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(any)?)
    }

    /// An overlayfs, such as the writable layer of a container, never reports the errors of the file system below it.
    /// So this is true only of file systems that are known to report their own.
    fn reports_losses(&self, any: &File) -> bool {
        let known = rustix::fs::fstatfs(any).is_ok_and(|about| REPORTING.contains(&about.f_type));
        known && rustix::system::uname().release().to_str().is_ok_and(|release| version(release) >= SYNCFS_REPORTS)
    }
}

/// Returns the first two numbers of a kernel's release, such as `6.12.48-generic`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_kernel_is_read_from_its_release() {
        for release in ["5.8", "5.8.0-rc1", "5.10.0-28-amd64", "6.18.44-fc-v657", "10.0+"] {
            assert!(version(release) >= SYNCFS_REPORTS, "{release}");
        }
        for release in ["5.7.19", "4.18.0-553.el8_10.x86_64", "5", "", "x.9"] {
            assert!(version(release) < SYNCFS_REPORTS, "{release}");
        }
    }

    #[test]
    fn a_file_system_that_is_not_known_is_not_trusted() {
        assert!(!Kernel.reports_losses(&File::open("/proc").unwrap()));
    }
}
