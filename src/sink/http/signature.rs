//! `webhook-signature` as Standard Webhooks 1.0 has it: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
//!
//! Pure. Ids hold no dots, so what is signed can be taken apart in one way only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::secret::Secret;

/// A partner's key, ready for use. Neither printed nor compared.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// `None` when the secret, less its `whsec_`, is not base64 of at least one byte.
    pub fn new(secret: &Secret) -> Option<Self> {
        let text = secret.expose().trim();
        let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok().filter(|key| !key.is_empty())?;
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// The value of the header. `timestamp`: that of the attempt, in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_signature_of_the_reference_libraries() {
        // The example of the libraries of standard-webhooks.
        let signer = Signer::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_not_base64_is_no_secret() {
        assert!(Signer::new(&Secret::new("whsec_!!")).is_none());
        assert!(Signer::new(&Secret::new("whsec_")).is_none());
    }
}
