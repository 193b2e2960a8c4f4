//! One queue at a service: its URL, found when it is first needed, and the requests about it, in tens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString as _};
use parking_lot::Mutex;

use super::answer;
use super::call::{BYTES, Call, Entry, LONGEST_LEASE, LONGEST_WAIT, TOGETHER, whole_seconds};
use super::content::entry_bytes;
use super::error::{EntryFault, Fault};
use super::md5;
use super::service::Service;
use crate::queue::Ask;

/// How a queue is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By its name; with the AWS account that owns it, where it may not be ours.
    Name {
        name: String,
        owner: Option<String>,
    },
    Url(String),
}

impl Named {
    /// A name, or a URL.
    pub fn of(text: &str) -> Self {
        if text.contains("://") { Self::Url(text.to_owned()) } else { Self::Name { name: text.to_owned(), owner: None } }
    }

    /// The queue that an ARN names: `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(_), Some("sqs"), Some(_), Some(owner), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        (!name.is_empty()).then(|| Self::Name { name: name.to_owned(), owner: Some(owner.to_owned()) })
    }

    /// The name: the last part of a URL.
    pub fn name(&self) -> &str {
        match self {
            Self::Name { name, .. } => name,
            Self::Url(url) => url.trim_end_matches('/').rsplit('/').next().unwrap_or(url),
        }
    }

    /// The names of FIFO queues end so, and no others (AWS).
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

/// A queue at a service. Safe to use from many threads.
pub struct Remote {
    service: Arc<Service>,
    named: Named,
    /// Kept once it is found; forgotten when the queue is.
    url: Mutex<Option<Arc<str>>>,
    /// Most bytes of a message there; 0: nobody has asked yet.
    most: AtomicUsize,
}

/// The attribute with the most bytes of a message (AWS: 1 KiB to 1 MiB).
pub const MOST: &str = "MaximumMessageSize";

impl Remote {
    /// Asks nobody.
    pub fn new(service: Arc<Service>, named: Named) -> Self {
        let url = match &named {
            Named::Url(url) => Some(url.as_str().into()),
            Named::Name { .. } => None,
        };
        Self { service, named, url: Mutex::new(url), most: AtomicUsize::new(0) }
    }

    pub fn name(&self) -> &str {
        self.named.name()
    }

    pub fn is_fifo(&self) -> bool {
        self.named.is_fifo()
    }

    /// At most ten messages, in XML; waits for up to 20 s.
    pub fn receive(&self, ask: &Ask) -> Result<Bytes, Fault> {
        let (max, wait) = (ask.max.clamp(1, TOGETHER), whole_seconds(ask.wait, LONGEST_WAIT));
        let lease = whole_seconds(ask.lease, LONGEST_LEASE);
        self.with_url(|service, url| service.call(&Call::Receive { url, max, wait, lease }))
    }

    pub fn delete(&self, handles: &[&str]) -> Result<Vec<Result<(), EntryFault>>, Fault> {
        self.in_tens(
            handles,
            |_| 0,
            |service, url, handles| {
                service.batch(&Call::Delete { url, handles }, "DeleteMessageBatch", handles.len(), |_| Ok(()))
            },
        )
    }

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

    /// Sends messages that [`super::content::check`] has passed; gives their ids, each by itself.
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

    /// Attributes of the queue, by name; those that it does not have are left out.
    pub fn attributes(&self, names: &[&str]) -> Result<HashMap<String, String>, Fault> {
        let attributes = self.with_url(|service, url| answer::attributes(&service.call(&Call::Attributes { url, names })?))?;
        if names.contains(&MOST) {
            // What says nothing of it, or allows for more, is taken for AWS.
            let said = attributes.get(MOST).and_then(|bytes| bytes.parse().ok()).filter(|bytes| *bytes > 0);
            self.most.store(said.unwrap_or(BYTES).min(BYTES), Ordering::Relaxed);
        }
        Ok(attributes)
    }

    /// Most bytes of a message there, attributes included. Blocks for a request where that is not known; where it cannot be asked, it is what
    /// AWS takes at most, and the queue itself will say what is wrong.
    pub fn most(&self) -> usize {
        let known = || Some(self.most.load(Ordering::Relaxed)).filter(|most| *most > 0);
        known().or_else(|| self.attributes(&[MOST]).ok().and_then(|_| known())).unwrap_or(BYTES)
    }

    /// After this it is asked anew: somebody may have changed it.
    pub fn forget_most(&self) {
        self.most.store(0, Ordering::Relaxed);
    }

    /// Calls `work` with the URL, which is looked up where it is not known. No lock is held meanwhile: two threads may look it up both.
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
            // Made anew, it may have another URL.
            *self.url.lock() = None;
            self.forget_most();
        }
        done
    }

    fn look_up(&self, name: &str, owner: Option<&str>) -> Result<String, Fault> {
        let answered = self.service.call(&Call::Url { name, owner }).and_then(|document| answer::url(&document));
        answered.map_err(|fault| fault.map(|why| format!("looking up {name}: {why}")))
    }

    /// Does a batch call for each ten entries, or fewer that have 1 MiB together. A call that fails whole is the error if it is the first;
    /// after that, it fails its entries and those behind them, since what was done must be told.
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
                Ok(ended) => results.extend(ended),
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

/// How many of these, from the first on, one request takes; at least one where there is one.
pub fn fitting(entries: &[Entry<'_>]) -> usize {
    together(entries, entry_bytes)
}

/// The same of entries of any kind.
fn together<T>(entries: &[T], bytes: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let fitting = entries.iter().take(TOGETHER).take_while(|entry| {
        sum += bytes(entry);
        sum <= BYTES
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
        assert_eq!(together(&[BYTES / 2, BYTES / 2, 1], |bytes| *bytes), 2);
        assert_eq!(together(&[BYTES, 1], |bytes| *bytes), 1);
        // It is refused by the service, by itself.
        assert_eq!(together(&[BYTES + 1, 1], |bytes| *bytes), 1);
        assert_eq!(together(&[0; 0], |bytes| *bytes), 0);
    }
}
