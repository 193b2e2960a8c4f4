//! One SQS service: a server, a region, keys and connections. Poller
//! and acker threads make the requests of all its queues through it.

use std::sync::Arc;

use bytes::Bytes;

use super::answer;
use super::call::Call;
use super::codec::Codec;
use super::credentials::{Credentials, CredentialsError, Keys};
use super::error::{self, EntryFault, Fault};
use super::transport::{Terms, Transport};
use super::xml::Element;
use crate::mask::hide;

/// Shared by the queues of one endpoint and region. Creating one is cheap and connects to nothing.
pub struct Service {
    codec: Codec,
    credentials: Arc<dyn Credentials>,
    transport: Transport,
}

impl Service {
    /// Creates a service; `endpoint` is the URL of the server, scheme and host.
    pub fn new(region: &str, endpoint: &str, credentials: Arc<dyn Credentials>) -> Self {
        Self { codec: Codec::new(region, endpoint), credentials, transport: Transport::new() }
    }

    /// Makes one request and returns the XML of a successful answer. Blocks for at most
    /// the call's patience, and before that for as long as getting the keys takes.
    pub fn call(&self, call: &Call<'_>) -> Result<Bytes, Fault> {
        self.ask(call, &self.keys()?)
    }

    /// Does the same with a call about `entries` entries of a batch. Returns
    /// for each entry how it failed, or what `read` makes of its answer.
    pub fn batch<T>(
        &self,
        call: &Call<'_>,
        action: &str,
        entries: usize,
        read: impl Fn(Element<'_>) -> Result<T, EntryFault>,
    ) -> Result<Vec<Result<T, EntryFault>>, Fault> {
        let keys = self.keys()?;
        answer::batch(&self.ask(call, &keys)?, action, entries, &keys, read)
    }

    fn keys(&self) -> Result<Keys, Fault> {
        self.credentials.get().map_err(no_keys)
    }

    fn ask(&self, call: &Call<'_>, keys: &Keys) -> Result<Bytes, Fault> {
        let signed = self.codec.sign(call, keys).ok_or_else(|| Fault::Refused("the request cannot be built".to_owned()))?;
        let terms = Terms { long: call.is_long(), patience: call.patience(), longest_answer: call.longest_answer() };
        let answer = self.transport.send(&signed, terms).map_err(|why| Fault::Transient(hide(why, keys.secrets())))?;
        error::document(&answer, keys)
    }
}

fn no_keys(error: CredentialsError) -> Fault {
    let why = error.to_string();
    if error.is_transient() { Fault::Transient(why) } else { Fault::Refused(why) }
}
