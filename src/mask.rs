//! Keeps secrets out of logs, errors and pages: those in URLs, and those in texts of servers and partners, which may quote our request.
//!
//! Pure.

/// The text that replaces a secret.
const MASK: &str = "***";

/// Replaces the secrets in `text` with [`MASK`]. Secrets are also found if they are percent-encoded once or twice, as a
/// canonical request quotes them. Secrets shorter than four bytes are left alone.
pub fn hide<'a>(text: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    secrets.into_iter().filter(|secret| secret.len() > 3).fold(text, |text, secret| without(text, secret.as_bytes()))
}

/// A URL for logs and pages: userinfo, query and fragment are masked, since keys hide there. Text that is no URL is masked whole.
pub fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", authority),
    };
    let query = match query.chars().next() {
        Some(mark) => format!("{mark}***"),
        None => String::new(),
    };
    format!("{scheme}://{userinfo}{host}{path}{query}")
}

fn without(text: String, secret: &[u8]) -> String {
    let (mut shown, mut rest) = (String::new(), text.as_str());
    let mut found = false;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = match spelt(rest.as_bytes(), secret) {
            Some(length) => (length, MASK),
            None => (first.len_utf8(), rest.get(..first.len_utf8()).unwrap_or_default()),
        };
        found |= kept == MASK;
        shown.push_str(kept);
        rest = rest.get(length..).unwrap_or_default();
    }
    if found { shown } else { text }
}

/// Returns how many bytes at the beginning of `text` spell the secret, or `None` if `text` does not begin with it.
fn spelt(text: &[u8], secret: &[u8]) -> Option<usize> {
    let rest = secret.iter().try_fold(text, |rest, byte| after(rest, *byte))?;
    Some(text.len() - rest.len())
}

/// Returns what follows `byte` at the beginning of `text`, where the byte may be plain or percent-encoded, or `None` if
/// `text` begins with anything else.
fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text.split_first() {
        Some((first, rest)) if *first == byte => Some(rest),
        _ => [&b"%"[..], b"%25"].iter().find_map(|mark| {
            let (digits, rest) = text.strip_prefix(*mark)?.split_at_checked(2)?;
            let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
            (digit(0)? * 16 + digit(1)? == u32::from(byte)).then_some(rest)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        hide(text.to_owned(), ["ab/cd+ef=", "tök/en==", "AKID1"])
    }

    #[test]
    fn userinfo_and_query_are_masked() {
        for (url, shown) in [
            ("https://h/p", "https://h/p"),
            ("https://user:p@ss@h:8/{account}/x?key=1#f", "https://***@h:8/{account}/x?***"),
            ("http://h?k=v", "http://h?***"),
            ("https://h/a@b", "https://h/a@b"),
            ("https://h#token", "https://h#***"),
            ("hush-hush", "***"),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }

    #[test]
    fn keys_are_hidden_as_they_are_and_encoded() {
        for (text, hidden) in [
            ("", ""),
            ("ä nothing % of %2 the kind %zz", "ä nothing % of %2 the kind %zz"),
            ("x ab/cd+ef= y AKID1AKID1", "x *** y ******"),
            ("x ab%2Fcd%2Bef%3D y", "x *** y"),
            ("x ab%2fcd+ef%3d y", "x *** y"),
            ("x ab%252Fcd%252Bef%253D y", "x *** y"),
            ("tök/en==|t%C3%B6k%2Fen%3D%3D", "***|***"),
            ("ab/cd+ef", "ab/cd+ef"),
            ("ä%c3%", "ä%c3%"),
        ] {
            assert_eq!(shown(text), hidden, "{text}");
        }
    }
}
