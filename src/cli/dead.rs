//! The command `dead`: lists, shows, redrives and purges the dead letters of a queue.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use compact_str::CompactString;
use octoconf::queue::{Attendant as _, Changed, DeadFilter, DeadLetter, DeadLetters, Portions, QueueError, Unseen};
use octoconf::settings::Rate;

use super::args::{Dead, Filter};
use super::failure::Failure;
use super::output;
use super::patience::Patient;
use super::progress::Progress;
use super::records::{self, Change, Outcome};
use super::setup::Setup;
use octoconf::commands::{dead as view, shown_json};

/// The maximum number of letters per transaction, if no rate is set.
const PORTION: usize = 1000;

const OF_MEMORY: &str = "its dead letters end with it: the log says what they are and why, `octoconf status` and the report of `run` how \
                         many there were; set source = \"sqlite\" to have them kept";

pub fn run(config: &Path, command: &Dead) -> Result<ExitCode, Failure> {
    let (Dead::List { queue: name, .. }
    | Dead::Show { queue: name, .. }
    | Dead::Redrive { queue: name, .. }
    | Dead::Purge { queue: name, .. }) = command;
    let setup = Setup::new(config)?;
    if let Dead::List { limit, json, .. } = command
        && setup.misses_store(name)?
    {
        return records::list::<DeadLetter>(*limit, *json, |_| Ok(()));
    }
    let queue = setup.open(name, OF_MEMORY)?;
    let letters = queue.dead_letters().ok_or_else(|| {
        Failure::Refused(format!(
            "queues.{name}: it has no dead letters, its rejected messages circulate; name a queue for them in queues.{name}.dead_letter"
        ))
    })?;
    let patient = Patient::new().context("cannot take signals over")?;
    letters.attend(Arc::clone(&patient) as _);
    match command {
        Dead::List { filter, limit, json, .. } => {
            let mut unseen = Unseen::default();
            let status = records::list(*limit, *json, |each| {
                unseen = letters.list(&filter.into(), &mut |letter| patient.goes_on() && each(&letter))?;
                Ok(())
            })?;
            say_unseen(&unseen);
            if patient.goes_on() { Ok(status) } else { Err(interrupted("the list is not complete")) }
        }
        Dead::Show { id, json, .. } => show(letters, (name, id), *json, &patient),
        Dead::Redrive { ids, filter, dry_run, rate, json, .. } => {
            let redrive = |portions: Portions<'_>, ids: &[CompactString]| letters.redrive_in(portions, ids);
            let choice = Choice { letters, patient: &patient, name, ids, filter: filter.into() };
            change(&choice, Change { word: "redriven", dry_run: *dry_run, json: *json }, *rate, redrive)
        }
        Dead::Purge { ids, filter, dry_run, json, .. } => {
            let purge = |portions: Portions<'_>, ids: &[CompactString]| letters.purge_in(portions, ids);
            let choice = Choice { letters, patient: &patient, name, ids, filter: filter.into() };
            change(&choice, Change { word: "purged", dry_run: *dry_run, json: *json }, None, purge)
        }
    }
}

impl From<&Filter> for DeadFilter {
    fn from(filter: &Filter) -> Self {
        Self { partner: filter.partner.as_deref().map(Into::into), reason: filter.reason.clone() }
    }
}

fn show(letters: &dyn DeadLetters, (queue, id): (&str, &str), json: bool, patient: &Patient) -> Result<ExitCode, Failure> {
    let letter = letters.find(id)?.ok_or_else(|| {
        if patient.goes_on() {
            anyhow::anyhow!("queue {queue} has no dead letter {id}").into()
        } else {
            interrupted("the dead letter was not found until then")
        }
    })?;
    let text = if json { shown_json(&serde_json::to_string_pretty(&view::object(&letter))?) } else { view::text(&letter) };
    output::unless_unread(writeln!(io::stdout(), "{}", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

fn interrupted(what: &str) -> Failure {
    anyhow::anyhow!("interrupted; {what}").into()
}

/// The letters that a command acts on.
struct Choice<'a> {
    letters: &'a dyn DeadLetters,
    patient: &'a Patient,
    /// The name of the queue.
    name: &'a str,
    /// The ids of the letters; if empty, all letters that match the filter.
    ids: &'a [CompactString],
    filter: DeadFilter,
}

/// Returns the ids as named, or those of all letters that match the filter, and what could not be seen of the latter.
fn chosen(choice: &Choice<'_>) -> Result<(Vec<CompactString>, Unseen), Failure> {
    let Choice { ids, filter, .. } = choice;
    if !ids.is_empty() {
        if filter.partner.is_some() || filter.reason.is_some() {
            return Err(Failure::Refused("name ids or give a filter, not both".to_owned()));
        }
        return Ok((all_there(choice)?, Unseen::default()));
    }
    Ok(all(choice)?)
}

fn all(Choice { letters, patient, filter, .. }: &Choice<'_>) -> Result<(Vec<CompactString>, Unseen), QueueError> {
    let mut all = Vec::new();
    let unseen = letters.list(filter, &mut |letter| {
        all.push(letter.id);
        patient.goes_on()
    })?;
    Ok((all, unseen))
}

/// Returns the ids without repetitions, if each belongs to a letter. Otherwise nothing is changed, since the unknown id
/// may be a typing error for another letter.
fn all_there(choice: &Choice<'_>) -> Result<Vec<CompactString>, Failure> {
    let Choice { letters, patient, name: queue, ids, .. } = *choice;
    let mut seen = HashSet::new();
    let ids: Vec<CompactString> = ids.iter().filter(|id| seen.insert(*id)).cloned().collect();
    if let [id] = ids.as_slice()
        && letters.find(id)?.is_some()
    {
        return Ok(ids);
    }
    let mut missing: BTreeSet<&CompactString> = ids.iter().collect();
    // One listing serves all ids, since SQS offers no other way to find a letter.
    let unseen = letters.list(&DeadFilter::default(), &mut |letter| {
        missing.remove(&letter.id);
        !missing.is_empty() && patient.goes_on()
    })?;
    // Where the command is stopped, it changes nothing.
    if missing.is_empty() || !patient.goes_on() {
        return Ok(ids);
    }
    let names: Vec<&str> = missing.into_iter().map(CompactString::as_str).collect();
    let hint = unseen.why.map(|why| format!(" ({why})")).unwrap_or_default();
    Err(anyhow::anyhow!("queue {queue} has no dead letter {}; nothing was changed{hint}", names.join(", ")).into())
}

/// Changes the chosen letters. If a listing could not see all letters, the change lists and acts again for
/// as long as that finds new ones, but on no more letters than were hidden at first: a redriven message
/// may become a dead letter again.
#[expect(clippy::disallowed_methods, reason = "an edge: a rate is kept while a person waits")]
fn change(
    choice: &Choice<'_>,
    how: Change,
    rate: Option<Rate>,
    act: impl Fn(Portions<'_>, &[CompactString]) -> Changed,
) -> Result<ExitCode, Failure> {
    let (mut ids, mut unseen) = chosen(choice)?;
    let patient = choice.patient;
    let mut chosen = ids.len();
    let mut changed = Changed::default();
    if !how.dry_run {
        let mut progress = Progress::towards(chosen as u64, how.word);
        let mut tried: HashSet<CompactString> = HashSet::new();
        let mut hidden = usize::try_from(unseen.letters).unwrap_or(usize::MAX);
        while !ids.is_empty() && patient.goes_on() {
            let end = chosen as u64;
            let mut began = Instant::now();
            let mut after = |count: usize| {
                progress.add(count as u64);
                let each = rate.map(each).filter(|_| progress.position() < end).unwrap_or_default();
                let time = each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
                // The change itself has taken a part of that time.
                let goes_on = patient.rest(time.saturating_sub(began.elapsed()));
                began = Instant::now();
                goes_on
            };
            let Changed { done, failed, kept, ended } =
                act(Portions { most: rate.map_or(PORTION, at_once), after: &mut after }, &ids);
            changed.done += done;
            changed.failed.extend(failed);
            changed.kept.extend(kept);
            changed.ended = ended;
            if unseen.letters == 0 || changed.ended.is_some() || !patient.goes_on() {
                break;
            }
            tried.extend(ids.drain(..));
            match all(choice) {
                // A listing that a signal ended does not know what it could not see.
                Ok((found, _)) if !patient.goes_on() => ids = found,
                Ok(found) => (ids, unseen) = found,
                Err(error) => changed.ended = Some(error),
            }
            ids.retain(|id| !tried.contains(id));
            ids.truncate(hidden);
            hidden -= ids.len();
            chosen += ids.len();
            progress.end_at(chosen as u64);
        }
        progress.end();
    }
    say_unseen(&unseen);
    let Changed { done, failed, kept, ended } = changed;
    let handled = done + failed.len();
    let outcome = Outcome {
        chosen: chosen as u64,
        changed: done as u64,
        failed: &failed,
        kept: &kept,
        interrupted: !patient.goes_on() && (how.dry_run || handled < chosen || chosen == 0 || unseen.letters > 0),
    };
    let (status, word) = (records::say_changed(outcome, how), how.word);
    if failed.is_empty() && kept.is_empty() && ended.is_none() {
        return status;
    }
    let mut why: Vec<String> = failed.iter().map(|(id, why)| format!("dead letter {id} is not {word}: {why}")).collect();
    why.extend(kept.iter().map(|(id, why)| {
        format!("dead letter {id} is {word}, but stays a dead letter, since it could not be deleted: {why}; purge it: redriving it again repeats it")
    }));
    why.extend(ended.map(|error| format!("it ended before all were {word}: {error}")));
    // What failed is said nowhere else if the output fails, too.
    why.extend(status.err().map(Failure::text));
    Err(anyhow::anyhow!(why.join("\n")).into())
}

/// Reports on standard error what could not be seen.
fn say_unseen(unseen: &Unseen) {
    if let Some(why) = &unseen.why {
        output::remark(&format!("octoconf: {why}\n"), output::PATIENCE);
    }
}

/// Returns the time per letter at a rate.
fn each(rate: Rate) -> Duration {
    rate.per / rate.requests.max(1)
}

/// Returns the number of letters for a tenth of a second at a rate, at least one.
fn at_once(rate: Rate) -> usize {
    let fitting = Duration::from_millis(100).as_nanos() / each(rate).as_nanos().max(1);
    usize::try_from(fitting).unwrap_or(PORTION).clamp(1, PORTION)
}
