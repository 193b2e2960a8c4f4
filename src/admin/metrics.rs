//! `/metrics`: a snapshot in the text format that Prometheus reads. No label names a partner, since thousands of
//! partners would overwhelm the server.

use std::fmt::{Debug, Error};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::dispatch::{Histogram, QueueStatus};
use crate::engine::Snapshot;

use super::response::Response;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the metrics in a form that the scraper accepts: OpenMetrics if `accept` names it,
/// else the older text format.
pub fn response(snapshot: &Snapshot, accept: &str) -> Response {
    let mut registry = Registry::with_prefix("octoconf");
    registry.register_collector(Box::new(Figures { snapshot: snapshot.clone() }));
    let mut body = String::new();
    let (content_type, outcome) = if accept.contains("application/openmetrics-text") {
        (OPEN_METRICS, text::encode(&mut body, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut body, &registry))
    };
    match outcome {
        Ok(()) => Response::new(200, content_type, body.into_bytes()),
        Err(error) => Response::refusal(500, &format!("the metrics cannot be written: {error}")),
    }
}

/// A snapshot as a collector of metrics.
#[derive(Debug)]
struct Figures {
    snapshot: Snapshot,
}

/// Labels with their values.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// Writes families of metrics.
struct Writer<'e, 'a> {
    encoder: DescriptorEncoder<'e>,
    queues: &'a [QueueStatus],
}

impl<'a> Writer<'_, 'a> {
    /// Writes a counter for each queue, with the samples that `rows` returns for the queue. `name` is given without
    /// `_total`, which the encoder adds.
    fn counter<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Fn(&'a QueueStatus) -> Vec<(Labels<'a, N>, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in self.queues.iter().flat_map(rows) {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<'l, L: EncodeLabelSet + 'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn level(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> Result<(), Error> {
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &buckets, None)
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let status = &self.snapshot.status;
        let mut writer = Writer { encoder, queues: &status.queues };
        queues(&mut writer)?;
        cost(&mut writer)?;
        writer.level("in_flight_messages", "Messages held", status.in_flight as f64)?;
        writer.level("in_flight_bytes", "Bytes of bodies and payloads held", status.in_flight_bytes as f64)?;
        writer.level("buckets", "Buckets in memory", status.buckets as f64)?;
        let partners = status.partners.by_state().map(|(state, count)| ([("state", state.word())], count as f64));
        writer.gauge("partners", "Partners in memory", partners)?;
        writer.level("uptime_seconds", "Time since the start", self.snapshot.uptime_s)?;
        writer.histogram("delivery_duration_seconds", "Flushes, from hand-over to answer", &status.times.delivery)?;
        writer.histogram("message_age_seconds", "Messages, from sent to acked", &status.times.age)?;
        writer.histogram("dispatch_turn_seconds", "Turns of the dispatcher", &self.snapshot.turns)
    }
}

fn queues<'a>(writer: &mut Writer<'_, 'a>) -> Result<(), Error> {
    let one = |queue: &'a QueueStatus, value: u64| vec![([("queue", queue.name.as_str())], value)];
    writer.counter("messages_received", "Copies of messages received", |queue| one(queue, queue.counts.received))?;
    writer.counter("messages_handled", "Handler runs that ended", |queue| by_word(queue, "outcome", queue.tally.outcomes()))?;
    writer.counter("deliveries", "Deliveries that are settled", |queue| {
        let results = [("delivered", queue.counts.delivered), ("dead", queue.counts.deliveries_dead)];
        by_word(queue, "result", results.into_iter())
    })?;
    writer.counter("messages_acked", "Messages that are done", |queue| one(queue, queue.counts.acked))?;
    writer.counter("messages_returned", "Messages returned to their queue", |queue| {
        by_word(queue, "reason", queue.tally.returns())
    })?;
    writer.counter("messages_dead", "Messages set aside", |queue| by_word(queue, "reason", queue.tally.deaths()))?;
    writer.counter("messages_duplicate", "Copies dropped since the message is held or settled", |queue| {
        one(queue, queue.counts.duplicates_dropped)
    })?;
    writer.counter("leases_lost", "Messages that their queue gave to another", |queue| one(queue, queue.counts.leases_lost))?;
    writer.counter("queue_requests", "Calls to the queue service", |queue| {
        let name = queue.name.as_str();
        let rows = queue.tally.calls();
        rows.map(|(operation, result, count)| ([("queue", name), ("operation", operation), ("result", result)], count)).collect()
    })?;
    let waiting = writer.queues.iter().map(|queue| ([("queue", queue.name.as_str())], queue.oldest_waiting_s.unwrap_or(0.0)));
    writer.gauge(
        "oldest_waiting_seconds",
        "Age of the longest-waiting delivery, in a bucket or on the wire to a partner that is away",
        waiting,
    )?;
    let parked = writer.queues.iter().map(|queue| ([("queue", queue.name.as_str())], queue.parked_now as f64));
    writer.gauge("parked_deliveries", "Deliveries on the disk", parked)?;
    let failing = writer.queues.iter().map(|queue| ([("queue", queue.name.as_str())], queue.failing.len() as f64));
    writer.gauge("queue_calls_failing", "Kinds of calls to the queue service that fail now", failing)
}

fn by_word<'a>(
    queue: &'a QueueStatus,
    label: &'static str,
    words: impl Iterator<Item = (&'static str, u64)>,
) -> Vec<(Labels<'a, 2>, u64)> {
    words.map(|(word, count)| ([("queue", queue.name.as_str()), (label, word)], count)).collect()
}

fn cost(writer: &mut Writer<'_, '_>) -> Result<(), Error> {
    let known = |of: fn(&QueueStatus) -> Option<f64>| {
        let rows = writer.queues.iter().filter_map(move |queue| Some(([("queue", queue.name.as_str())], of(queue)?)));
        rows.collect::<Vec<_>>()
    };
    let each = known(|queue| queue.cost.requests_per_message);
    let empty = known(|queue| queue.cost.empty_receive_share);
    let dollars = known(|queue| queue.cost.dollars_a_day);
    writer.gauge("queue_requests_per_message", "Calls to the queue service for each message received", each)?;
    writer.gauge("queue_empty_receive_ratio", "Part of the receives that found nothing", empty)?;
    writer.gauge("queue_cost_dollars_per_day", "Estimate from the requests since the start at the list price of SQS", dollars)
}
