//! What other threads ask of the engine is heard in time, and costs `dispatch` nothing.

use super::*;
use crate::engine::Engine;
use crate::engine::tests::settings;

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
    let ended = shell.run(controls, Duration::from_secs(1), &duty);
    assert_eq!(ended.unwrap_err(), Death::panicked("signal"));
    assert!(results.len() > ANSWERS / 2, "only {} of the answers were left by then", results.len());
}
