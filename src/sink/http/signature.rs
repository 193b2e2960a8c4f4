//! `webhook-signature` as Standard Webhooks 1.0 defines it: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
//!
//! Pure. Ids contain no dots, so the signed text can be taken apart in one way only.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::settings::Secret;

/// Decodes secrets with or without padding, as the reference libraries do.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A partner's key, ready for use. Cannot be printed or compared.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// Returns `None` if the secret, without its `whsec_`, is not base64 of at least one byte.
    pub fn new(secret: &Secret) -> Option<Self> {
        let text = secret.expose().trim();
        let key = LENIENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok().filter(|key| !key.is_empty())?;
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// Returns the value of the header. `timestamp` is the time of the attempt, in seconds since 1970.
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

    /// The body that the specification signs as an example.
    const CONTACT: &str = r#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}"#;

    #[test]
    fn it_is_the_signature_of_the_reference_library() {
        // The first case is the test vector of all standard-webhooks libraries. The specification has no vector with a
        // secret, so its example is signed with theirs. All signatures were made with
        // `pip install standardwebhooks==1.1.0` and
        // `Webhook(secret).sign(id, datetime.fromtimestamp(timestamp, timezone.utc), body)`.
        let libraries = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let own = "whsec_b2N0b2NvbmYgdGVzdHMgaXRzIHNpZ25hdHVyZXM=";
        let batch = "[{\"sku\":\"85123A\",\"name\":\"Kr\u{e4}utertee \u{2603}\"},{\"sku\":\"22\"}]";
        let of_a_part = "0190f7a8-0000-7000-8000-000000000000-12";
        for (secret, id, timestamp, body, signature) in [
            (
                libraries,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                libraries,
                "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
                1_674_087_231,
                CONTACT,
                "ARw42xaAApl/nxRo+iPGYwSaMQaOwMo2eyH5JBRA+bQ=",
            ),
            (libraries, of_a_part, 1_700_000_000, batch, "h7aIYErCYZ4CVVaBkYfeGpxPAvtHsU786JkwkwEbqj8="),
            (own, of_a_part, 1_700_000_000, batch, "jSYEQ31AFbLN93WsDnIlyABek05xSsuQHsmorN1N5mM="),
            (own, "m0", 0, "", "MsG3vR/SivHuV+Ud7ssZDIIcNflNU76m3i52AE3gv94="),
        ] {
            // With or without the prefix, with or without the padding, the key is the same.
            for secret in [secret, secret.trim_start_matches("whsec_"), secret.trim_end_matches('=')] {
                let signer = Signer::new(&Secret::new(secret)).unwrap();
                assert_eq!(signer.sign(id, timestamp, body.as_bytes()), format!("v1,{signature}"), "{id} {secret}");
            }
        }
    }

    #[test]
    fn a_secret_that_is_not_base64_is_no_secret() {
        assert!(Signer::new(&Secret::new("whsec_!!")).is_none());
        assert!(Signer::new(&Secret::new("whsec_")).is_none());
    }
}
