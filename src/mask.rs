//! Keeps secrets out of logs, errors and pages: those in URLs, and those in texts of servers and partners, which may quote our request.
//!
//! Pure.

use smallvec::{SmallVec, smallvec};

/// The text that replaces a secret.
const MASK: &str = "***";

/// The largest size of an entity between its ampersand and its semicolon, in bytes, and the semicolon.
const LONGEST_ENTITY: usize = 10;

/// The most backslashes that stand before a character: each time that a JSON string is quoted again, they double. A partner
/// may send thousands, which would be counted anew from each of them.
const MOST_BACKSLASHES: usize = 32;

/// More than the bytes of any spelling of a character.
const LONGEST_SPELLING: usize = MOST_BACKSLASHES + "u0000".len() + 1;

/// The named entities of HTML that its escaping functions write.
const NAMED: [(&str, char); 8] =
    [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("sol", '/'), ("plus", '+'), ("equals", '=')];

/// How a text that may quote secrets ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It is there as it was written.
    Whole,
    /// It was cut off, perhaps within a secret.
    CutOff,
}

/// Replaces the secrets in a whole text, as [`hide_in`] does.
pub fn hide<'a>(text: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    hide_in(text, Ends::Whole, secrets)
}

/// Replaces the secrets in `text` with [`MASK`]. Secrets are also found as whoever quotes our request may spell them: with
/// percent signs (once or twice, as in a canonical request) and pluses, with backslashes as in JSON, or with entities as in
/// HTML. Secrets shorter than four bytes are left alone. What may be the beginning of a secret at the end of a text that was
/// cut off is hidden too.
pub fn hide_in<'a>(text: String, ends: Ends, secrets: impl IntoIterator<Item = &'a str>) -> String {
    secrets.into_iter().filter(|secret| secret.len() > 3).fold(text, |text, secret| without(text, ends, secret))
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

fn without(text: String, ends: Ends, secret: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text.as_str());
    let mut found = false;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = match spelt(rest, ends, secret) {
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
fn spelt(text: &str, ends: Ends, secret: &str) -> Option<usize> {
    // An ampersand may be one, or the beginning of `&amp;`: only what follows tells.
    let mut rests: SmallVec<[&str; 2]> = smallvec![text];
    for character in secret.chars() {
        let next: SmallVec<_> = rests.iter().flat_map(|rest| after(rest, character)).collect();
        if next.is_empty() {
            let is_cut = ends == Ends::CutOff && rests.iter().any(|rest| is_torn(rest));
            return is_cut.then_some(text.len());
        }
        rests = next;
    }
    rests.iter().map(|rest| text.len() - rest.len()).max()
}

/// Returns whether a text that is cut off ends where `rest` begins, or within the character that begins there.
fn is_torn(rest: &str) -> bool {
    // Another secret may begin with the last characters, which are masked then.
    let is_end = rest.is_empty() || rest == MASK || rest == "\u{fffd}";
    is_end || (rest.len() < LONGEST_SPELLING && rest.starts_with(['%', '\\', '&']))
}

/// Returns what may follow `character` at the beginning of `text`, for each way to spell it that fits.
fn after(text: &str, character: char) -> impl Iterator<Item = &str> {
    let (once, twice) = (after_percent(text, character, "%"), after_percent(text, character, "%25"));
    let (backslash, entity) = (after_backslash(text, character), after_entity(text, character));
    // A blank is a plus in forms.
    let plus = text.strip_prefix('+').filter(|_| character == ' ');
    [text.strip_prefix(character), plus, once, twice, backslash, entity].into_iter().flatten()
}

/// `%2F`, as in URLs and forms, where `sign` is `%`; `%252F`, in those that were encoded twice, where it is `%25`.
fn after_percent<'a>(text: &'a str, character: char, sign: &str) -> Option<&'a str> {
    let mut bytes = [0; 4];
    character.encode_utf8(&mut bytes).bytes().try_fold(text, |text, byte| {
        let (digits, rest) = text.strip_prefix(sign)?.split_at_checked(2)?;
        (u8::from_str_radix(digits, 16) == Ok(byte)).then_some(rest)
    })
}

/// `\/` or `\u002f`, as in JSON and most languages, with more backslashes where that was quoted again.
fn after_backslash(text: &str, character: char) -> Option<&str> {
    let count = text.bytes().take(MOST_BACKSLASHES + 1).take_while(|byte| *byte == b'\\').count();
    let rest = text.get(count..).filter(|_| (1..=MOST_BACKSLASHES).contains(&count))?;
    let by_number = || {
        let (digits, rest) = rest.strip_prefix('u')?.split_at_checked(4)?;
        (u32::from_str_radix(digits, 16) == Ok(u32::from(character))).then_some(rest)
    };
    by_number().or_else(|| rest.strip_prefix(character))
}

/// `&#47;`, `&#x2f;` or `&amp;`, as in HTML and XML.
fn after_entity(text: &str, character: char) -> Option<&str> {
    let text = text.strip_prefix('&')?;
    let (name, rest) = text.split_at_checked(text.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';')?)?;
    let rest = rest.strip_prefix(';')?;
    let number = match name.strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        },
        None => NAMED.iter().find(|(named, _)| *named == name).map(|(_, character)| u32::from(*character)),
    };
    (number == Some(u32::from(character))).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        hide(text.to_owned(), ["ab/cd+ef=", "tök/en==", "AKID1", "<k&v&w>", "50%off%", r"a\\\b"])
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
            (r"x ab\/cd+ef= y", "x *** y"),
            (r"x ab\\/cd\u002Bef\u003d y", "x *** y"),
            (r"t\u00f6k\/en==", "***"),
            (r"ab\u003fcd+ef=", r"ab\u003fcd+ef="),
            ("x ab&#47;cd&#x2B;ef&equals; y", "x *** y"),
            ("x &lt;k&amp;v&amp;w&gt; y", "x *** y"),
            ("x &lt;k&v&w&gt; &amp; &; & y", "x *** &amp; &; & y"),
            ("ä%c3%", "ä%c3%"),
            ("50%off%, 50%25off%25, 50%2525off%2525, 50%25off%", "***, ***, ***, ***"),
            (r"a\\\b, a\\\\\\b", r"***, ***"),
        ] {
            assert_eq!(shown(text), hidden, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_a_secret_is_hidden_where_the_text_was_cut_off() {
        let shown = |text: &str, ends| hide_in(text.to_owned(), ends, ["b/-hush", "ab/cd+ef=", "d+12", "tök/en=="]);
        for text in ["x ab/cd+e", "x ab/c", "x a", "x ab%2", "x ab\\u00", "x ab&#4", "x ab/cd", "x t\u{fffd}", "x ab/cd+ef="] {
            assert_eq!(shown(text, Ends::CutOff), "x ***", "{text}");
        }
        assert_eq!(shown("x ab/cd+e", Ends::Whole), "x ab/cd+e");
        assert_eq!(shown("x ab/c, ab/x", Ends::CutOff), "x ab/c, ab/x");
    }

    #[test]
    fn a_character_is_quoted_so_often_and_no_oftener() {
        let quoted = |backslashes| format!("ab{}/cd+ef=", "\\".repeat(backslashes));
        assert_eq!(shown(&quoted(MOST_BACKSLASHES)), "***");
        assert_eq!(shown(&quoted(MOST_BACKSLASHES + 1)), quoted(MOST_BACKSLASHES + 1));
    }
}
