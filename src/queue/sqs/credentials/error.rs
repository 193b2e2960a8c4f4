//! Why there are no keys.

use std::time::SystemTime;

/// Why there are no keys. Says what was tried and what to do about it, and never holds a key, a token or an unread answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No source is set up, as far as can be seen from here. A person has to set one up, unless the network is not there yet.
    #[error(
        "no AWS credentials found; looked at, in this order: {looked}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a \
         profile with AWS_PROFILE, or give the pod, task or machine a role"
    )]
    NotFound {
        looked: String,
        /// Whether one of these might be there after all: the metadata service did not answer, as where there is none, or no network yet.
        unanswered: bool,
    },
    /// A source is set up, in a way that cannot work. A person has to mend it.
    #[error("AWS credentials: {from}: {problem}")]
    Misconfigured { from: String, problem: String },
    /// A source is set up and does not answer, or not now. It is asked again.
    #[error("AWS credentials: {from}: {why}")]
    Unreachable { from: String, why: String },
    /// A source answered that we do not get any keys. A person has to allow it.
    #[error("AWS credentials: {from} gives none: {why}")]
    Refused { from: String, why: String },
    /// A source answered something that holds no keys: another service, or half an answer. It is asked again.
    #[error("AWS credentials: {from}: {problem}")]
    Malformed { from: String, problem: String },
    /// A source gave keys that were over already. It is asked again.
    #[error(
        "AWS credentials: {from} gave keys that ended at {}; compare the clock of this machine, then look at what renews them",
        humantime::format_rfc3339_seconds(*.at)
    )]
    Expired { from: String, at: SystemTime },
}

impl CredentialsError {
    /// Whether waiting alone may mend it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Malformed { .. } | Self::Expired { .. } => true,
            Self::NotFound { unanswered, .. } => *unanswered,
            Self::Misconfigured { .. } | Self::Refused { .. } => false,
        }
    }

    pub(super) fn misconfigured(from: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Misconfigured { from: from.into(), problem: problem.into() }
    }

    pub(super) fn unreachable(from: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unreachable { from: from.into(), why: why.into() }
    }

    pub(super) fn refused(from: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused { from: from.into(), why: why.into() }
    }

    pub(super) fn malformed(from: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { from: from.into(), problem: problem.into() }
    }
}
