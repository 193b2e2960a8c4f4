//! One SQS service: a server, a region, keys and connections. Poller
//! and acker threads make the requests of all its queues through it.

use std::sync::Arc;

use bytes::Bytes;

use super::answer;
use super::call::Call;
use super::codec::Codec;
use super::credentials::{Credentials, CredentialsError, Keys};
use super::error::{self, EntryFault, Fault};
use super::transport::{Response, Terms, Transport};
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
        Ok(self.ask(call)?.0)
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
        let (document, keys) = self.ask(call)?;
        answer::batch(&document, action, entries, &keys, read)
    }

    fn keys(&self) -> Result<Keys, Fault> {
        self.credentials.get().map_err(no_keys)
    }

    /// Makes a request. Returns the answer and the keys that the request was signed with. If the service
    /// refuses the keys and their source has others by now, the request is made once more with those.
    fn ask(&self, call: &Call<'_>) -> Result<(Bytes, Keys), Fault> {
        let mut keys = self.keys()?;
        let mut answer = self.send(call, &keys)?;
        if error::blames_keys(&answer) {
            self.credentials.refused(&keys);
            let others = self.keys()?;
            if others != keys {
                answer = self.send(call, &others)?;
                keys = others;
            }
        }
        let document = error::document(&answer, &keys).map_err(|fault| {
            let whence = error::blames_keys(&answer).then(|| self.credentials.origin());
            fault.map(|why| whence.map_or_else(|| why.clone(), |whence| format!("{why}; the keys came from {whence}")))
        })?;
        Ok((document, keys))
    }

    fn send(&self, call: &Call<'_>, keys: &Keys) -> Result<Response, Fault> {
        let signed = self.codec.sign(call, keys).ok_or_else(|| Fault::Refused("the request cannot be built".to_owned()))?;
        let terms = Terms { long: call.is_long(), patience: call.patience(), longest_answer: call.longest_answer() };
        self.transport.send(&signed, terms).map_err(|why| Fault::Transient(hide(why, keys.secrets())))
    }
}

fn no_keys(error: CredentialsError) -> Fault {
    let why = error.to_string();
    if error.is_transient() { Fault::Transient(why) } else { Fault::Refused(why) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::testing::{Reply, Stub, keys, ok, refusal};
    use super::*;

    /// A source that has other keys once the service has refused the first.
    struct Rotated {
        keys: [&'static str; 2],
        refused: AtomicUsize,
    }

    impl Credentials for Rotated {
        fn get(&self) -> Result<Keys, CredentialsError> {
            let at = self.refused.load(Ordering::Relaxed).min(1);
            Ok(Keys { access_key_id: self.keys[at].into(), ..keys() })
        }

        fn refused(&self, _: &Keys) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }

        fn origin(&self) -> String {
            "the test's file".to_owned()
        }
    }

    fn service(stub: &Stub, keys: [&'static str; 2]) -> Service {
        Service::new("eu-west-1", &stub.url, Arc::new(Rotated { keys, refused: AtomicUsize::new(0) }))
    }

    const URL: Call<'static> = Call::Url { name: "stock", owner: None };

    #[test]
    fn a_request_whose_keys_are_over_is_made_again_with_those_that_took_their_place() {
        for code in ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"] {
            let stub = Stub::new(vec![refusal(403, code), ok("GetQueueUrl", "")]);
            service(&stub, ["old", "new"]).call(&URL).unwrap();
            stub.end();
        }
    }

    #[test]
    fn keys_that_are_refused_are_told_with_where_they_came_from() {
        let stub =
            Stub::new(vec![refusal(403, "ExpiredToken"), refusal(403, "InvalidClientTokenId"), refusal(403, "AccessDenied")]);
        let same = service(&stub, ["same", "same"]).call(&URL).unwrap_err();
        let says = "renew the keys at their source; the keys came from the test's file";
        assert!(matches!(&same, Fault::Refused(why) if why.contains(says)), "{same:?}");
        let denied = service(&stub, ["old", "new"]).call(&URL).unwrap_err();
        assert!(matches!(&denied, Fault::Refused(why) if !why.contains("came from")), "{denied:?}");
        stub.end();
    }

    #[test]
    fn what_the_service_says_of_the_keys_that_took_their_place_is_hidden_too() {
        let quotes = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no AKIDNEWER</Message></Error></ErrorResponse>";
        let stub = Stub::new(vec![refusal(403, "ExpiredToken"), Reply::Say(403, quotes.to_owned())]);
        let denied = service(&stub, ["AKIDOLDER", "AKIDNEWER"]).call(&URL).unwrap_err();
        assert!(matches!(&denied, Fault::Refused(why) if why.contains("no ***")), "{denied:?}");
        stub.end();
    }

    /// A source without keys.
    struct Without(CredentialsError);

    impl Credentials for Without {
        fn get(&self) -> Result<Keys, CredentialsError> {
            Err(self.0.clone())
        }

        fn origin(&self) -> String {
            "nowhere".to_owned()
        }
    }

    #[test]
    fn a_source_that_does_not_answer_is_waited_for_and_a_wrong_one_is_for_a_person() {
        let from = || "the test".to_owned();
        let away = CredentialsError::Unreachable { from: from(), why: "timed out".into() };
        let wrong = CredentialsError::Misconfigured { from: from(), problem: "no such profile".into() };
        for (error, waits) in [(away, true), (wrong, false)] {
            let fault = Service::new("eu-west-1", "http://127.0.0.1:1", Arc::new(Without(error))).call(&URL).unwrap_err();
            assert_eq!(matches!(fault, Fault::Transient(_)), waits, "{fault:?}");
        }
    }
}
