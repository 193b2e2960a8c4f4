//! What can be wrong with a partner's HTTP settings. No text here contains a header's value, a secret, or the user part or
//! query of a URL, since keys are found there.

/// Why a partner's HTTP settings cannot be used. The text says what is wrong with the value under [`TargetError::key`]
/// and what to do. The service does not start, or a reload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The URL does not start with a known scheme.
    #[error("no URL; start it with https:// or http://")]
    Scheme,
    /// The URL has no valid host, contains invalid characters, or is too long.
    #[error(
        "names no valid host, holds characters that a URL cannot hold, or is longer than 16 KiB; encode such characters as %XX, \
         and write a host in other letters in its xn-- form"
    )]
    Invalid,
    /// The path of the URL contains `.` or `..`.
    #[error("has \".\" or \"..\" in its path, which servers interpret differently; write the path that is meant")]
    Dots,
    /// The URL contains this unknown placeholder.
    #[error("holds {0:?}; the placeholders are {{queue}} and {{account}}")]
    Placeholder(String),
    /// The user part of the URL contains a placeholder.
    #[error("has a placeholder before the @; name the user in a header instead")]
    UserPlaceholder,
    /// This name of a header is not a token.
    #[error("no name of a header; use letters, digits and \"-\"")]
    HeaderName(String),
    /// This header is set by octoconf.
    #[error("set by octoconf in each request; leave it out")]
    HeaderReserved(String),
    /// The value of this header contains control characters.
    #[error("holds a line break or another control character; write it on one line")]
    HeaderValue(String),
    /// The value of this header contains characters that only other headers may contain.
    #[error("holds characters that are not ASCII, which this header cannot hold")]
    HeaderAscii(String),
    /// The line of this header does not fit into the buffer of a connection.
    #[error("longer than 16 KiB, which no server accepts in one header; shorten it")]
    HeaderLong(String),
    /// The signing secret is not base64.
    #[error(
        "not base64 of a key, with or without whsec_ before it, as Standard Webhooks defines it; write the secret that the partner gave out"
    )]
    Secret,
}

impl TargetError {
    /// Returns the key within the partner's section.
    pub fn key(&self) -> String {
        match self {
            Self::Scheme | Self::Invalid | Self::Dots | Self::Placeholder(_) | Self::UserPlaceholder => "url".to_owned(),
            Self::HeaderName(name)
            | Self::HeaderReserved(name)
            | Self::HeaderValue(name)
            | Self::HeaderAscii(name)
            | Self::HeaderLong(name) => format!("headers.{name}"),
            Self::Secret => "signing_secret".to_owned(),
        }
    }
}
