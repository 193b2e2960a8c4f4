//! Commands that become lines.

use std::time::Duration;

use super::{FakeQueue, Rig};
use crate::dispatch::{Command, QueueCall, QueueIndex};
use crate::message::park::ToPark;
use crate::message::settle::{SettledPart, VisibilityChange};
use crate::message::{DeliveryName, Receipt};

impl Rig {
    pub(super) fn drain_commands(&mut self) -> String {
        let mut lines: Vec<String> = Vec::new();
        while let Some(command) = self.dispatcher.poll_command() {
            assert!(lines.len() < 10_000, "the commands never end: {:?}", &lines[..10]);
            let Some(line) = self.line(command) else { continue };
            match (lines.last_mut(), line.split_once("handle ")) {
                (Some(last), Some((queue, ids))) if last.starts_with(&format!("{queue}handle ")) => {
                    last.push('|');
                    last.push_str(ids);
                }
                _ => lines.push(line),
            }
        }
        lines.join("; ")
    }

    fn line(&mut self, command: Command) -> Option<String> {
        let (queue, line) = match command {
            Command::Note(note) => {
                self.notes.push(note);
                return None;
            }
            Command::Receive { .. } if !self.asks => return None,
            Command::Receive { queue, demand, .. } => (queue, format!("ask {}", demand.messages)),
            Command::Handle { queue, messages, .. } => {
                let ids: Vec<_> = messages.iter().map(|one| one.message.id.to_string()).collect();
                let job = messages[0].ticket;
                self.jobs.extend(messages.iter().map(|one| (one.message.id.clone(), job)));
                self.tickets.extend(messages.into_iter().map(|one| (one.message.id.clone(), one)));
                (queue, format!("handle {}", ids.join(" ")))
            }
            Command::TakeBack { queue, job, threads } => {
                let of_it = self.jobs.iter().filter(|(_, name)| **name == job).map(|(id, _)| id.to_string());
                let mut ids: Vec<_> = of_it.collect();
                ids.sort();
                (queue, format!("take back {} threads:{threads}", ids.join(" ")))
            }
            Command::Flush { flush, batch, .. } => {
                let queue = batch.queue[1..].parse().expect("queues are named q0, q1, …");
                self.flushes.entry((queue, batch.account.clone())).or_default().push_back(flush);
                let ids: Vec<_> = batch.items.iter().map(|item| item.id().to_string()).collect();
                (queue, format!("flush {} {}", batch.account, ids.join(" ")))
            }
            Command::Park { queue, deliveries } => {
                let parcels = deliveries.iter().map(|ToPark { account, item, older, .. }| {
                    let older = if *older { "<" } else { "" };
                    format!(" {account}:{older}{}", item.id())
                });
                let line = format!("park{}", parcels.collect::<String>());
                self.parking.push_back(deliveries);
                (queue, line)
            }
            Command::Unpark { queue, wants } => {
                let names: String = wants.iter().map(|want| format!(" {} {}", want.account, want.rows)).collect();
                self.unparking.push_back(wants);
                (queue, format!("unpark{names}"))
            }
            Command::CallQueue { queue, acker, call: QueueCall::Count } => {
                self.queues[queue].counts.push_back(acker);
                (queue, "count".to_owned())
            }
            Command::CallQueue { queue, acker, call } => {
                let entries = self.entries(queue, &call);
                if let (true, QueueCall::Delete(receipts)) = (self.rows == Some(queue), &call) {
                    receipts.iter().for_each(|receipt| _ = self.disk.delete(receipt));
                }
                self.queues[queue].calls.push_back((acker, entries.len() - 1));
                (queue, entries.join(" "))
            }
            Command::Reply { result, .. } => {
                let result = result.map(|report| *report);
                let line = result
                    .as_ref()
                    .map_or_else(|refusal| format!("reply {refusal:?}"), |report| format!("reply {}", report.state));
                self.replies.push(result);
                (0, line)
            }
            Command::Interrupt { queue } => (queue, "interrupt".to_owned()),
            Command::Close { queue } => (queue, "close".to_owned()),
            Command::Finish => (0, "finish".to_owned()),
        };
        Some(if queue == 0 { line } else { format!("q{queue}: {line}") })
    }

    /// Returns the call's verb, then its entries.
    fn entries(&self, queue: QueueIndex, call: &QueueCall) -> Vec<String> {
        let is_parking = self.rows == Some(queue);
        let name = |receipt: &Receipt| if is_parking { self.disk.name(receipt) } else { self.queues[queue].name(receipt) };
        match call {
            QueueCall::Delete(receipts) => std::iter::once("delete".to_owned()).chain(receipts.iter().map(name)).collect(),
            QueueCall::ChangeVisibility(changes) => {
                let changes = changes.iter().map(|VisibilityChange { receipt, hidden, settled, uncounted }| {
                    let settled = settled.as_deref().map(settled_text).unwrap_or_default();
                    let mark = if self.counts && *uncounted { "^" } else { "" };
                    format!("{}={}{settled}{mark}", name(receipt), text(*hidden))
                });
                std::iter::once("hide".to_owned()).chain(changes).collect()
            }
            QueueCall::SetAside(letters) => {
                let letters = letters.iter().map(|letter| {
                    let index = letter.delivery.as_ref().and_then(|delivery| delivery.index);
                    let index = index.map(|index| format!("-{index}")).unwrap_or_default();
                    let open = if letter.last { "" } else { "+open" };
                    format!("{}{index}:{}{open}", name(&letter.receipt), letter.reason.kind.word())
                });
                std::iter::once("letter".to_owned()).chain(letters).collect()
            }
            QueueCall::Count => Vec::new(),
        }
    }
}

impl FakeQueue {
    fn name(&self, receipt: &Receipt) -> String {
        let Receipt::Row { row, receive } = receipt else { panic!("not a receipt of this queue") };
        let id = &self.names[usize::try_from(*row).expect("a row")];
        if *receive == 1 { id.to_string() } else { format!("{id}'{receive}") }
    }
}

fn text(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "0".to_owned(),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

fn settled_text(settled: &SettledPart) -> String {
    let name = |name: &DeliveryName| format!("{}@{}", name.index, name.account.as_deref().unwrap_or("?"));
    let names: Vec<_> = settled.deliveries.iter().map(name).collect();
    format!("~{}{}", if settled.accepted { "" } else { "dead:" }, names.join("+"))
}
