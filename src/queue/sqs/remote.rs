//! One queue at a service: its URL, looked up when it is first needed, and the requests
//! about the queue, ten entries at a time. Every request blocks the calling thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString as _};
use parking_lot::Mutex;

use super::answer;
use super::call::{Call, Entry, LONGEST_LEASE, LONGEST_WAIT, MAX_CALL_BYTES, MAX_ENTRIES, whole_seconds};
use super::content::entry_bytes;
use super::error::{EntryFault, Fault};
use super::md5;
use super::service::Service;
use crate::queue::Ask;

/// How a queue is named in settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A queue by its name.
    Name {
        /// The name of the queue.
        name: String,
        /// The AWS account that owns the queue, if it may not be ours.
        owner: Option<String>,
    },
    /// A queue by its URL.
    Url(String),
}

impl Named {
    /// Reads a name or a URL: a text with `://` is a URL.
    pub fn of(text: &str) -> Self {
        if text.contains("://") { Self::Url(text.to_owned()) } else { Self::Name { name: text.to_owned(), owner: None } }
    }

    /// Returns the queue that an ARN names, `arn:aws:sqs:REGION:ACCOUNT:NAME`; `None` if it is not the ARN of a queue.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(_), Some("sqs"), Some(_), Some(owner), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        (!name.is_empty()).then(|| Self::Name { name: name.to_owned(), owner: Some(owner.to_owned()) })
    }

    /// Returns the name of the queue; for a URL, its last part.
    pub fn name(&self) -> &str {
        match self {
            Self::Name { name, .. } => name,
            Self::Url(url) => url.trim_end_matches('/').rsplit('/').next().unwrap_or(url),
        }
    }

    /// Returns whether the queue is a FIFO queue: the names of all FIFO queues, and of no others, end in `.fifo` (AWS).
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

/// A queue at a service. It is safe to use from many threads.
pub struct RemoteQueue {
    service: Arc<Service>,
    named: Named,
    /// The URL once it is known; dropped when the queue is missing.
    url: Mutex<Option<Arc<str>>>,
    /// The largest size of a message in bytes; 0 until it has been read.
    most: AtomicUsize,
}

/// The attribute with the name by which AWS knows the queue, the same for each URL of it.
pub const ATTR_ARN: &str = "QueueArn";
/// The attribute with the largest size of a message in bytes (AWS: 1 KiB to 1 MiB).
pub const ATTR_MAX_MESSAGE_SIZE: &str = "MaximumMessageSize";

impl RemoteQueue {
    /// Creates the queue without a request.
    pub fn new(service: Arc<Service>, named: Named) -> Self {
        let url = match &named {
            Named::Url(url) => Some(url.as_str().into()),
            Named::Name { .. } => None,
        };
        Self { service, named, url: Mutex::new(url), most: AtomicUsize::new(0) }
    }

    /// Returns the queue's name at the service.
    pub fn name(&self) -> &str {
        self.named.name()
    }

    /// Returns whether the queue is a FIFO queue.
    pub fn is_fifo(&self) -> bool {
        self.named.is_fifo()
    }

    /// Receives at most ten messages and returns the answer's XML; waits for up to 20 s.
    pub fn receive(&self, ask: &Ask) -> Result<Bytes, Fault> {
        let (max, wait) = (ask.max.clamp(1, MAX_ENTRIES), whole_seconds(ask.wait, LONGEST_WAIT));
        let lease = whole_seconds(ask.lease, LONGEST_LEASE);
        self.with_url(|service, url| service.call(&Call::Receive { url, max, wait, lease }))
    }

    /// Deletes the messages of these receipt handles. Returns one result per handle, in order.
    pub fn delete(&self, handles: &[&str]) -> Result<Vec<Result<(), EntryFault>>, Fault> {
        self.in_tens(
            handles,
            |_| 0,
            |service, url, handles| {
                service.batch(&Call::Delete { url, handles }, "DeleteMessageBatch", handles.len(), |_| Ok(()))
            },
        )
    }

    /// Hides the message of each receipt handle for the given
    /// time from now on. Returns one result per change, in order.
    pub fn hide(&self, changes: &[(&str, Duration)]) -> Result<Vec<Result<(), EntryFault>>, Fault> {
        let changes: Vec<_> = changes.iter().map(|(handle, hidden)| (*handle, whole_seconds(*hidden, LONGEST_LEASE))).collect();
        self.in_tens(
            &changes,
            |_| 0,
            |service, url, changes| {
                service.batch(&Call::Hide { url, changes }, "ChangeMessageVisibilityBatch", changes.len(), |_| Ok(()))
            },
        )
    }

    /// Sends messages that [`super::content::check`] has passed.
    /// Returns for each the id of the message, or why it failed.
    pub fn send(&self, entries: &[Entry<'_>]) -> Result<Vec<Result<CompactString, EntryFault>>, Fault> {
        self.in_tens(entries, entry_bytes, |service, url, entries| {
            let sent = service.batch(&Call::Send { url, entries }, "SendMessageBatch", entries.len(), |element| {
                let text = |name| element.children().find(name).and_then(|element| element.text().ok());
                let id = text("MessageId").ok_or_else(|| EntryFault::Transient("the answer has no MessageId".to_owned()))?;
                Ok((id.replace('.', "-").to_compact_string(), text("MD5OfMessageBody").map(String::from)))
            })?;
            let bodies: Vec<&[u8]> = entries.iter().map(|entry| entry.body.as_bytes()).collect();
            let checked = sent.into_iter().zip(md5::digests(&bodies)).map(|(sent, digest)| match sent? {
                (_, Some(said)) if md5::read(&said) != Some(digest) => {
                    Err(EntryFault::Transient("what arrived has another MD5 than what was sent".to_owned()))
                }
                (id, _) => Ok(id),
            });
            Ok(checked.collect())
        })
    }

    /// Returns attributes of the queue by name; attributes that it does not have are left out.
    pub fn attributes(&self, names: &[&str]) -> Result<HashMap<String, String>, Fault> {
        let attributes = self.with_url(|service, url| answer::attributes(&service.call(&Call::Attributes { url, names })?))?;
        if names.contains(&ATTR_MAX_MESSAGE_SIZE) {
            // A server that reports no limit, or a higher one, is treated like AWS.
            let said = attributes.get(ATTR_MAX_MESSAGE_SIZE).and_then(|bytes| bytes.parse().ok()).filter(|bytes| *bytes > 0);
            self.most.store(said.unwrap_or(MAX_CALL_BYTES).min(MAX_CALL_BYTES), Ordering::Relaxed);
        }
        Ok(attributes)
    }

    /// Returns the largest size of a message in bytes, attributes included. Blocks for a request if it is not known
    /// yet; if that request fails, returns the most that AWS accepts, and the queue itself will report what is wrong.
    pub fn most(&self) -> usize {
        let known = || Some(self.most.load(Ordering::Relaxed)).filter(|most| *most > 0);
        known().or_else(|| self.attributes(&[ATTR_MAX_MESSAGE_SIZE]).ok().and_then(|_| known())).unwrap_or(MAX_CALL_BYTES)
    }

    /// Forgets the largest size of a message, so that it is read anew: the operator may have changed it.
    pub fn forget_most(&self) {
        self.most.store(0, Ordering::Relaxed);
    }

    /// Calls `work` with the URL, which is looked up if it is not known.
    /// No lock is held meanwhile, so two threads may both look it up.
    fn with_url<T>(&self, work: impl FnOnce(&Service, &str) -> Result<T, Fault>) -> Result<T, Fault> {
        let known = self.url.lock().clone();
        let url = match (known, &self.named) {
            (Some(url), _) => url,
            (None, Named::Url(url)) => url.as_str().into(),
            (None, Named::Name { name, owner }) => {
                let url: Arc<str> = self.look_up(name, owner.as_deref())?.into();
                *self.url.lock() = Some(Arc::clone(&url));
                url
            }
        };
        let done = work(&self.service, &url);
        if matches!(done, Err(Fault::Missing(_))) {
            self.forget();
        }
        done
    }

    /// Forgets what is known of a queue that is missing: if it is created again, it may have another URL and other limits.
    fn forget(&self) {
        *self.url.lock() = None;
        self.forget_most();
    }

    fn look_up(&self, name: &str, owner: Option<&str>) -> Result<String, Fault> {
        let answered = self.service.call(&Call::Url { name, owner }).and_then(|document| answer::url(&document));
        answered.map_err(|fault| fault.map(|why| format!("looking up {name}: {why}")))
    }

    /// Makes one batch call for every ten entries, or for fewer that together have 1 MiB.
    /// If the first call fails as a whole, its error is returned. If a later one does, its
    /// entries and those behind them fail, since what was done before must be reported.
    fn in_tens<T, R>(
        &self,
        entries: &[T],
        bytes: impl Fn(&T) -> usize,
        call: impl Fn(&Service, &str, &[T]) -> Result<Vec<Result<R, EntryFault>>, Fault>,
    ) -> Result<Vec<Result<R, EntryFault>>, Fault> {
        let mut results = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(together(rest, &bytes));
            match self.with_url(|service, url| call(service, url, batch)) {
                Ok(ended) => {
                    // Some servers say so of each entry.
                    if ended.iter().any(|ended| matches!(ended, Err(EntryFault::Missing(_)))) {
                        self.forget();
                    }
                    results.extend(ended);
                }
                Err(fault) if results.is_empty() => return Err(fault),
                Err(fault) => {
                    results.extend(rest.iter().map(|_| Err(EntryFault::Transient(fault.why().to_owned()))));
                    break;
                }
            }
            rest = behind;
        }
        Ok(results)
    }
}

/// Returns how many of the entries, from the first on, one request can hold; at least one if there is any.
pub fn fitting(entries: &[Entry<'_>]) -> usize {
    together(entries, entry_bytes)
}

/// Does the same for entries of any kind.
fn together<T>(entries: &[T], bytes: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let fitting = entries.iter().take(MAX_ENTRIES).take_while(|entry| {
        sum += bytes(entry);
        sum <= MAX_CALL_BYTES
    });
    fitting.count().max(1).min(entries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_called_by_its_name_url_or_arn() {
        let url = Named::of("https://sqs.eu-west-1.amazonaws.com/123456789012/stock.fifo");
        assert_eq!((url.name(), url.is_fifo()), ("stock.fifo", true));
        let name = Named::of("stock");
        assert_eq!((name.name(), name.is_fifo()), ("stock", false));
        let arn = Named::of_arn("arn:aws:sqs:eu-west-1:123456789012:dead").unwrap();
        assert_eq!(arn, Named::Name { name: "dead".into(), owner: Some("123456789012".into()) });
        for arn in ["", "arn:aws:sns:eu-west-1:1:topic", "arn:aws:sqs:eu-west-1:1", "arn:aws:sqs:eu-west-1:1:"] {
            assert_eq!(Named::of_arn(arn), None, "{arn}");
        }
    }

    #[test]
    fn a_request_has_ten_entries_or_a_mebibyte() {
        assert_eq!(together(&[1; 25], |bytes| *bytes), 10);
        assert_eq!(together(&[1; 3], |bytes| *bytes), 3);
        assert_eq!(together(&[MAX_CALL_BYTES / 2, MAX_CALL_BYTES / 2, 1], |bytes| *bytes), 2);
        assert_eq!(together(&[MAX_CALL_BYTES, 1], |bytes| *bytes), 1);
        // An entry that is too large goes alone, and the service refuses only that one.
        assert_eq!(together(&[MAX_CALL_BYTES + 1, 1], |bytes| *bytes), 1);
        assert_eq!(together(&[0; 0], |bytes| *bytes), 0);
    }
}
