//! The secrets in what a partner is sent, which must not appear in a log: error pages often quote the request.
//!
//! Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::mask::{self, Ends};
use crate::settings::HttpSettings;

/// The secrets of one partner: header values, the user part and the query of its URL, and its signing secret.
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Collects the secrets of a partner's settings.
    pub fn of(settings: &HttpSettings) -> Self {
        let mut secrets = Vec::new();
        for value in settings.headers.values() {
            // The blanks around a value are no part of it (RFC 9110, section 5.5).
            let value = value.expose().trim();
            // After the scheme (RFC 9110, section 11.4) come the credentials, which are a secret by themselves.
            if let Some((scheme, credentials)) = value.split_once(' ') {
                let user = STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
                secrets.extend(user.iter().flat_map(|user| parts(&String::from_utf8_lossy(user))));
                secrets.push(credentials.trim().to_owned());
            }
            // So are the values of parameters there, and of cookies (RFC 6265, section 4.2).
            let parameters = value.split([' ', ',', ';']).filter_map(|pair| pair.split_once('='));
            secrets.extend(parameters.map(|(_, value)| value.trim_matches('"').to_owned()));
            secrets.push(value.to_owned());
        }
        if let Some(secret) = &settings.signing_secret {
            let secret = secret.expose().trim();
            secrets.extend(secret.strip_prefix("whsec_").map(str::to_owned));
            secrets.push(secret.to_owned());
        }
        let url = settings.url.split('#').next().unwrap_or_default();
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let authority = before.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if let Some((user, _)) = authority.rsplit_once('@') {
            let decoded = decoded(user);
            secrets.push(STANDARD.encode(if decoded.contains(':') { decoded.clone() } else { format!("{decoded}:") }));
            secrets.extend(parts(&decoded));
        }
        for pair in query.split('&') {
            let value = pair.split_once('=').map_or(pair, |(_, value)| value);
            // An account is no secret, and often what an error is about.
            for part in value.split(['{', '}']).filter(|part| !matches!(*part, "account" | "queue")) {
                // Most servers take a plus in a query for a blank, as in forms.
                secrets.push(decoded(&part.replace('+', " ")));
                secrets.push(decoded(part));
            }
        }
        // One secret may be part of another, so the longest are masked first.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self(secrets)
    }

    /// Returns the text with the secrets masked.
    pub fn hide(&self, text: String, ends: Ends) -> String {
        mask::hide_in(text, ends, self.0.iter().map(String::as_str))
    }
}

/// Returns the name and the password of basic authentication.
fn parts(user: &str) -> Vec<String> {
    user.splitn(2, ':').map(str::to_owned).collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;
    use crate::sink::testing::http_settings;

    #[test]
    fn what_a_partner_makes_of_a_secret_is_hidden_too() {
        let mut settings = http_settings("http://h/?key=ab+cd/ef==&tag=100%25+sure");
        let basic = STANDARD.encode("bobby:hush:hush");
        for (name, value) in [
            ("authorization", format!("basic {basic}")),
            ("x-key", "blank-key \t".to_owned()),
            ("proxy-authorization", "Token token=\"to-ken\", user=usher".to_owned()),
            ("cookie", "a=1; session=bis-cuit==".to_owned()),
        ] {
            settings.headers.insert(name.into(), Secret::new(value));
        }
        settings.signing_secret = Some(Secret::new(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let secrets = Secrets::of(&settings);
        for (text, hidden) in [
            ("no user bobby with hush:hush", "no user *** with ***"),
            ("bad key 'blank-key'", "bad key '***'"),
            ("no token to-ken of usher in bis-cuit==, a=1", "no token *** of *** in ***, a=1"),
            ("ab+cd/ef==, ab cd/ef==, ab%20cd%2Fef%3D%3D, ab%2Bcd%2Fef%3D%3D", "***, ***, ***, ***"),
            ("100%25+sure, 100% sure, 100%25%20sure", "***, ***, ***"),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "***, ***"),
        ] {
            assert_eq!(secrets.hide(text.to_owned(), Ends::Whole), hidden, "{text}");
        }
    }

    #[test]
    fn what_a_partner_quotes_of_a_request_is_hidden() {
        let mut settings = http_settings(
            "https://us%65r:p%40ss:word@h/in/{account}?key=QSECRET%2B2&a={account}&tag=pre-{queue}-post&flag&x=1#no",
        );
        settings.headers.insert("authorization".into(), Secret::new("Bearer HDRSECRET3"));
        settings.headers.insert("x-api-key".into(), Secret::new("plain-key"));
        settings.signing_secret = Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let secrets = Secrets::of(&settings);
        for (text, hidden) in [
            ("bad key Bearer HDRSECRET3 for /in/acme?key=QSECRET%2B2&a=acme", "bad key *** for /in/acme?key=***&a=acme"),
            ("HDRSECRET3, QSECRET+2, plain-key", "***, ***, ***"),
            ("user p@ss:word dXNlcjpwQHNzOndvcmQ=", "*** *** ***"),
            ("tag=pre-stock-post, whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "tag=***stock***, ***"),
            ("x=1 no such account: acme", "x=1 no such account: acme"),
        ] {
            assert_eq!(secrets.hide(text.to_owned(), Ends::Whole), hidden, "{text}");
        }
        assert_eq!(Secrets::of(&http_settings("http://h/{account}")).hide("h".into(), Ends::Whole), "h");
    }
}
