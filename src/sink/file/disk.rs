//! The kernel calls on which durability rests, behind a trait, so that tests can count them and make them fail.

use std::fs::File;
use std::io::{self, Write};

/// Writing and syncing. Every call blocks for as long as the disk does.
pub trait Disk: Send + Sync {
    /// Appends all of `bytes`, or fails after some of them.
    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<()>;

    /// Returns once the data of a file, or the entries of a folder, survive a power loss.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Returns once everything written to the file system that holds `any` survives a power loss.
    fn sync_all(&self, any: &File) -> io::Result<()>;
}

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
}
