//! One SQS: a server, a region, keys, connections. What every queue there is asked through.

use std::sync::Arc;

use bytes::Bytes;

use super::call::Call;
use super::codec::Codec;
use super::credentials::{Credentials, CredentialsError, Keys};
use super::error::{self, Fault};
use super::transport::{Terms, Transport};

/// Shared by the queues of one endpoint and region. Making one costs nothing and connects to nothing.
pub struct Service {
    codec: Codec,
    credentials: Arc<dyn Credentials>,
    transport: Transport,
}

impl Service {
    /// `endpoint`: the URL of the server, scheme and host.
    pub fn new(region: &str, endpoint: &str, credentials: Arc<dyn Credentials>) -> Self {
        Self { codec: Codec::new(region, endpoint), credentials, transport: Transport::new() }
    }

    /// Does one request. Blocks for its patience at most, and before that for as long as the keys take. Gives the XML of a success.
    pub fn call(&self, call: &Call<'_>) -> Result<Bytes, Fault> {
        let keys = self.credentials.get().map_err(no_keys)?;
        let signed = self.codec.sign(call, &keys).ok_or_else(|| Fault::Refused("the request cannot be built".to_owned()))?;
        let terms = Terms { long: call.is_long(), patience: call.patience(), longest_answer: call.longest_answer() };
        let answer = self.transport.send(&signed, terms).map_err(Fault::Transient);
        answer.and_then(|answer| error::document(&answer)).map_err(|fault| fault.map(|why| hide(why, &keys)))
    }
}

fn no_keys(error: CredentialsError) -> Fault {
    let why = error.to_string();
    if error.is_transient() { Fault::Transient(why) } else { Fault::Refused(why) }
}

/// Takes keys out of a text: an error may quote what a server made of our request.
fn hide(mut why: String, keys: &Keys) -> String {
    let secrets = [Some(&keys.secret_access_key), keys.session_token.as_ref(), Some(&keys.access_key_id)];
    for secret in secrets.into_iter().flatten().filter(|secret| secret.len() > 3) {
        if why.contains(secret.as_str()) {
            why = why.replace(secret.as_str(), "***");
        }
    }
    why
}
