//! What the commands do and print; `main` parses their arguments and turns their results into exit statuses.

pub mod check;
