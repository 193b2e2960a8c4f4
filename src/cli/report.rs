//! The file of `run --report`. It is checked before the run starts, so that hours of work do
//! not end without their figures.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, after, bounded, select};
use octoconf::engine::Report;
use rustix::fs::{Access, access};

use super::failure::Failure;
use super::output;

/// How long a run that is over waits for its report to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refuses a path that cannot be written. An existing file keeps its content, and a missing one
/// is still missing afterwards.
pub fn check(path: &Path) -> Result<(), Failure> {
    try_out(path).map_err(|error| {
        Failure::Refused(format!(
            "--report {}: it cannot be written: {error}; name a file in a folder that is there and may be written, or - for standard output",
            path.display()
        ))
    })
}

fn try_out(path: &Path) -> io::Result<()> {
    if is_standard_output(path) {
        return Ok(());
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() || meta.is_dir() => File::options().write(true).open(path).map(drop),
        // A pipe is not opened: its reader would take the close after the check for the end of the report.
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == ErrorKind::NotFound => match File::create_new(path) {
            Ok(_) => fs::remove_file(path),
            // A link to a file that does not exist yet.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                File::create(path)?;
                fs::remove_file(fs::canonicalize(path)?)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Writes the report to the file, or to standard output if the path is `-`.
///
/// Blocks for [`PATIENCE`] at most, and only until the next item of `stops`. A pipe that nobody reads or a file system that
/// does not answer could otherwise keep the process from its end, for which a service manager waits. An error means that the
/// report is not written, or not known to be.
pub fn write(path: &Path, report: &Report, stops: &Receiver<()>) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    // The signals that stopped the run.
    while stops.try_recv().is_ok() {}
    let (tell, told) = bounded(1);
    let to = path.to_owned();
    let writing = thread::Builder::new().name("report".to_owned()).spawn(move || drop(tell.send(put(&to, &text))));
    writing.context("cannot start the thread report")?;
    let until = select! {
        recv(told) -> outcome => return outcome.context("the thread report panicked")?,
        recv(stops) -> _ => "until a signal to stop".to_owned(),
        recv(after(PATIENCE)) -> _ => format!("within {} s", PATIENCE.as_secs()),
    };
    let to = if is_standard_output(path) { "standard output".into() } else { path.display().to_string() };
    Err(anyhow::anyhow!("the report could not be written to {to} {until}; see that the pipe is read, or the disk answers"))
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if is_standard_output(path) {
        return output::tell(text, || "the run is over".to_owned());
    }
    fs::write(path, text).with_context(|| format!("cannot write the report to {}", path.display()))
}

fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_trial_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there"), "of the last run").unwrap();
        symlink("target", at("link")).unwrap();
        for name in ["there", "new", "link"] {
            check(&at(name)).unwrap();
        }
        assert_eq!(fs::read_to_string(at("there")).unwrap(), "of the last run");
        assert!(!at("new").exists() && !at("target").exists() && at("link").is_symlink());
        check(Path::new("-")).unwrap();
        check(Path::new("/dev/null")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        check(&at("pipe")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for (path, why) in [(folder.path().to_owned(), "Is a directory"), (folder.path().join("no/report.json"), "No such file")]
        {
            let Err(Failure::Refused(said)) = check(&path) else { unreachable!("{path:?} is refused") };
            assert!(said.contains(path.to_str().unwrap()) && said.contains(why) && said.contains("name a file"), "{said}");
        }
    }
}
