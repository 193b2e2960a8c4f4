//! The elements of an answer's XML, borrowed from it. Pure functions.
//!
//! SQS writes plain records: elements in elements, text at the leaves, no attribute that matters, and
//! never an element within another of the same name. So the end of an element is the next end tag of its
//! name, which is found at the speed of `memchr`. A full XML parser (`quick-xml`) stops at each entity,
//! and a JSON body has one for each quote: its events alone cost more than everything that is done here.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// The children of an element, or of the document, in order.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

/// One element: its name, and the bytes between its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub name: &'a [u8],
    pub inner: &'a [u8],
}

/// Why a text is not a record of SQS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the element {0} has no end")]
    Unended(String),
    #[error("a tag is malformed")]
    Tag,
    #[error("a text is not UTF-8")]
    Utf8,
    #[error("a text has a wrong entity")]
    Entity,
}

impl<'a> Elements<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Returns the first child of that name. An unreadable child ends the search.
    pub fn find(self, name: &str) -> Option<Element<'a>> {
        self.map_while(Result::ok).find(|element| element.name == name.as_bytes())
    }

    /// Skips what is not an element, and returns the text from the next tag's name on; `None` if no tag is left.
    fn tag(&mut self) -> Option<Result<&'a [u8], Malformed>> {
        loop {
            let open = memchr(b'<', self.rest)?;
            let tag = self.rest.get(open + 1..)?;
            let end: &[u8] = match tag.first() {
                Some(b'?') => b"?>",
                Some(b'!') if tag.starts_with(b"!--") => b"-->",
                // A document type could define entities; SQS sends none.
                Some(b'!' | b'/') | None => return Some(Err(Malformed::Tag)),
                Some(_) => return Some(Ok(tag)),
            };
            match memmem::find(tag, end) {
                Some(at) => self.rest = tag.get(at + end.len()..).unwrap_or_default(),
                None => return Some(Err(Malformed::Tag)),
            }
        }
    }

    fn element(&mut self, tag: &'a [u8]) -> Result<Element<'a>, Malformed> {
        let close = memchr(b'>', tag).ok_or(Malformed::Tag)?;
        let (head, after) = (tag.get(..close).unwrap_or_default(), tag.get(close + 1..).unwrap_or_default());
        let (head, empty) = head.strip_suffix(b"/").map_or((head, false), |head| (head, true));
        let name = head.split(u8::is_ascii_whitespace).next().filter(|name| !name.is_empty()).ok_or(Malformed::Tag)?;
        if empty {
            self.rest = after;
            return Ok(Element { name, inner: b"" });
        }
        for end in memmem::find_iter(after, b"</") {
            let rest = after.get(end + 2..).and_then(|rest| rest.strip_prefix(name)).map(<[u8]>::trim_ascii_start);
            if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b">")) {
                self.rest = rest;
                return Ok(Element { name, inner: after.get(..end).unwrap_or_default() });
            }
        }
        Err(Malformed::Unended(String::from_utf8_lossy(name).chars().take(40).collect()))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Malformed>;

    /// Ends after an error, since the start of the next element cannot be known then.
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.tag()?.and_then(|tag| self.element(tag));
        if found.is_err() {
            self.rest = b"";
        }
        Some(found)
    }
}

impl<'a> Element<'a> {
    pub fn children(self) -> Elements<'a> {
        Elements::of(self.inner)
    }

    /// Returns the text exactly, with its white space and line ends.
    pub fn text(self) -> Result<Cow<'a, str>, Malformed> {
        if let Some(plain) = self.inner.strip_prefix(b"<![CDATA[").and_then(|raw| raw.strip_suffix(b"]]>")) {
            return std::str::from_utf8(plain).map(Cow::Borrowed).map_err(|_| Malformed::Utf8);
        }
        if memchr(b'<', self.inner).is_some() {
            return Err(Malformed::Tag);
        }
        match memchr(b'&', self.inner) {
            None => std::str::from_utf8(self.inner).map(Cow::Borrowed).map_err(|_| Malformed::Utf8),
            Some(_) => {
                let text = unescape(self.inner).ok_or(Malformed::Entity)?;
                String::from_utf8(text).map(Cow::Owned).map_err(|_| Malformed::Utf8)
            }
        }
    }
}

/// The number of bytes that are searched and copied at once.
const STEP: usize = 8;

/// Replaces the entities of a text. `None` if one is neither one of XML's five nor the number of a character.
///
/// In JSON there is an entity every eight bytes or so, where starting a search for the next one and a copy of the text
/// before it costs more than the work itself. So each step is copied whole, and cut off again from the entity on.
fn unescape(raw: &[u8]) -> Option<Vec<u8>> {
    // No entity is shorter than its character, so the buffer never grows.
    let mut text = Vec::with_capacity(raw.len() + STEP);
    let mut rest = raw;
    while let Some((step, behind)) = rest.split_first_chunk::<STEP>() {
        text.extend_from_slice(step);
        let plain = plain(*step);
        if plain == STEP {
            rest = behind;
            continue;
        }
        text.truncate(text.len() - (STEP - plain));
        rest = entity(rest.get(plain..)?, &mut text)?;
    }
    while let Some(byte) = rest.first() {
        if *byte == b'&' {
            rest = entity(rest, &mut text)?;
        } else {
            text.push(*byte);
            rest = rest.get(1..)?;
        }
    }
    Some(text)
}

/// Returns how many bytes precede the first ampersand.
fn plain(step: [u8; STEP]) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; STEP]);
    const HIGH: u64 = u64::from_le_bytes([0x80; STEP]);
    // `other` has a zero byte for each ampersand; the lowest high bit that remains belongs to the first zero byte.
    let other = u64::from_le_bytes(step) ^ (ONES * b'&' as u64);
    let found = other.wrapping_sub(ONES) & !other & HIGH;
    (found.trailing_zeros() / 8) as usize
}

/// Appends the character of the entity that `raw` begins with, and returns the rest.
fn entity<'a>(raw: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    const NAMED: [(&[u8], u8); 5] = [(b"&quot;", b'"'), (b"&amp;", b'&'), (b"&lt;", b'<'), (b"&gt;", b'>'), (b"&apos;", b'\'')];
    for (name, byte) in NAMED {
        if let Some(behind) = raw.strip_prefix(name) {
            text.push(byte);
            return Some(behind);
        }
    }
    let digits = raw.strip_prefix(b"&#")?;
    let (digits, behind) = digits.split_at_checked(memchr(b';', digits)?)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let code = match digits.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    behind.get(1..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<Result<(String, String), Malformed>> {
        let told =
            |element: Element<'_>| (String::from_utf8_lossy(element.name).into(), String::from_utf8_lossy(element.inner).into());
        Elements::of(text.as_bytes()).map(|element| element.map(told)).collect()
    }

    fn pair(name: &str, inner: &str) -> Result<(String, String), Malformed> {
        Ok((name.into(), inner.into()))
    }

    #[test]
    fn elements_come_in_order_whatever_stands_between_them() {
        let text = "<?xml version=\"1.0\"?>\n<!-- <a> --><a x=\"1\">1<b>2</b></a>\n <c/><d />  <e> </e >";
        assert_eq!(all(text), [pair("a", "1<b>2</b>"), pair("c", ""), pair("d", ""), pair("e", " ")]);
        assert!(all("  \n").is_empty() && all("").is_empty() && all("no element").is_empty());
    }

    #[test]
    fn a_name_that_begins_like_another_is_another() {
        assert_eq!(all("<Value><ValueList>1</ValueList></Value>"), [pair("Value", "<ValueList>1</ValueList>")]);
    }

    #[test]
    fn half_of_a_document_gives_what_is_whole_and_then_an_error() {
        let unended = Err(Malformed::Unended("b".into()));
        assert_eq!(all("<a>1</a><b>2</"), [pair("a", "1"), unended.clone()]);
        assert_eq!(all("<a>1</a><b>2"), [pair("a", "1"), unended]);
        for text in ["<", "<a", "</a>", "<>1</>", "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", "<? a", "<!-- a"] {
            assert_eq!(all(text), [Err(Malformed::Tag)], "{text}");
        }
    }

    #[test]
    fn text_is_kept_to_the_character() {
        let text = |inner: &'static str| Element { name: b"a", inner: inner.as_bytes() }.text().map(Cow::into_owned);
        assert_eq!(text(" \r\n&#xD;&#10;\t").as_deref(), Ok(" \r\n\r\n\t"));
        assert_eq!(text("&quot;&lt;&amp;&gt;&apos;\u{1F419}&#x1F419;").as_deref(), Ok("\"<&>'\u{1F419}\u{1F419}"));
        assert_eq!(text("<![CDATA[a&b<c>]]>").as_deref(), Ok("a&b<c>"));
        assert_eq!(text("&nbsp;"), Err(Malformed::Entity));
        for wrong in ["&amp", "&", "a&", "&;", "&#;", "&#x;", "&#xD800;", "&#x110000;", "&#-1;", "&quot"] {
            assert_eq!(text(wrong), Err(Malformed::Entity), "{wrong}");
        }
        assert_eq!(text("a&amp;quot;b&lt;").as_deref(), Ok("a&quot;b<"));
        assert_eq!(text("a<b/>"), Err(Malformed::Tag));
        for wrong in [&b"\xff"[..], b"&lt;\xff", b"<![CDATA[\xff]]>"] {
            assert_eq!(Element { name: b"a", inner: wrong }.text(), Err(Malformed::Utf8));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_its_entities_wherever_they_stand(
            text in "([\"&<>'\r]|[a-z]{0,20}|\u{1F419}|ä){0,40}",
            decimal: bool,
        ) {
            let return_ = if decimal { "&#13;" } else { "&#xD;" };
            let raw = text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
            let raw = raw.replace('\'', "&apos;").replace('\r', return_);
            let read = Element { name: b"a", inner: raw.as_bytes() }.text().map(Cow::into_owned);
            prop_assert_eq!(read, Ok(text));
        }
    }
}
