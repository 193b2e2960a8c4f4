//! TLS towards partners: the system's roots decide which certificates are trusted, names and dates are checked, and
//! a failure is not a delivery.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::partner::{batch, http, http_sinks, unreachable};
use crate::support::program::Workspace;
use crossbeam_channel::{Receiver, unbounded};
use octoconf::settings::HttpSettings;
use octoconf::sink::Sink;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509NameBuilder};

/// 2001-09-09 and 2033-05-18, in seconds since the epoch.
const LONG_AGO: i64 = 1_000_000_000;
const FAR_AWAY: i64 = 2_000_000_000;

/// A certificate authority that no system trusts.
struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    fn new() -> Self {
        let key = key();
        let certificate = certificate("octoconf tests", None, FAR_AWAY, &key, None);
        Self { certificate, key }
    }

    /// Makes this authority one of the system's roots for the programs of the workspace.
    fn trusted_in(&self, workspace: Workspace) -> Workspace {
        let roots = workspace.path("roots.pem");
        fs::write(&roots, self.certificate.to_pem().unwrap()).unwrap();
        // The place in which the platform's TLS library looks for the system's roots.
        workspace.with_environment(&[("SSL_CERT_FILE", roots.to_str().unwrap())])
    }

    /// Starts a server with a certificate of this authority for the name or address, valid until the given time.
    fn server(&self, name: &str, until: i64, answer: Answer) -> Server {
        let key = key();
        let certificate = certificate(name, Some(name), until, &key, Some(self));
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        Server::start(acceptor.build(), answer)
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn named(name: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    builder.build()
}

/// Creates a certificate, signed by the issuer, or self-signed as an authority.
fn certificate(name: &str, host: Option<&str>, until: i64, key: &PKey<Private>, issuer: Option<&Authority>) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if issuer.is_some() { 2 } else { 1 }).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&named(name)).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(LONG_AGO).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(until).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    match issuer {
        Some(issuer) => builder.set_issuer_name(issuer.certificate.subject_name()).unwrap(),
        None => {
            builder.set_issuer_name(&named(name)).unwrap();
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
    }
    if let Some(host) = host {
        let mut names = SubjectAlternativeName::new();
        if host.parse::<std::net::IpAddr>().is_ok() {
            names.ip(host)
        } else {
            names.dns(host)
        };
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[derive(Clone, Copy)]
enum Answer {
    Accepted,
    /// Bytes that are not a TLS record.
    Garbage,
    /// An interim answer, then one that leaves the connection open.
    Kept,
    /// Two answers at once, each in a record of its own; the connection stays open.
    Twice,
    /// Two answers, of which the second ends the record that also ends the first. The reader's buffer of 16 KiB does not
    /// hold the whole record behind what came before it, so the TLS library keeps the second answer.
    Buried,
    /// A refusal before the body is read, and a reset.
    Early,
}

/// A server that listens until the test ends, and passes on the first line of each request that came through TLS, with
/// the number of its connection.
struct Server {
    port: u16,
    requests: Receiver<(usize, String)>,
}

/// A socket that sends what is written while it is held back in one piece.
struct Socket {
    stream: TcpStream,
    held_back: Option<Vec<u8>>,
}

impl Socket {
    fn send_held_back(&mut self) -> io::Result<()> {
        let bytes = self.held_back.take().unwrap_or_default();
        self.stream.write_all(&bytes)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.held_back {
            Some(held_back) => held_back.write(bytes),
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Server {
    fn start(acceptor: SslAcceptor, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = unbounded();
        let acceptor = Arc::new(acceptor);
        // The thread is not joined: it ends with the test process.
        let serving = move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                // What is held until the other side has acknowledged what came before is lost with a reset.
                stream.set_nodelay(true).unwrap();
                let socket = Socket { stream, held_back: None };
                let Ok(stream) = acceptor.accept(socket) else { continue };
                let mut stream = BufReader::new(stream);
                while let Some((line, length)) = head(&mut stream) {
                    if let Answer::Early = answer {
                        let refusal = b"HTTP/1.1 429 Slow\r\nretry-after: 3600\r\nconnection: close\r\n\r\nslow down";
                        stream.get_mut().write_all(refusal).unwrap();
                        sender.send((connection, line)).unwrap();
                        break;
                    }
                    // The whole body is read, since closing with unread data would reset the connection.
                    stream.read_exact(&mut vec![0; length]).unwrap();
                    sender.send((connection, line)).unwrap();
                    let stream = stream.get_mut();
                    match answer {
                        Answer::Accepted => _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
                        Answer::Garbage => _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
                        Answer::Kept => {
                            stream.write_all(b"HTTP/1.1 100 Continue\r\nserver: x\r\n\r\n").unwrap();
                            stream.write_all(EMPTY).unwrap();
                            continue;
                        }
                        Answer::Buried => {
                            // As long as the second answer, which the buffer thus has no room for.
                            let start = format!("{:p<1$}", "HTTP/1.1 200 OK\r\nx: ", EMPTY.len());
                            let length = 16 * 1024 - "\r\ncontent-length: 16384\r\n\r\n".len() - EMPTY.len();
                            let rest = format!("\r\ncontent-length: {length}\r\n\r\n{:b<length$}", "");
                            stream.write_all(start.as_bytes()).unwrap();
                            stream.write_all(&[rest.as_bytes(), EMPTY].concat()).unwrap();
                            continue;
                        }
                        Answer::Early => break,
                        Answer::Twice => {
                            stream.get_mut().held_back = Some(Vec::new());
                            (0..2).for_each(|_| stream.write_all(EMPTY).unwrap());
                            let _ = stream.get_mut().send_held_back();
                            continue;
                        }
                    }
                    break;
                }
            }
        };
        thread::Builder::new().spawn(serving).unwrap();
        Self { port, requests }
    }
}

/// Reads the first line of a request and the length of its body.
fn head(stream: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).ok()?;
    for line in stream.lines() {
        let line = line.ok()?;
        if line.is_empty() {
            return Some((first, length));
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    None
}

const CONFIG: &str = r#"
    [admin]
    listen = ""
    [engine]
    shutdown_timeout = "2s"
    [queues.q]
    source = "sqlite"
    handler = "plain"
    [handlers.plain]
    jq = "."
    bucket = ".account"
    [partners.default]
    deliver = "http"
    url = "https://127.0.0.1:1/"
    min_backoff = "5m"
"#;

#[test]
fn an_unknown_authority_is_not_trusted() {
    let server = Authority::new().server("127.0.0.1", FAR_AWAY, Answer::Accepted);
    let timeout = Duration::from_secs(10);
    let sinks = http_sinks(HttpSettings { timeout, ..http(format!("https://127.0.0.1:{}/", server.port)) });
    let reason = unreachable(sinks.deliver(&batch("acme", &["1"])));
    assert!(reason.starts_with(&format!("connecting to 127.0.0.1:{}: TLS failed", server.port)), "{reason}");
    assert!(server.requests.is_empty());
}

#[test]
fn a_root_of_the_system_is_trusted_for_name_and_time() {
    let authority = Authority::new();
    let servers = [
        ("good", authority.server("127.0.0.1", FAR_AWAY, Answer::Accepted)),
        ("other", authority.server("partner.example", FAR_AWAY, Answer::Accepted)),
        ("expired", authority.server("127.0.0.1", LONG_AGO + 1, Answer::Accepted)),
        ("broken", authority.server("127.0.0.1", FAR_AWAY, Answer::Garbage)),
    ];
    let mut config = CONFIG.to_owned();
    let mut messages = String::new();
    for (account, server) in &servers {
        write!(config, "\n[partners.{account}]\nurl = \"https://127.0.0.1:{}/{account}\"\n", server.port).unwrap();
        writeln!(messages, "{{\"account\":\"{account}\"}}").unwrap();
    }
    let workspace = authority.trusted_in(Workspace::new("octoconf.toml", &config));
    let file = workspace.write("messages.jsonl", &messages);
    workspace.expect(0, &["send", "q", file.to_str().unwrap()]);

    let running = workspace.start(&["run", "--report", "report.json"]);
    for account in ["other", "expired"] {
        workspace.said(&[&format!("partner={account:?}"), "TLS failed", "certificate verify failed"]);
    }
    workspace.said(&["partner=\"broken\"", "waiting for the answer of"]);
    let [good, others @ ..] = &servers;
    assert_eq!(good.1.requests.recv().unwrap(), (0, "POST /good HTTP/1.1\r\n".to_owned()));
    running.signal("TERM");
    assert_eq!(running.end(), Some(0));
    let asked: Vec<(&str, usize)> = others.iter().map(|(account, server)| (*account, server.requests.len())).collect();
    assert_eq!(asked, [("other", 0), ("expired", 0), ("broken", 1)]);
    let queue = &workspace.report()["queues"][0];
    assert_eq!((&queue["delivered"], &queue["dead"]), (&1.into(), &0.into()));
}

/// Returns the number of the connection on which each of three requests came, one message each.
fn connections(answer: Answer) -> Vec<usize> {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1", FAR_AWAY, answer);
    // A look at a silent connection that waited for something would take as long as connecting may.
    let partner =
        format!("\n[partners.acme]\nurl = \"https://127.0.0.1:{}/\"\nmax_batch = 1\nconnect_timeout = \"10m\"\n", server.port);
    let workspace = authority.trusted_in(Workspace::new("octoconf.toml", &format!("{CONFIG}{partner}")));
    let file = workspace.write("messages.jsonl", &"{\"account\":\"acme\"}\n".repeat(3));
    workspace.expect(0, &["send", "q", file.to_str().unwrap()]);
    workspace.expect(0, &["run", "--until-empty"]);
    server.requests.try_iter().map(|(connection, _)| connection).collect()
}

/// The second answer would be taken for that to the next request, which may fare otherwise.
#[test]
fn a_connection_that_holds_more_than_its_answer_serves_no_other_request() {
    assert_eq!(connections(Answer::Twice), [0, 1, 2]);
    assert_eq!(connections(Answer::Buried), [0, 1, 2]);
}

#[test]
fn a_connection_that_is_silent_after_its_answer_serves_the_next_request() {
    assert_eq!(connections(Answer::Kept), [0, 0, 0]);
}

#[test]
fn an_answer_before_the_body_is_read_counts_with_its_fields() {
    let authority = Authority::new();
    let server = authority.server("127.0.0.1", FAR_AWAY, Answer::Early);
    let partner = format!(
        "\n[partners.acme]\nurl = \"https://127.0.0.1:{}/\"\nmax_batch_bytes = \"16MiB\"\nlinger = \"2s\"\n",
        server.port
    );
    let workspace = authority.trusted_in(Workspace::new("octoconf.toml", &format!("{CONFIG}{partner}")));
    let line = format!("{{\"account\":\"acme\",\"x\":\"{}\"}}\n", "x".repeat(900_000));
    let file = workspace.write("messages.jsonl", &line.repeat(12));
    workspace.expect(0, &["send", "q", file.to_str().unwrap()]);
    let running = workspace.start(&["run"]);
    workspace.said(&["a partner waits", "next_attempt_in_ms=3600000", "429", "slow down"]);
    running.signal("TERM");
    assert_eq!(running.end(), Some(0));
}
