//! What goes wrong between this process and the server, and how it is said.

use super::*;

#[test]
fn a_connection_that_the_server_closed_meanwhile_costs_nothing() {
    let stub = Stub::new(vec![ok("ReceiveMessage", ""), Reply::Cut(Vec::new()), ok("ReceiveMessage", "")]);
    let queue = stub.queue("stock");
    queue.receive(&ASK).unwrap();
    // The second request fails on the first one's connection and is sent again on a new one.
    queue.receive(&ASK).unwrap();
    stub.end();
}

#[test]
fn a_request_that_dies_on_its_own_connection_or_in_its_answer_is_not_repeated() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<Receive".to_vec();
    for (is_reused, cut) in [
        (false, Vec::new()),
        (false, half.clone()),
        (false, b"HTTP/1.1 2".to_vec()),
        (true, half),
        (true, b"HTTP/1.1 2".to_vec()),
    ] {
        let mut script = vec![Reply::Cut(cut), ok("ReceiveMessage", "")];
        if is_reused {
            script.insert(0, ok("ReceiveMessage", ""));
        }
        let stub = Stub::new(script);
        let queue = stub.queue("stock");
        if is_reused {
            queue.receive(&ASK).unwrap();
        }
        let error = queue.receive(&ASK).unwrap_err();
        assert!(error.is_transient(), "{error}");
        // A second attempt would have had this answer.
        queue.receive(&ASK).unwrap();
        stub.end();
    }
}

#[test]
fn tls_where_plain_text_was_meant_is_said() {
    let alert = vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];
    let stub = Stub::new(vec![Reply::Cut(alert)]);
    let error = stub.queue("stock").receive(&ASK).unwrap_err().to_string();
    assert!(error.contains("https://"), "{error}");
}

#[test]
fn plain_text_where_tls_was_meant_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::Builder::new().spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        // Waits until the client has read the answer and closed the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let service = Arc::new(Service::new("eu-west-1", &endpoint, Arc::new(credentials::Fixed(super::testing::keys()))));
    let (queue, dead_letter) = (Named::Url(endpoint), DeadLetterQueue::Nowhere);
    let queue = SqsQueue::new(SqsOptions { name: "stock".into(), service, queue, dead_letter, grouping: None });
    let error = queue.receive(&ASK).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("write http:// in endpoint"), "{error}");
    server.unwrap().join().unwrap();
}

#[test]
fn a_signature_refused_for_the_clock_says_so_and_shows_no_secret() {
    let body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: hush-token AKIDHUSH\n\
                x-amz-security-token:hush-token</Message></Error></ErrorResponse>";
    let stub = Stub::new(vec![Reply::With(403, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", body.to_owned())]);
    let error = stub.queue("stock").receive(&ASK).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("clock of this machine") && text.contains("1994-11-06"), "{text}");
    assert!(!text.to_lowercase().contains("hush"), "{text}");
}

#[test]
fn an_answer_without_end_is_cut_short() {
    let stub = Stub::new(vec![ok("GetQueueAttributes", &"x".repeat(2 * 1024 * 1024))]);
    let error = stub.queue("stock").count().unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}
