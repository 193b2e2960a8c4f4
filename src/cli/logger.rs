//! The log on standard error, above the progress bar where there is one.

use std::io::{self, Write};

use indicatif::MultiProgress;

/// Starts the log. `filter` is `engine.log`; `RUST_LOG` overrides it.
pub fn start(filter: &str, bars: &MultiProgress) {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter).parse_default_env();
    builder.target(env_logger::Target::Pipe(Box::new(AboveBars { bars: bars.clone() })));
    // A second start finds the first one's log in place, which is as good.
    let _ = builder.try_init();
}

struct AboveBars {
    bars: MultiProgress,
}

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
