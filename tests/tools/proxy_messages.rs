//! Tests of what the tests' own proxy reads: where an HTTP message ends, and what is none.

use std::io;

use crate::support::proxy::http::Wire;

fn read(mut text: &[u8]) -> io::Result<Option<Wire>> {
    Wire::read(&mut text)
}

#[test]
fn a_message_ends_where_its_length_says() {
    let mut two = &b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n"[..];
    let one = Wire::read(&mut two).unwrap().unwrap();
    assert_eq!((one.body.as_slice(), one.header("content-length")), (&b"abc"[..], Some("3")));
    assert_eq!(Wire::read(&mut two).unwrap().unwrap().head, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(Wire::read(&mut two).unwrap(), None);
}

#[test]
fn chunks_keep_their_frames() {
    let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(read(text).unwrap().unwrap().bytes(), text);
}

#[test]
fn a_message_that_breaks_off_is_an_error() {
    for text in
        ["POST / HT", "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", "A: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab"]
    {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
}
