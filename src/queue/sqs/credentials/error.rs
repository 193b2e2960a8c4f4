//! The error of the sources of keys.

use std::time::SystemTime;

use crate::rfc3339;

/// Why there are no keys. The text says what was tried and what to
/// do about it; it never holds a key, a token or an unread answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No source is set up, as far as this process can see. A person
    /// has to set one up, unless the network is not available yet.
    #[error(
        "no AWS credentials found; looked at, in this order: {looked}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a \
         profile with AWS_PROFILE, or give the pod, task or machine a role"
    )]
    NotFound {
        /// The sources that were looked at, in order.
        looked: String,
        /// Whether a source may exist after all: the metadata service did
        /// not answer, as happens if there is none or no network yet.
        unanswered: bool,
    },
    /// A source is set up in a way that cannot work. A person has to correct it.
    #[error("AWS credentials: {from}: {problem}")]
    Misconfigured {
        /// The source.
        from: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A source is set up but does not answer, or not now. It is asked again.
    #[error("AWS credentials: {from}: {why}")]
    Unreachable {
        /// The source.
        from: String,
        /// Why there was no usable answer.
        why: String,
    },
    /// A source refused to hand out keys. A person has to allow it.
    #[error("AWS credentials: {from} gives none: {why}")]
    Refused {
        /// The source.
        from: String,
        /// The reason in its answer, and what to do.
        why: String,
    },
    /// A source answered something that holds no keys: another service, or half an answer. It is asked again.
    #[error("AWS credentials: {from}: {problem}")]
    Malformed {
        /// The source.
        from: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A source returned keys that had already ended. It is asked again.
    #[error(
        "AWS credentials: {from} gave keys that expired at {}; check the clock of this machine, then look at what renews them",
        rfc3339::seconds(*.at)
    )]
    Expired {
        /// The source.
        from: String,
        /// When the keys ended.
        at: SystemTime,
    },
}

impl CredentialsError {
    /// Returns whether the failure may pass without anyone acting.
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
