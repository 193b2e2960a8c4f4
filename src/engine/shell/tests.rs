//! What other threads ask of the engine is heard in time, and costs `dispatch` nothing.

use super::*;
use crate::dispatch::{Action, QueueChanges};
use crate::engine::error::ReloadError;
use crate::engine::inquiries::{Claim, Inquiry};
use crate::engine::plan::Plan;
use crate::engine::rules::partner_table;
use crate::engine::tests::settings;
use crate::engine::{Engine, lane};

#[expect(clippy::disallowed_methods, reason = "a start of an engine, as in `Engine::start`")]
fn shell() -> Shell {
    let (settings, registry) = settings("");
    let engine = Engine::new(&settings, &registry).unwrap();
    let since = Instant::now();
    let watched = Watched { pulse: Arc::default(), health: EngineHealth::default(), since };
    let threads = Threads { handlers: 1, deliverers: 1 };
    Shell::new(Dispatcher::new(engine.rules, since), engine.lanes, engine.sinks, threads, Crew::new(), watched).unwrap()
}

#[test]
fn a_control_is_heard_however_many_answers_wait() {
    const ANSWERS: usize = 10_000;
    let mut shell = shell();
    let (answers, results) = bounded(ANSWERS);
    for _ in 0..ANSWERS {
        // Any event will do.
        answers.send(Event::Tick).unwrap();
    }
    shell.results = results.clone();
    let (control, controls) = bounded(1);
    control.send(Control::Died(Death::panicked("signal"))).unwrap();
    let duty = shell.crew.roster().enlist("dispatch");
    let ended = shell.run(Requests { controls, questions: never() }, Duration::from_secs(1), &duty);
    assert_eq!(ended.unwrap_err(), Death::panicked("signal"));
    assert!(results.len() > ANSWERS / 2, "only {} of the answers were left by then", results.len());
}

/// Closing the files of its queues may take a sync.
#[test]
fn a_reload_that_comes_during_a_stop_is_closed_by_who_asked_for_it() {
    let mut shell = shell();
    shell.controlled(Some(Control::Stop { drain: Duration::ZERO })).unwrap();
    let (settings, registry) = settings("");
    let (done, answer) = bounded(1);
    let added = vec![lane::open("invoice", &settings.queues["invoice"], &registry).unwrap()];
    let reload = Reload {
        sinks: shell.sinks.prepare(&settings.partners).unwrap(),
        partners: partner_table(&settings.partners),
        plan: Plan { added, ..Plan::default() },
        changes: QueueChanges::default(),
        done,
    };
    shell.controlled(Some(Control::Reload(Box::new(reload)))).unwrap();
    let Unstarted { error, plan } = *answer.try_recv().unwrap().err().unwrap();
    assert!(matches!(error, ReloadError::Stopping), "{error}");
    assert_eq!(plan.added.len(), 1);
}

/// An operator who was told that there is no answer repeats the action.
#[test]
fn an_action_whose_requester_has_given_up_is_not_done_later() {
    let mut shell = shell();
    let mut asked = |claim: Claim| {
        let (reply, _answer) = bounded(1);
        let inquiry = Inquiry::Operate { account: "acme".into(), action: Action::Skip, claim, reply };
        shell.inquiries.take(inquiry, &shell.dispatcher)
    };
    let (withdrawn, awaited) = (Claim::default(), Claim::default());
    assert!(withdrawn.take(), "before the dispatcher");
    assert!(matches!(asked(withdrawn), Event::Tick));
    assert!(matches!(asked(awaited.clone()), Event::Operate { .. }));
    assert!(!awaited.take(), "too late to withdraw it");
}

/// A dispatcher that is busy makes few turns a second, and whoever asks does not wait for long.
#[test]
fn a_question_about_all_partners_gets_its_share_of_long_turns() {
    let mut shell = shell();
    for request in 0..2_000 {
        // A pause is remembered of any account.
        let event = Event::Operate { request, account: format!("acme-{request}").into(), action: Action::Pause };
        shell.dispatcher.handle(shell.started, event);
    }
    while shell.dispatcher.poll_command().is_some() {}
    let (reply, alive) = bounded(1);
    shell.inquiries.take(Inquiry::Life { reply }, &shell.dispatcher);
    assert_eq!(alive.try_recv(), Ok(()), "a sign of life waits for no look at all partners");
    let mut turns = |turn: Duration| {
        let (reply, answer) = bounded(1);
        shell.inquiries.take(Inquiry::Status { reply }, &shell.dispatcher);
        let mut turns = 0;
        while shell.inquiries.is_busy() {
            shell.inquiries.go_on(&shell.dispatcher, turn, |status| status);
            turns += 1;
        }
        assert_eq!(answer.try_recv().unwrap().status.partners.paused, 2_000);
        turns
    };
    assert_eq!(turns(Duration::ZERO), 8, "256 partners a turn");
    assert_eq!(turns(Duration::from_secs(86_400)), 1);
}
