//! The two ways in which a command fails.

/// The failure of a command, which decides the exit status.
#[derive(Debug)]
pub enum Failure {
    /// The command failed while it ran: exit status 1.
    Failed(anyhow::Error),
    /// The usage or the configuration is wrong: exit status 2. The text names every problem.
    Refused(String),
}

impl Failure {
    /// Returns what to tell of the failure.
    pub fn text(self) -> String {
        match self {
            Self::Failed(error) => in_full(&error),
            Self::Refused(why) => why,
        }
    }
}

/// Returns an error and its causes on one line. A cause whose text is already contained is not repeated, since many
/// errors include the texts of their causes.
pub fn in_full(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;
    use octoconf::commands::lines::LineError;
    use octoconf::commands::send::SendError;

    use super::*;

    #[test]
    fn what_a_cause_said_is_not_said_again() {
        let source = LineError::Read { number: 1, source: io::Error::other("is a directory") };
        let error = anyhow::Error::from(SendError::Line { sent: 0, source });
        assert_eq!(in_full(&error), "line 1 cannot be read: is a directory; nothing was sent");
        let error = Err::<(), _>(io::Error::other("no space")).context("cannot write it").context("try").unwrap_err();
        assert_eq!(in_full(&error), "try: cannot write it: no space");
    }
}
