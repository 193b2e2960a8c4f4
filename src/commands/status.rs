//! `status`: shows a running instance as tables that fit a terminal.

use serde_json::Value;

use super::table::{Column, Table, clip};
use crate::plain::name;

/// The space that the output has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The width, in columns of a terminal.
    pub columns: usize,
    /// The height, in lines.
    pub lines: usize,
}

impl Size {
    /// The size of an output that is not a terminal: everything is shown.
    pub const UNBOUNDED: Self = Self { columns: usize::MAX, lines: usize::MAX };
}

/// Returns the status of `/api/status` as text that fits the size. With an earlier status, the rates
/// between the two are shown as well.
pub fn render(status: &Value, before: Option<&Value>, size: Size) -> String {
    let mut lines = vec![clip(&head(status), size.columns), clip(&partners(status), size.columns), String::new()];
    lines.extend(queues(status, before).lines(size.columns));
    for line in reload(status).into_iter().chain(faults(status)).chain(parked(status)) {
        lines.push(clip(&line, size.columns));
    }
    let waiting = waiting(status);
    if !waiting.is_empty() {
        lines.push(String::new());
        lines.extend(waiting.lines(size.columns));
    }
    if lines.len() > size.lines {
        lines.truncate(size.lines.saturating_sub(1));
        lines.push(clip("…", size.columns));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn head(status: &Value) -> String {
    let [version, state] = ["version", "state"].map(|key| status[key].as_str().unwrap_or("?"));
    format!(
        "octoconf {version}  {state}, up {}; {} messages held, {}",
        span(status["uptime_s"].as_f64()),
        count(&status["in_flight"]),
        bytesize::ByteSize::b(status["in_flight_bytes"].as_u64().unwrap_or(0))
    )
}

fn partners(status: &Value) -> String {
    let partners = &status["partners"];
    let states = ["healthy", "waiting", "backing_off", "open", "limited", "paused"];
    let states = states.map(|state| format!("{} {}", count(&partners[state]), state.replace('_', " ")));
    format!("{} partners: {}", count(&partners["total"]), states.join(", "))
}

fn queues(status: &Value, before: Option<&Value>) -> Table {
    let mut columns = vec![
        Column::text("QUEUE", 9, 32),
        Column::text("SOURCE", 2, 8),
        Column::text("HANDLER", 1, 24),
        Column::number("RECEIVED", 6),
        Column::number("DELIVERED", 7),
        Column::number("ACKED", 5),
        Column::number("RETURNED", 5),
        Column::number("DEAD", 8),
        Column::number("HELD", 8),
        Column::number("OLDEST", 6),
        Column::number("REQ/MSG", 3),
        Column::number("EMPTY", 3),
        Column::number("$/DAY", 4),
    ];
    if before.is_some() {
        columns.push(Column::number("RECEIVED/S", 7));
        columns.push(Column::number("DELIVERED/S", 8));
    }
    let mut table = Table::new(columns);
    for queue in rows(status, "queues") {
        let text = |key: &str| queue[key].as_str().unwrap_or("-").to_owned();
        let gone = ["acked", "returned", "dead", "duplicates_dropped", "leases_lost"].map(|key| queue[key].as_u64().unwrap_or(0));
        let held = queue["received"].as_u64().unwrap_or(0).saturating_sub(gone.iter().sum());
        let name = match (queue["state"].as_str(), queue["replaced"].as_u64()) {
            (Some("retiring"), _) => text("name") + " (retiring)",
            (_, Some(1..)) => text("name") + " (replaced)",
            _ => text("name"),
        };
        let mut cells = vec![name, text("source"), text("handler")];
        cells.extend(["received", "delivered", "acked", "returned", "dead"].map(|key| count(&queue[key])));
        cells.push(grouped(held));
        cells.push(span(queue["oldest_age_s"].as_f64()));
        cells.push(queue["requests_per_message"].as_f64().map_or("-".to_owned(), |each| format!("{each:.2}")));
        cells.push(queue["empty_receive_share"].as_f64().map_or("-".to_owned(), |share| format!("{:.0}%", share * 100.0)));
        cells.push(queue["dollars_a_day"].as_f64().map_or("-".to_owned(), |dollars| format!("{dollars:.2}")));
        if let Some(before) = before {
            let earlier = rows(before, "queues").find(|earlier| earlier["name"] == queue["name"]);
            let seconds = status["uptime_s"].as_f64().unwrap_or(0.0) - before["uptime_s"].as_f64().unwrap_or(0.0);
            cells.extend(["received", "delivered"].map(|key| rate(queue, earlier, key, seconds)));
        }
        table.row(cells);
    }
    table
}

fn rate(queue: &Value, earlier: Option<&Value>, key: &str, seconds: f64) -> String {
    let growth = earlier.and_then(|earlier| queue[key].as_u64()?.checked_sub(earlier[key].as_u64()?));
    match growth {
        Some(growth) if seconds > 0.0 => format!("{:.1}", growth as f64 / seconds),
        _ => "-".to_owned(),
    }
}

/// Returns how the last reload went, or `None` if there was none.
fn reload(status: &Value) -> Option<String> {
    let last = status.get("last_reload").filter(|last| last.is_object())?;
    let ago = span(last["seconds_ago"].as_f64());
    Some(match last["reason"].as_str() {
        Some(reason) => format!("the reload {ago} ago was refused, what was before is in force: {reason}"),
        None => format!("reloaded {ago} ago"),
    })
}

/// Returns what fails with the queues, one line per failure.
fn faults(status: &Value) -> Vec<String> {
    let faults = rows(status, "queues").flat_map(|queue| {
        let name = queue["name"].as_str().unwrap_or("?");
        let failing = queue["failing"].as_array().into_iter().flatten();
        failing.map(move |failing| {
            let [doing, reason] = ["doing", "reason"].map(|key| failing[key].as_str().unwrap_or("?"));
            format!("queue {name}: {doing} fails: {reason}")
        })
    });
    faults.collect()
}

/// Returns how much is parked on disk, one line per queue.
fn parked(status: &Value) -> impl Iterator<Item = String> {
    rows(status, "queues").filter(|queue| queue["parked_now"].as_u64() > Some(0)).map(|queue| {
        format!(
            "queue {}: {} deliveries are parked on the disk",
            queue["name"].as_str().unwrap_or("?"),
            count(&queue["parked_now"])
        )
    })
}

fn waiting(status: &Value) -> Table {
    let mut table = Table::new(vec![
        Column::text("PARTNER", 9, 64),
        Column::text("QUEUE", 4, 20),
        Column::number("WAITING", 8),
        Column::number("OLDEST", 7),
        Column::text("STATE", 6, 12),
        Column::number("NEXT IN", 5),
        Column::number("FAILURES", 3),
        Column::text("REASON", 7, usize::MAX),
    ]);
    for row in rows(status, "waiting") {
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let reason = match row["last_error"].as_str() {
            Some(error) => format!("{}: {error}", text("reason")),
            None => text("reason"),
        };
        table.row(vec![
            name(&text("account")).into_owned(),
            text("queue"),
            count(&row["waiting"]),
            span(row["oldest_age_s"].as_f64()),
            text("state").replace('_', " "),
            span(row["next_attempt_in_s"].as_f64()),
            count(&row["failures"]),
            reason,
        ]);
    }
    table
}

fn rows<'a>(status: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    status[key].as_array().into_iter().flatten()
}

fn count(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), grouped)
}

/// Returns the number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a time in its largest unit, or `-` for `None`.
fn span(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        Some(seconds) => format!("{:.0} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use serde_json::json;

    use super::*;
    use crate::dispatch::{
        Cost, EngineState, Failing, Histogram, Operation, PartnerCounts, PartnerState, QueueCounts, QueueStage, QueueStatus,
        Status, TURN, Tally, Times, WaitingPartner,
    };
    use crate::engine::{LastReload, Snapshot};

    fn status() -> Value {
        let waiting: Vec<Value> = (0..50)
            .map(|n| {
                json!({ "account": format!("customer-{n}-\u{1b}[31m顧客"), "queue": "stock", "waiting": 1000 * n, "in_flight": 0, "state": "backing_off",
                        "reason": "it backs off after a failure", "next_attempt_in_s": 12.5, "oldest_age_s": 4000.0, "failures": 3,
                        "last_error": "answered 503:\nplease come back later" })
            })
            .collect();
        json!({
            "version": "0.1.0", "uptime_s": 3700.0, "state": "running", "in_flight": 12_345, "in_flight_bytes": 1_048_576,
            "queues": [{ "name": "stock", "source": "sqs", "handler": "product", "received": 1_000_000, "handled": 999_000, "delivered": 990_000,
                         "acked": 980_000, "returned": 5_000, "dead": 3, "duplicates_dropped": 0, "leases_lost": 0, "requests": 200_000,
                         "empty_receives": 10, "oldest_age_s": 4000.0, "requests_per_message": 0.2, "empty_receive_share": 0.05,
                         "dollars_a_day": 1.92, "failing": [{ "doing": "delete", "reason": "throttled" }] }],
            "partners": { "total": 2900, "healthy": 2850, "waiting": 50, "backing_off": 50, "open": 0, "limited": 0, "paused": 0 },
            "waiting": waiting
        })
    }

    #[test]
    fn a_reload_and_what_it_took_away_are_told() {
        let mut status = status();
        status["last_reload"] = json!({ "ok": false, "seconds_ago": 61.0, "reason": "queues.stock.soruce: unknown key" });
        status["queues"][0]["state"] = json!("retiring");
        let text = render(&status, None, Size::UNBOUNDED);
        assert!(text.contains("stock (retiring)"), "{text}");
        assert!(text.contains("ago was refused, what was before is in force: queues.stock.soruce: unknown key\n"), "{text}");
        status["last_reload"] = json!({ "ok": true, "seconds_ago": 1.0, "reason": null });
        assert!(render(&status, None, Size::UNBOUNDED).contains("\nreloaded "));
    }

    #[test]
    fn what_is_parked_is_told_where_there_is_some() {
        let mut status = status();
        assert!(!render(&status, None, Size::UNBOUNDED).contains("parked"));
        status["queues"][0]["parked_now"] = json!(128_443);
        assert!(render(&status, None, Size::UNBOUNDED).contains("\nqueue stock: 128,443 deliveries are parked on the disk\n"));
    }

    #[test]
    fn it_fits_the_terminal() {
        for (columns, lines) in [(80, 24), (120, 50), (40, 10), (20, 5)] {
            let text = render(&status(), Some(&status()), Size { columns, lines });
            assert!(text.lines().count() <= lines, "{lines}:\n{text}");
            let widest = text.lines().map(measure_text_width).max().unwrap();
            assert!(widest <= columns, "{columns}: {widest}\n{text}");
        }
    }

    #[test]
    fn without_a_terminal_everything_is_shown_and_nothing_acts_upon_it() {
        let text = render(&status(), None, Size::UNBOUNDED);
        assert_eq!(text.lines().count(), 3 + 2 + 1 + 1 + 51, "{text}");
        for part in [
            "12,345 messages held",
            "2,900 partners",
            "1,000,000",
            "14,997",
            "0.20",
            "1.92",
            "delete fails: throttled",
            "67 min",
            "please come back later",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "an account must not paint the terminal");
    }

    #[test]
    fn rates_come_from_two_looks() {
        let mut later = status();
        later["uptime_s"] = json!(3702.0);
        later["queues"][0]["delivered"] = json!(990_500);
        let text = render(&later, Some(&status()), Size::UNBOUNDED);
        assert!(text.contains("DELIVERED/S") && text.contains("250.0"), "{text}");
    }

    /// What is read from a file or a pipe is what an operator has to name the partner by.
    #[test]
    fn without_a_terminal_no_account_is_cut_and_on_one_none_of_the_usual_length() {
        let mut status = status();
        let accounts = ["x".repeat(200), "0b7a3c1e-66f0-4c53-9c3a-5d0f8f1f2a77".to_owned(), "a\nb".to_owned(), "a b".to_owned()];
        for (place, account) in accounts.iter().enumerate() {
            status["waiting"][place]["account"] = json!(account);
        }
        let text = render(&status, None, Size::UNBOUNDED);
        for shown in [&*accounts[0], &*accounts[1], r#""a\nb""#, "a b"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{shown} "))), "{shown}:\n{text}");
        }
        assert!(render(&status, None, Size { columns: 120, lines: 60 }).contains(&accounts[1]));
    }

    /// The keys are read by their text, with a dash for what is missing, so a renamed key would go unnoticed elsewhere.
    #[test]
    fn a_serialised_status_leaves_no_cell_empty() {
        let counts = QueueCounts { received: 1_000, delivered: 901, acked: 900, returned: 50, dead: 7, ..QueueCounts::default() };
        let counts = QueueCounts { duplicates_dropped: 2, leases_lost: 1, ..counts };
        let queue = QueueStatus {
            index: 0,
            name: "stock".to_owned(),
            state: QueueStage::Serving,
            replaced: 1,
            source: "sqs",
            handler: "product".to_owned(),
            counts,
            oldest_age_s: Some(4_000.0),
            oldest_waiting_s: Some(4_000.0),
            parked_now: 128_443,
            handler_pending: 0,
            handler_running: 0,
            reached: true,
            failing: vec![Failing { doing: Operation::Delete, reason: "throttled".to_owned() }],
            cost: Cost { requests_per_message: Some(0.25), empty_receive_share: Some(0.05), dollars_a_day: Some(1.92) },
            tally: Tally::default(),
        };
        let partner = WaitingPartner {
            account: "acme".to_owned(),
            queue: "stock".to_owned(),
            waiting: 31,
            parked: 0,
            in_flight: 0,
            state: PartnerState::BackingOff,
            reason: "it backs off after a failure".to_owned(),
            next_attempt_in_s: Some(12.0),
            oldest_age_s: 600.0,
            failures: 3,
            last_error: Some("answered 503".to_owned()),
        };
        let partners = PartnerCounts { total: 9, healthy: 4, waiting: 1, backing_off: 1, open: 2, limited: 5, paused: 6 };
        let snapshot = Snapshot {
            version: "0.1.0",
            uptime_s: 3_700.0,
            last_reload: Some(LastReload { ok: false, seconds_ago: 61.0, reason: Some("unknown key".to_owned()) }),
            status: Status {
                state: EngineState::Running,
                in_flight: 40,
                in_flight_bytes: 1 << 20,
                queues: vec![QueueStatus { name: "old".to_owned(), state: QueueStage::Retiring, ..queue.clone() }, queue],
                partners,
                waiting: vec![partner],
                buckets: 1,
                times: Times::default(),
            },
            turns: Histogram::new(TURN),
        };
        let status = serde_json::to_value(&snapshot).unwrap();
        let mut before = status.clone();
        before["uptime_s"] = json!(3_690.0);

        let text = render(&status, Some(&before), Size::UNBOUNDED);
        assert!(text.split_whitespace().all(|word| !["-", "-,", "?"].contains(&word)), "{text}");
        let squeezed: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "octoconf 0.1.0 running, up 62 min; 40 messages held, 1.0 MiB",
            "9 partners: 4 healthy, 1 waiting, 1 backing off, 2 open, 5 limited, 6 paused",
            "old (retiring) sqs product 1,000 901 900 50 7 40 67 min 0.25 5% 1.92 0.0 0.0",
            "stock (replaced) sqs product 1,000 901 900 50 7 40 67 min 0.25 5% 1.92 0.0 0.0",
            "the reload 61 s ago was refused, what was before is in force: unknown key",
            "queue stock: delete fails: throttled",
            "queue stock: 128,443 deliveries are parked on the disk",
            "acme stock 31 10 min backing off 12 s 3 it backs off after a failure: answered 503",
        ] {
            assert!(squeezed.iter().any(|shown| shown == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn an_instance_of_another_version_may_lack_anything() {
        assert!(render(&json!({}), None, Size::UNBOUNDED).contains("octoconf ?"));
    }
}
