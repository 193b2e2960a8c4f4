//! The keys that are promised. This file only grows: renaming or dropping a key breaks the
//! configuration files of users.

use octoconf::config::{self, Context, Environment, FileFormat};
use octoconf::handler::Registry;

/// Each key with its default, once for each source and way of delivery that has the key.
const PROMISED: &str = r#"
[engine]
handler_threads = 0
delivery_threads = 1024
log = "info"
max_in_flight = 20000
max_in_flight_bytes = "256MiB"
flush_interval = "100ms"
shutdown_timeout = "30s"

[admin]
listen = "127.0.0.1:9464"
token = ""

[queues.stock]
source = "sqs"
name = "stock"
region = ""
endpoint = ""
handler = "product"
concurrency = 10
order_wait = "5s"
pollers = 0
wait_time = "20s"
visibility_timeout = "60s"
dead_letter = ""
parking = ""
parking_max_bytes = "10GiB"
max_receives = 100
group = ""

[queues.by_url]
source = "sqs"
url = "https://sqs.eu-west-1.amazonaws.com/123456789012/other"
handler = "order"

[queues.embedded]
source = "sqlite"
path = "octoconf.db"
handler = "pricing"
parking = "parking.db"

[queues.dry]
source = "memory"
preload = "FILE.jsonl"
repeat = 1
handler = "order"
group = ".account"

[handlers.pricing]
jq = '{sku: .sku, price: .unit_price}'
bucket = '.account'

[partners.default]
deliver = "http"
url = "https://partners.example.com/{account}/{queue}"
path = "out/{queue}/{account}.jsonl"
format = "json"
max_batch = 100
max_batch_bytes = "256KiB"
linger = "0s"
timeout = "10s"
connect_timeout = "2s"
rate = ""
burst = 1
parallel = 1
min_backoff = "1s"
max_backoff = "5m"
breaker_failures = 5
max_waiting = 1000
hold_for = "30s"
give_up_after = ""
idle_timeout = "10m"
signing_secret = ""
headers = {}
allow_private_addresses = false

[partners.acme]
rate = "5/s"
"#;

/// The same configuration, without the keys that are set to their defaults.
const SHORT: &str = r#"
[queues.stock]
handler = "product"
[queues.by_url]
url = "https://sqs.eu-west-1.amazonaws.com/123456789012/other"
handler = "order"
[queues.embedded]
source = "sqlite"
handler = "pricing"
parking = "parking.db"
[queues.dry]
source = "memory"
preload = "FILE.jsonl"
handler = "order"
group = ".account"
[handlers.pricing]
jq = '{sku: .sku, price: .unit_price}'
[partners.default]
url = "https://partners.example.com/{account}/{queue}"
[partners.acme]
rate = "5/s"
"#;

#[test]
fn every_promised_key_is_known_and_has_its_promised_default() {
    let environment = Environment::default();
    let context = Context { environment: &environment, handlers: &Registry::new() };
    let read = |text| config::parse(text, FileFormat::Toml, "octoconf.toml", &context);
    let promised = read(PROMISED).map_err(|errors| errors.to_string());
    let short = read(SHORT).map_err(|errors| errors.to_string());
    assert_eq!(promised.map(|loaded| loaded.settings), short.map(|loaded| loaded.settings));
    assert!(read(SHORT).is_ok());
}
