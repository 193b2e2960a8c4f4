//! AWS keys without an async runtime: from the environment, files,
//! roles, containers and instances, as the AWS SDKs find them.
//!
//! The threads that talk to SQS call it, many at once. A service uses [`Cached`] over [`Chain`]: it
//! blocks only callers that find no usable keys, for as long as one source takes, and renews keys on a
//! thread for that time. Nothing here logs or shows a key: neither `Debug` nor an error holds one.
//!
//! No crate does this for blocking code: `aws-config` and `aws-sigv4` bring tokio,
//! `aws-creds` brings a second HTTP client and lacks role profiles, and `reqsign` lacks
//! role profiles and the check of which hosts a container's token may be sent to.

use std::fmt;
use std::time::SystemTime;

use crate::rfc3339;

pub use self::cache::Cached;
pub use self::chain::Chain;
pub use self::error::CredentialsError;
pub use self::region::{dns_suffix, endpoint, region};
pub use self::surroundings::{Patience, Surroundings};

mod cache;
mod chain;
mod container;
mod document;
mod error;
mod instance;
mod plan;
mod process;
mod profiles;
mod region;
mod sigv4;
mod sts;
mod surroundings;
#[cfg(test)]
mod testing;
mod web;

/// A source of keys.
pub trait Credentials: Send + Sync {
    /// Returns keys to sign with now. May block while they are fetched; for how long depends on the implementation.
    fn get(&self) -> Result<Keys, CredentialsError>;

    /// Reports that the service refused these keys as expired or unknown, so that a source with a memory forgets them.
    fn refused(&self, _keys: &Keys) {}

    /// Returns where the last keys came from, and when others are taken from there, as the end of a sentence.
    fn origin(&self) -> String;
}

/// The keys that a request is signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The id of the access key.
    pub access_key_id: String,
    /// The secret that signs.
    pub secret_access_key: String,
    /// The token of temporary keys, which AWS refuses without it.
    pub session_token: Option<String>,
    /// When the keys end; `None` if they are valid until they are revoked.
    pub expires_at: Option<SystemTime>,
}

impl Keys {
    /// Returns the texts that a message for people must not quote; the key's id is among them.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        [Some(&self.secret_access_key), self.session_token.as_ref(), Some(&self.access_key_id)]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// Returns whether the keys are still valid at `now`, as far as their end tells.
    pub fn are_valid_at(&self, now: SystemTime) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }

    /// Returns the keys, or [`CredentialsError::Expired`] if they have ended. `from` names their source.
    fn checked(self, from: &str, now: SystemTime) -> Result<Self, CredentialsError> {
        match self.expires_at.filter(|end| *end <= now) {
            Some(at) => Err(CredentialsError::Expired { from: from.to_owned(), at }),
            None => Ok(self),
        }
    }
}

impl fmt::Debug for Keys {
    /// Shows only the end of the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.expires_at.map(|end| rfc3339::seconds(end).to_string());
        f.debug_struct("Keys").field("expires_at", &end).finish_non_exhaustive()
    }
}

/// Always the same keys: those of a test, or of a server that checks none.
#[derive(Debug, Clone)]
pub struct Fixed(pub Keys);

impl Credentials for Fixed {
    fn get(&self) -> Result<Keys, CredentialsError> {
        Ok(self.0.clone())
    }

    fn origin(&self) -> String {
        "the program itself, which has no others".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn keys_are_never_shown() {
        let keys = Keys {
            access_key_id: "AKIDHUSH".into(),
            secret_access_key: "hush".into(),
            session_token: Some("hush-token".into()),
            expires_at: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        };
        assert_eq!(format!("{keys:?}"), "Keys { expires_at: Some(\"2023-11-14T22:13:20Z\"), .. }");
        assert!(!format!("{:?}", Fixed(keys)).to_lowercase().contains("hush"));
    }
}
