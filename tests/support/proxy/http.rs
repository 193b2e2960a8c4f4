//! One HTTP/1.1 request or answer as bytes: enough of the framing (RFC 9112, section 6) to find its end.

use std::io::{self, BufRead, Read};

/// A message as transmitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The bytes up to and including the empty line.
    pub head: Vec<u8>,
    /// The body, including the chunk framing if it is chunked.
    pub body: Vec<u8>,
}

impl Wire {
    /// Reads one message to its end, or returns `None` if the other side closes before it starts.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        loop {
            let start = head.len();
            if from.read_until(b'\n', &mut head)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if head.get(start..).is_some_and(|line| line == b"\r\n") {
                break;
            }
        }
        let mut wire = Self { head, body: Vec::new() };
        if wire.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            wire.read_chunks(from)?;
        } else if let Some(length) = wire.header("content-length") {
            let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            wire.read_exactly(from, length)?;
        }
        Ok(Some(wire))
    }

    /// Returns the value of a header, whose name may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        let mut headers = lines.filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.body].concat()
    }

    fn read_exactly(&mut self, from: &mut impl BufRead, length: u64) -> io::Result<()> {
        let read = from.by_ref().take(length).read_to_end(&mut self.body)?;
        if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_chunks(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        loop {
            let start = self.body.len();
            from.read_until(b'\n', &mut self.body)?;
            let size = self.body.get(start..).and_then(|line| str::from_utf8(line).ok()).map(str::trim);
            let size = size.and_then(|line| u64::from_str_radix(line, 16).ok()).ok_or(io::ErrorKind::InvalidData)?;
            // Each chunk ends with a line end. No trailers follow the last chunk, which is empty.
            self.read_exactly(from, size + 2)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}
