//! Which request gets which answer. Runs on the threads `admin-N`, which block for the dispatcher's
//! answer, a few seconds at most.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compact_str::CompactString;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::dispatch::{Action, EngineState, PartnerReport, QueueStage, Refusal};
use crate::engine::{Remote, Silent, Snapshot};
use crate::plain;

use super::access::{Access, Wish};
use super::request::Request;
use super::response::Response;
use super::{metrics, page, why};

/// The largest age of an answer about all partners.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The largest number of bytes of a search. No account that a person types is longer.
const LONGEST_SEARCH: usize = 256;

/// The largest number of searches at once. They wait for each other, each on a thread of the server, and most of these must
/// stay free for all other requests: whoever probes the health ends a service that does not answer.
const MOST_SEARCHES: usize = 3;

/// The site: what the server has to show.
pub struct Site {
    /// The engine to show; empty until it runs.
    engine: Arc<OnceLock<Remote>>,
    access: Arc<Access>,
    /// The number of searches at the moment.
    searches: AtomicUsize,
}

/// The place of one search among the [`MOST_SEARCHES`], until it is dropped.
struct Place<'a>(&'a AtomicUsize);

/// What `why` prints: the report, and the same in sentences.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    report: PartnerReport,
    why: Vec<String>,
}

/// The number of a queue's dead letters since the start, by reason.
#[derive(Serialize)]
struct DeadRow<'a> {
    queue: &'a str,
    reason: &'static str,
    count: u64,
}

/// What a path names.
enum Route<'a> {
    Page(&'static page::File),
    Alive,
    Ready,
    Metrics,
    Status,
    Dead,
    Search,
    Partner(&'a str),
    Action(&'a str, Action),
}

impl Site {
    pub fn new(engine: Arc<OnceLock<Remote>>, access: Arc<Access>) -> Self {
        Self { engine, access, searches: AtomicUsize::new(0) }
    }

    /// Ends the engine with this reason, because the server cannot go on.
    pub fn failed(&self, why: &str) {
        match self.engine.get() {
            Some(engine) => engine.died(why.to_owned()),
            None => log::error!("{why}"),
        }
    }

    /// Returns the answer to a request. Blocks for as long as the dispatcher takes, a few seconds at most.
    pub fn respond(&self, request: &Request) -> Response {
        match self.answer(request) {
            Ok(response) | Err(response) => response,
        }
    }

    fn answer(&self, request: &Request) -> Result<Response, Response> {
        let route = find(&request.path)?;
        let acts = matches!(route, Route::Action(..));
        let allowed = if acts { "allow: POST\r\n" } else { "allow: GET, HEAD\r\n" };
        match (request.method.as_str(), acts) {
            ("POST", true) | ("GET" | "HEAD", false) => {}
            ("POST", false) => return Err(Response::refusal(405, "this can only be read: use GET").with(allowed)),
            _ if acts => return Err(Response::refusal(405, "this is an action: use POST").with(allowed)),
            _ => return Err(Response::refusal(405, "only GET and HEAD do anything here").with(allowed)),
        }
        let wish = match route {
            Route::Action(..) => Some(Wish::Act),
            Route::Status | Route::Dead | Route::Search | Route::Partner(_) => Some(Wish::SeeAccounts),
            Route::Page(_) | Route::Alive | Route::Ready | Route::Metrics => None,
        };
        if let Some(refusal) = wish.and_then(|wish| self.access.refuses(request, wish)) {
            return Err(refusal);
        }
        match route {
            Route::Page(file) => Ok(Response::new(200, file.content_type, file.body.as_bytes())),
            Route::Alive => Ok(self.alive()),
            Route::Ready => Ok(self.ready()),
            Route::Metrics => Ok(metrics::response(&*self.snapshot()?, &request.accept)),
            Route::Status => Ok(Response::json(200, &*self.snapshot()?)),
            Route::Dead => Ok(Response::json(200, &dead(&*self.snapshot()?))),
            Route::Search => self.search(request.query.as_deref()),
            Route::Partner(account) => self.partner(&decoded(account)?),
            Route::Action(account, action) => self.act(&decoded(account)?, action),
        }
    }

    fn engine(&self) -> Result<&Remote, Response> {
        self.engine.get().ok_or_else(|| Response::refusal(503, "starting: the queues are not open yet"))
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Response> {
        self.engine()?.snapshot(MAX_AGE).map_err(silent)
    }

    fn alive(&self) -> Response {
        let Some(engine) = self.engine.get() else { return Response::text(200, "ok: starting") };
        let stalls = engine.health().stalls();
        match engine.answers() {
            Err(silent) => Response::text(503, silent.to_string()),
            Ok(()) if !stalls.is_empty() => Response::text(503, stalls.join("\n")),
            Ok(()) => Response::text(200, "ok"),
        }
    }

    fn ready(&self) -> Response {
        let Some(engine) = self.engine.get() else { return Response::text(503, "starting: the queues are not open yet") };
        let snapshot = match engine.snapshot(MAX_AGE) {
            Ok(snapshot) => snapshot,
            Err(silent) => return Response::text(503, silent.to_string()),
        };
        let faults = unready(&snapshot);
        if faults.is_empty() { Response::text(200, "ok") } else { Response::text(503, faults.join("\n")) }
    }

    fn search(&self, query: Option<&str>) -> Result<Response, Response> {
        let text = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("q="))).unwrap_or_default();
        // Forms write a space as `+`.
        let text = decoded(&text.replace('+', " "))?;
        if text.len() > LONGEST_SEARCH {
            return Err(Response::refusal(414, "a search is at most 256 bytes long"));
        }
        let _place = Place::take(&self.searches).ok_or_else(too_many_searches)?;
        let found = self.engine()?.search(text.into_string()).map_err(silent)?;
        Ok(Response::json(200, &found))
    }

    fn partner(&self, account: &str) -> Result<Response, Response> {
        match self.engine()?.partner(account.into()).map_err(silent)? {
            Some(report) => Ok(explained(report)),
            None => Err(Response::refusal(404, &Refusal::Unknown.to_string())),
        }
    }

    fn act(&self, account: &str, action: Action) -> Result<Response, Response> {
        let done = self.engine()?.operate(account.into(), action).map_err(silent)?;
        match done {
            Ok(report) => {
                let (account, action) = (plain::quoted(account), action.word());
                log::info!("an operator acted: partner={account} action={action} state={}", report.state);
                Ok(explained(*report))
            }
            Err(refusal @ Refusal::Unknown) => Err(Response::refusal(404, &refusal.to_string())),
            Err(refusal) => Err(Response::refusal(409, &refusal.to_string())),
        }
    }
}

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Self> {
        let one_more = |taken| (taken < MOST_SEARCHES).then_some(taken + 1);
        taken.try_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Self(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn too_many_searches() -> Response {
    Response::refusal(503, "too many searches at once").with("retry-after: 1\r\n")
}

fn explained(report: PartnerReport) -> Response {
    let why = why::sentences(&report);
    Response::json(200, &Explained { report, why })
}

fn silent(silent: Silent) -> Response {
    Response::refusal(503, &silent.to_string())
}

/// Returns why the service takes no messages now, or cannot reach a queue, in a line each.
fn unready(snapshot: &Snapshot) -> Vec<String> {
    let mut faults = Vec::new();
    if snapshot.status.state != EngineState::Running {
        faults.push(format!("{}: nothing more is received", snapshot.status.state));
    }
    // A queue that a reload removed only finishes what it holds.
    for queue in snapshot.status.queues.iter().filter(|queue| queue.state == QueueStage::Serving) {
        // Reasons may quote answers of services. They belong in the log and to clients that may see accounts.
        faults.extend(queue.failing.iter().map(|failing| format!("queue {}: {} fails", queue.name, failing.doing)));
        if !queue.reached && queue.failing.is_empty() {
            faults.push(format!("queue {}: not reached yet", queue.name));
        }
    }
    faults
}

fn dead(snapshot: &Snapshot) -> Vec<DeadRow<'_>> {
    let queues = snapshot.status.queues.iter();
    queues.flat_map(|queue| queue.tally.letters().map(|(reason, count)| DeadRow { queue: &queue.name, reason, count })).collect()
}

fn find(path: &str) -> Result<Route<'_>, Response> {
    let unknown = || Response::refusal(404, "there is nothing here; see / for the dashboard");
    // A client that sends such a path looks for files, and there are none.
    if path.split('/').any(|step| step == ".." || step == ".") {
        return Err(Response::refusal(400, "a path here contains neither . nor .. as a step"));
    }
    if let Some(file) = page::file(path) {
        return Ok(Route::Page(file));
    }
    match path {
        "/healthz" => return Ok(Route::Alive),
        "/readyz" => return Ok(Route::Ready),
        "/metrics" => return Ok(Route::Metrics),
        "/api/status" => return Ok(Route::Status),
        "/api/dead" => return Ok(Route::Dead),
        "/api/partners" => return Ok(Route::Search),
        _ => {}
    }
    let partner = path.strip_prefix("/api/partners/").ok_or_else(unknown)?;
    match partner.split_once('/') {
        None if !partner.is_empty() => Ok(Route::Partner(partner)),
        Some((account, word)) if !account.is_empty() => Action::ALL
            .into_iter()
            .find(|action| action.word() == word)
            .map(|action| Route::Action(account, action))
            .ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

fn decoded(text: &str) -> Result<CompactString, Response> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(CompactString::from).map_err(|_| Response::refusal(400, "this is not percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(method: &str, path: &str) -> u16 {
        let site = Site::new(Arc::default(), Arc::new(Access::new(None, true)));
        let request = Request { method: method.into(), path: path.into(), ..Request::default() };
        site.respond(&request).status()
    }

    #[test]
    fn paths_and_methods_have_their_statuses() {
        assert_eq!(respond("GET", "/"), 200);
        assert_eq!(respond("HEAD", "/dashboard.js"), 200);
        for path in [
            "/nothing",
            "/api",
            "/api/partners/",
            "/api/partners//flush",
            "/api/partners/acme/sell",
            "/api/partners/a/b/flush",
            "",
            "*",
        ] {
            assert_eq!(respond("GET", path), 404, "{path}");
        }
        for path in ["/../etc/passwd", "/..", "/./", "/api/partners/../../etc", "/api/partners/./flush"] {
            assert_eq!(respond("GET", path), 400, "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "BREW"] {
            assert_eq!(respond(method, "/api/status"), 405, "{method}");
        }
        assert_eq!(respond("GET", "/api/partners/acme/flush"), 405);
        assert_eq!(respond("POST", "/api/partners/acme/flush"), 403, "no token is configured");
    }

    #[test]
    fn before_the_engine_runs_it_is_alive_and_not_ready() {
        assert_eq!(respond("GET", "/healthz"), 200);
        for path in ["/readyz", "/metrics", "/api/status", "/api/partners", "/api/partners/acme"] {
            assert_eq!(respond("GET", path), 503, "{path}");
        }
    }

    #[test]
    fn an_account_may_hold_anything_encoded() {
        assert_eq!(decoded("a%2Fb%20c%2E%2E").ok().as_deref(), Some("a/b c.."));
        assert!(decoded("%ff").is_err());
    }

    /// Each keeps a thread for as long as those before it take and rest.
    #[test]
    fn searches_leave_threads_to_other_requests() {
        let site = Site::new(Arc::default(), Arc::new(Access::new(None, true)));
        let search = || site.respond(&Request { method: "GET".into(), path: "/api/partners".into(), ..Request::default() });
        let places: Vec<Place> = std::iter::from_fn(|| Place::take(&site.searches)).collect();
        assert_eq!(places.len(), MOST_SEARCHES);
        assert_eq!(search(), too_many_searches());
        drop(places);
        assert_ne!(search(), too_many_searches());
        assert_eq!(site.searches.into_inner(), 0, "a search gives its place back");
    }
}
