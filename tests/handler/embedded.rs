//! A program that embeds the service, and pipelines of its configuration.

use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
use octoconf::engine::{Engine, RunOptions};
use octoconf::handler::Registry;
use octoconf::queue::NewMessage;

const SETTINGS: &str = "
    [queues.stock]
    source = 'memory'
    handler = 'pricing'
    [handlers.pricing]
    jq = '.sku'
    [partners.default]
    deliver = 'discard'
";

#[test]
fn a_pipeline_runs_beside_the_handlers_in_code_and_leaves_them_as_they_are() {
    let in_code = Registry::new();
    let context = Context { environment: &Environment::default(), handlers: &in_code };
    let Loaded { settings, handlers, .. } = config::parse(SETTINGS, FileFormat::Toml, "the settings", &context).unwrap();
    assert_eq!(handlers.names().collect::<Vec<_>>(), ["order", "pricing", "product"]);
    assert!(in_code.get("pricing").is_none(), "a reload begins with these");

    let engine = Engine::new(&settings, &handlers).unwrap_or_else(|error| panic!("{error}"));
    let message = NewMessage { body: r#"{"sku":1,"account":"a"}"#.into(), ..NewMessage::default() };
    engine.queue("stock").unwrap().send(&[message]).unwrap();
    let report = engine.start(RunOptions { until_empty: true, seed: 1 }).unwrap().wait().unwrap();
    assert_eq!(report.status.queues[0].counts.delivered, 1);
}
