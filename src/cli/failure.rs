//! The two ways in which a command fails.

/// Decides the exit status.
#[derive(Debug)]
pub enum Failure {
    /// It went wrong while it ran: 1.
    Failed(anyhow::Error),
    /// The usage or the configuration is wrong: 2. The text names every problem.
    Refused(String),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
