//! Reads JSONL for `send` and `try`: one body per line, from a file or standard input.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use crate::message::MAX_BODY;

/// One line of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of the line, counted from 1, blank lines included.
    pub number: u64,
    /// The line without its end: the body of a message.
    pub body: Bytes,
}

/// Why the next line cannot be returned. Nothing after that line is read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than any queue accepts. Only a bounded part of it was read.
    #[error("line {number} is longer than {MAX_BODY} bytes, the most that a message may have")]
    TooLong {
        /// The number of the line.
        number: u64,
    },
    /// The input failed.
    #[error("line {number} cannot be read: {source}")]
    Read {
        /// The number of the line.
        number: u64,
        /// The error of the input.
        source: io::Error,
    },
}

/// An iterator over the lines of an input. Lines may end in `\n` or `\r\n`, and the last one in neither. Lines of white
/// space alone are skipped, and so is a byte order mark at the very start, as Windows writes it.
pub struct Lines<R> {
    input: R,
    number: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads the lines of an input.
    pub fn new(input: R) -> Self {
        Self { input, number: 0, failed: false }
    }

    /// Returns the next line that is not blank, or `None` at the end. Blocks for as long as the input does.
    fn read(&mut self) -> Result<Option<Line>, LineError> {
        // A byte order mark, the longest body, `\r\n`, and one more
        // byte by which a body that is too long is recognised.
        const MAX_LINE_BYTES: u64 = 3 + MAX_BODY as u64 + 3;
        loop {
            self.number += 1;
            let number = self.number;
            let mut line = Vec::new();
            let read = self.input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if read.map_err(|source| LineError::Read { number, source })? == 0 {
                return Ok(None);
            }
            if line.pop_if(|byte| *byte == b'\n').is_some() {
                line.pop_if(|byte| *byte == b'\r');
            }
            if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            if line.len() > MAX_BODY {
                return Err(LineError::TooLong { number });
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Line { number, body: line.into() }));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let line = self.read().transpose();
        self.failed = matches!(line, Some(Err(_)));
        line
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(input: &[u8]) -> Vec<(u64, Vec<u8>)> {
        Lines::new(input).map(|line| line.map(|line| (line.number, line.body.to_vec())).unwrap()).collect()
    }

    #[test]
    fn ends_of_lines_are_no_part_of_a_body() {
        let expected = vec![(1, b"1".to_vec()), (2, b"2".to_vec()), (3, b"3".to_vec())];
        assert_eq!(lines(b"1\n2\n3\n"), expected);
        assert_eq!(lines(b"1\r\n2\r\n3\r\n"), expected);
        assert_eq!(lines(b"1\n2\n3"), expected);
        assert_eq!(lines(b"\xef\xbb\xbf1\n2\n3"), expected);
        assert_eq!(lines(b" 1 \r\r\n"), [(1, b" 1 \r".to_vec())]);
    }

    #[test]
    fn blank_lines_are_skipped_and_counted() {
        assert_eq!(lines(b"\n\r\n 1\n \t\n2\n\n"), [(3, b" 1".to_vec()), (5, b"2".to_vec())]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn the_longest_body_passes_and_a_longer_one_ends_it() {
        let longest = vec![b'1'; MAX_BODY];
        for end in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(lines(&[&longest, end].concat()), [(1, longest.clone())]);
            if !end.is_empty() {
                let marked = [b"\xef\xbb\xbf", longest.as_slice(), end, b"2\n"].concat();
                let expected = [(1, longest.clone()), (2, b"2".to_vec())];
                assert_eq!(lines(&marked), expected);
            }
            let input = [b"2\n", longest.as_slice(), b"1", end, b"\n3\n"].concat();
            let mut read = Lines::new(BufReader::new(&input[..]));
            assert_eq!(read.next().unwrap().unwrap().number, 1);
            assert!(matches!(read.next(), Some(Err(LineError::TooLong { number: 2 }))));
            assert!(read.next().is_none());
        }
    }

    #[test]
    fn an_input_that_fails_is_named_with_its_line() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let mut read = Lines::new(BufReader::new((&b"1\n2"[..]).chain(Broken)));
        assert_eq!(read.next().unwrap().unwrap().number, 1);
        assert_eq!(read.next().unwrap().unwrap_err().to_string(), "line 2 cannot be read: the disk is gone");
        assert!(read.next().is_none());
    }
}
