//! The head of an answer, as far as `ureq` does not help: it does not tell the status of a head that breaks off, and it
//! fails at a `100 Continue` that has fields.

/// Returns the code of a complete HTTP/1 status line (RFC 9112, section 4) that ends an exchange, so not the
/// code of an interim answer.
pub fn status_of(input: &[u8]) -> Option<u16> {
    code_of(without_empty_lines(input)).filter(|code| *code >= 200)
}

/// Returns whether a status code says that the request is accepted.
pub fn accepts(code: u16) -> bool {
    (200..300).contains(&code)
}

/// Returns what follows the complete interim answers at the beginning of `input`. A server may send any number of them,
/// with fields, before the answer proper (RFC 9110, section 15.2). `101 Switching Protocols` is none of them, since what
/// follows it is another protocol.
pub fn after_interim(mut input: &[u8]) -> &[u8] {
    loop {
        let answer = without_empty_lines(input);
        match code_of(answer).filter(|code| (100..200).contains(code) && *code != 101).and_then(|_| after_head(answer)) {
            Some(rest) => input = rest,
            None => return input,
        }
    }
}

/// Returns the values of the fields of this name in a head, as far as they are text and their lines are complete. Lines
/// that are no fields do not matter.
pub fn values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = head;
    let lines = std::iter::from_fn(move || {
        let line;
        (line, rest) = split_line(rest)?;
        Some(line).filter(|line| !line.is_empty())
    });
    lines.skip(1).filter_map(move |line| {
        let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        found.trim_end().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Returns the head at the beginning of `input`, as far as it is there, and whether it is whole.
pub fn head_of(input: &[u8]) -> (&[u8], bool) {
    let input = without_empty_lines(input);
    match after_head(input) {
        Some(rest) => (input.get(..input.len() - rest.len()).unwrap_or_default(), true),
        None => (input, false),
    }
}

/// Returns what follows the empty line that ends a head, or `None` if that line is not there yet.
fn after_head(mut input: &[u8]) -> Option<&[u8]> {
    loop {
        let line;
        (line, input) = split_line(input)?;
        if line.is_empty() {
            return Some(input);
        }
    }
}

/// Returns the code of the complete status line at the beginning of `input`.
fn code_of(input: &[u8]) -> Option<u16> {
    let (line, _) = split_line(input)?;
    let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
    let (code, reason) = rest.split_at_checked(3)?;
    let code = code.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(code).ok()?.parse().ok())?;
    // A reason may be in any encoding.
    code.filter(|_| reason.is_empty() || reason.starts_with(b" "))
}

/// Skips empty lines before a status line, as `ureq` does.
fn without_empty_lines(mut input: &[u8]) -> &[u8] {
    while let Some((b"", rest)) = split_line(input) {
        input = rest;
    }
    input
}

/// Returns the first line without its end, and what follows it, or `None` if the line is not complete.
fn split_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = (input.get(..end)?, input.get(end + 1..)?);
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_counts_once_it_is_whole_and_final() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503 \r\nRetry"), Some(503));
        assert_eq!(status_of(b"HTTP/1.1 429\n"), Some(429));
        assert_eq!(status_of(b"\r\n\nHTTP/1.1 500 d\xe9faut\r\n"), Some(500));
        for input in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 100 Continue\r\n",
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 +20 OK\r\n",
            "hello\r\n",
        ] {
            assert_eq!(status_of(input.as_bytes()), None, "{input:?}");
        }
    }

    #[test]
    fn fields_are_found_in_a_head_that_is_not_valid_or_not_whole() {
        let found = |input: &'static str| values(head_of(input.as_bytes()).0, "retry-after").collect::<Vec<_>>();
        assert_eq!(
            found("\r\nHTTP/1.1 429 Slow\r\nbad field: x\r\n\0\r\nRetry-After:  7 \r\nretry-after : 9\r\nRetry-"),
            ["7", "9"]
        );
        for head in ["", "retry-after: 7", "HTTP/1.1 429\r\nx: y\r\n\r\nretry-after: 7\r\n", "HTTP/1.1 429\r\nretry-after: 7"] {
            assert_eq!(found(head), [""; 0], "{head:?}");
        }
        assert_eq!(head_of(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody"), (&b"HTTP/1.1 200 OK\r\n\r\n"[..], true));
        assert_eq!(head_of(b"\r\nHTTP/1.1 200 OK\r\nx"), (&b"HTTP/1.1 200 OK\r\nx"[..], false));
    }

    #[test]
    fn interim_answers_are_skipped_once_their_heads_are_whole() {
        for (input, rest) in [
            ("", ""),
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            ("HTTP/1.1 100 Continue\r\n\r\n", ""),
            ("HTTP/1.1 100 Continue\r\nserver: x\r\n\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
            ("HTTP/1.1 102\n\nHTTP/1.1 103 Hints\r\nlink: x\r\nlink: y\r\n\r\nHTTP", "HTTP"),
            ("HTTP/1.1 100 Continue\r\nserver: x\r\n", "HTTP/1.1 100 Continue\r\nserver: x\r\n"),
            ("HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n"),
            ("\r\nHTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200", "\r\nHTTP/1.1 200"),
            ("hello\r\n\r\n", "hello\r\n\r\n"),
        ] {
            assert_eq!(after_interim(input.as_bytes()), rest.as_bytes(), "{input:?}");
        }
    }
}
