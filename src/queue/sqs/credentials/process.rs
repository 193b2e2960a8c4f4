//! `credential_process`: a command of the administrator that prints keys as JSON.
//!
//! The command runs in a shell, as with the AWS SDKs, while the calling thread waits. It has a
//! process group of its own, so that at the end of its time everything that it started ends too.
//! Its standard error is discarded, because such programs have been seen to print keys there.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::document::Document;
use super::{CredentialsError, Keys};

/// The largest output in bytes, far above what keys need.
const LONGEST_OUTPUT: usize = 64 * 1024;

/// Runs the command and reads its keys. Blocks for at most `patience`.
pub fn keys(profile: &str, command: &str, patience: Duration) -> Result<Keys, CredentialsError> {
    let from = format!("credential_process of profile {profile:?}");
    let output = run(command, patience).map_err(|failure| failure.told(&from, patience))?;
    let document = Document::parse(&from, &output)?;
    match document.version {
        Some(1) => document.keys(&from),
        _ => Err(CredentialsError::malformed(
            from,
            "its JSON has no \"Version\": 1, the only one that there is; look at its output",
        )),
    }
}

/// Why there is no output.
enum Failure {
    CannotRun(std::io::Error),
    TooLong,
    TooMuch,
    Failed(ExitStatus),
    NotText,
}

impl Failure {
    fn told(self, from: &str, patience: Duration) -> CredentialsError {
        match self {
            Self::CannotRun(error) => CredentialsError::unreachable(from, format!("cannot be run: {error}")),
            Self::TooLong => CredentialsError::unreachable(
                from,
                format!("was ended after {}; run it by hand", humantime::format_duration(patience)),
            ),
            Self::TooMuch => CredentialsError::malformed(from, "printed more than 64 KiB, which cannot be keys; run it by hand"),
            Self::Failed(status) => CredentialsError::unreachable(from, format!("failed ({status}); run it by hand to see why")),
            Self::NotText => CredentialsError::malformed(from, "printed something that is not text; run it by hand"),
        }
    }
}

fn run(command: &str, patience: Duration) -> Result<String, Failure> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut running = Running::start(shell.spawn().map_err(Failure::CannotRun)?).map_err(Failure::CannotRun)?;
    let output = running.read_to_end(Deadline::after(patience))?;
    let status = running.end().map_err(Failure::CannotRun)?;
    if !status.success() {
        return Err(Failure::Failed(status));
    }
    String::from_utf8(output).map_err(|_| Failure::NotText)
}

/// A running command. Dropping it ends the command and everything that it started.
struct Running {
    child: Child,
    group: Pid,
    /// A process descriptor that is readable once the command has ended.
    ended: OwnedFd,
    stdout: File,
    /// Whether the command's status has been taken, after which its process number may be used again.
    reaped: bool,
}

impl Running {
    fn start(mut child: Child) -> std::io::Result<Self> {
        let made = child.stdout.take().ok_or_else(|| std::io::Error::from(ErrorKind::BrokenPipe)).and_then(|stdout| {
            let group = Pid::from_child(&child);
            Ok((group, pidfd_open(group, PidfdFlags::empty())?, File::from(OwnedFd::from(stdout))))
        });
        match made {
            Ok((group, ended, stdout)) => Ok(Self { child, group, ended, stdout, reaped: false }),
            Err(error) => {
                // If one of these fails, nothing more can be done about it.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Ends what still runs of the command, and returns its status.
    /// Until the status is taken, no other process can have its number.
    fn end(&mut self) -> std::io::Result<ExitStatus> {
        if !self.reaped {
            // If the command has ended already, the group may be empty.
            let _ = kill_process_group(self.group, Signal::KILL);
            self.reaped = true;
        }
        self.child.wait()
    }

    /// Returns all output once the command has ended. Does not wait for processes
    /// that the command left running and that may hold its output open.
    fn read_to_end(&mut self, deadline: Deadline) -> Result<Vec<u8>, Failure> {
        let mut output = Vec::new();
        let mut open = true;
        loop {
            let (readable, ended) = self.wait(open, &deadline)?;
            if readable {
                let mut chunk = [0; 4096];
                let read = (&self.stdout).read(&mut chunk).map_err(Failure::CannotRun)?;
                output.extend_from_slice(chunk.get(..read).unwrap_or_default());
                if output.len() > LONGEST_OUTPUT {
                    return Err(Failure::TooMuch);
                }
                open = read > 0;
            } else if ended {
                return Ok(output);
            }
        }
    }

    /// Waits until there is output, if that is still open, or until the command
    /// has ended. Returns whether there is output, and whether it has ended.
    fn wait(&self, open: bool, deadline: &Deadline) -> Result<(bool, bool), Failure> {
        loop {
            let left = deadline.left().ok_or(Failure::TooLong)?;
            let timeout = Timespec::try_from(left).ok();
            let wanted = if open { PollFlags::IN } else { PollFlags::empty() };
            let ended = PollFd::from_borrowed_fd(self.ended.as_fd(), PollFlags::IN);
            let stdout = PollFd::from_borrowed_fd(self.stdout.as_fd(), wanted);
            let mut fds = [ended, stdout];
            // A closed pipe always reports a hang-up, so it is left out then.
            let asked = if open { &mut fds[..] } else { &mut fds[..1] };
            match poll(asked, timeout.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let [ended, stdout] = &fds;
                    return Ok((open && !stdout.revents().is_empty(), !ended.revents().is_empty()));
                }
                Err(error) => return Err(Failure::CannotRun(error.into())),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If this fails, nothing more can be done about it.
        let _ = self.end();
    }
}

/// The end of the command's time. It uses the system's own clock, because a process does not follow a test's.
struct Deadline {
    since: Instant,
    patience: Duration,
}

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "an edge: how long another program runs")]
    fn after(patience: Duration) -> Self {
        Self { since: Instant::now(), patience }
    }

    fn left(&self) -> Option<Duration> {
        self.patience.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::now;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn error(command: &str, patience: Duration) -> String {
        let error = keys("p", command, patience).unwrap_err();
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(text.contains("credential_process of profile \"p\"") && !text.contains("hush"), "{text}");
        text
    }

    #[test]
    fn what_it_prints_are_keys() {
        let command = r#"echo '{"Version": 1, "AccessKeyId": "A",' "\"SecretAccessKey\": \"S\","; echo hush >&2
            echo '"SessionToken": "T", "Expiration": "2026-01-01T00:00:00Z"}'"#;
        let keys = keys("p", command, LONG).unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.as_str()), ("A", "S"));
        assert_eq!((keys.session_token.as_deref(), keys.expires_at), (Some("T"), Some(now())));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        assert!(error("sleep 1000 & sleep 1000", Duration::from_millis(50)).contains("ended after 50ms"));
        assert!(error("exec >&-; sleep 1000", Duration::from_millis(50)).contains("ended after 50ms"));
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        assert!(error("echo hush; sleep 1000 &", LONG).contains("not JSON"));
    }

    #[test]
    fn output_without_end_is_not_kept() {
        assert!(error("yes hush", LONG).contains("more than 64 KiB"));
    }

    #[test]
    fn failures_are_told_apart_and_output_is_not_quoted() {
        for (command, expected) in [
            ("echo hush; echo hush >&2; exit 3", "exit status: 3"),
            ("/nowhere/program", "exit status: 127"),
            ("kill -9 $$", "signal: 9"),
            ("", "breaks off"),
            (r#"printf '{"Version": 1, "AccessKeyId": "hush", "Secret'"#, "breaks off"),
            (r#"echo '{"Version": 2, "AccessKeyId": "hush"}'"#, "\"Version\": 1"),
            (r"printf '\377'", "not text"),
        ] {
            let text = error(command, LONG);
            assert!(text.contains(expected), "{command}: {text}");
        }
    }
}
