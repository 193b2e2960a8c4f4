//! One jq program: compiled with the filters that a pipeline may use; or if it does not compile, why and where.
//!
//! A pipeline only computes, so that these are left out of jq: `env`, `$ENV` (secrets), `input`, `inputs`, `debug`,
//! `stderr` (I/O), `halt`, `halt_error` (they end the process), `import` and `include` (files). `fromjson`, and with it
//! `tonumber` and `toboolean`, reads strict JSON of a bounded depth: with jaq's own, a text in a body could overflow
//! the stack. `sub`, and with it `gsub`, is replaced too: it takes memory in proportion to the length of the text,
//! jaq's own to the square of it. The clock (`now`) and the local time zone stay.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::resume_unwind;
use std::thread;

use jaq_core::load::{self, Arena, File, Loader, parse};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Compiler, Ctx, Exn, Filter, Vars, compile::Undefined, data::JustLut};
use jaq_json::Val;
use jaq_std::ValT as _;

use super::{size, write};
use crate::json;

type Data = JustLut<Val>;

/// Bytes of the stack on which programs are compiled: twice what the largest one was seen to take in a debug build.
/// Unused stack costs only address space.
const STACK: usize = 64 * 1024 * 1024;

/// The filters of the standard library that reach beyond the computation: those that users write and
/// those that they are defined by.
const LEFT_OUT: [&str; 9] = ["env", "input", "inputs", "debug", "stderr", "halt", "halt_error", "debug_empty", "stderr_empty"];

/// The definition of `sub` in place of jaq's own, which keeps every text that it makes on its way: 280 MiB for 20,000
/// matches, growing with the square. If each replacement has one result, as nearly always, this one keeps none of them.
const SUB: &str = r#"
def sub(re; f; flags):
  [split_matches(re; flags)[] | [if isarray then capture_of_match | f end]]
  | if any(.[]; length != 1) then reduce .[] as $results (""; . + $results[])
    else map(.[0]) | reduce .[] as $result (""; . + $result) end;
"#;

/// The name of the only global variable.
const MESSAGE: &str = "$message";

/// A compiled program. It is immutable, so that any number of threads may run it at once.
pub struct Program {
    text: String,
    filter: Filter<Data>,
}

impl Program {
    /// Compiles a program. This takes milliseconds, since the standard library is compiled with it. It is done on a
    /// thread of its own, whose stack suffices for the largest program, whatever the caller's: a program that one command
    /// accepts does not end a service that reloads it.
    pub fn compile(text: &str) -> Result<Self, JqError> {
        Self::compile_within(text, &size::PIPELINE)
    }

    /// Does the same with other bounds.
    pub(super) fn compile_within(text: &str, most: &size::Bounds) -> Result<Self, JqError> {
        if let Some((rest, what)) = size::excess(text, most) {
            return Err(JqError { problems: vec![problem(text, rest, what)] });
        }
        thread::scope(|scope| {
            let compiling = thread::Builder::new().name("jq".to_owned()).stack_size(STACK);
            match compiling.spawn_scoped(scope, || Self::compile_here(text)) {
                Ok(compiling) => compiling.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(error) => {
                    Err(JqError { problems: vec![problem(text, text, format!("there is no thread to compile it on ({error})"))] })
                }
            }
        })
    }

    fn compile_here(text: &str) -> Result<Self, JqError> {
        let arena = Arena::default();
        let modules = Loader::new(definitions())
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| JqError::collect(errors, |error| load_problems(text, error)))?;
        load::import(&modules, |_| Err(String::new()))
            .map_err(|errors| JqError::collect(errors, |error| load_problems(text, error)))?;
        let filter =
            Compiler::default().with_funs(functions()).with_global_vars([MESSAGE]).compile(modules).map_err(|errors| {
                JqError::collect(errors, |error| error.into_iter().map(|error| undefined(text, error)).collect())
            })?;
        Ok(Self { text: text.to_owned(), filter })
    }

    /// Returns the program as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the program may use `$message`. The answer may be true for a program that does not use it.
    pub(super) fn asks_for_message(&self) -> bool {
        self.text.contains(MESSAGE)
    }

    /// Runs the program lazily: each step computes one more result. An error is returned as
    /// its text and ends the results.
    pub(super) fn run(&self, input: Val, message: Val) -> impl Iterator<Item = Result<Val, String>> + '_ {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([message]));
        self.filter.id.run((context, input)).map(|result| result.map_err(error_text))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.text).finish()
    }
}

fn definitions() -> impl Iterator<Item = parse::Def<&'static str>> {
    let mut ours = load::parse(SUB, |parser| parser.defs()).unwrap_or_default();
    let all = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    // The definition is replaced in its place: the later definitions, `gsub` among them, refer to the earlier ones.
    let all = all.map(move |definition| match (definition.name, definition.args.len()) {
        ("sub", 3) => ours.pop().unwrap_or(definition),
        _ => definition,
    });
    all.filter(|definition| !LEFT_OUT.contains(&definition.name))
}

fn functions() -> impl Iterator<Item = Fun<Data>> {
    jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| *name != "fromjson" && !LEFT_OUT.contains(name))
        .chain([run::<Data>(("fromjson", v(0), |(_, input)| bome(from_json(&input))))])
}

/// Runs the filter `fromjson`, which accepts exactly one JSON value.
fn from_json(input: &Val) -> jaq_json::ValR {
    let text = input.try_as_utf8_bytes()?;
    let failed = |error: &dyn fmt::Display| jaq_json::Error::str(format_args!("fromjson: {error}"));
    json::check(text, json::Bounds::VALUE).map_err(|error| failed(&error))?;
    jaq_json::read::parse_single(text).map_err(|error| failed(&error))
}

/// Returns the argument of `error(…)`: a text as it is, anything else as JSON.
fn error_text(exception: Exn<'_, Val>) -> String {
    match exception.get_err().map(jaq_core::Error::into_val) {
        Ok(Val::TStr(text)) => String::from_utf8_lossy(&text).into_owned(),
        Ok(value) => match write::to_json(value, write::MAX_ERROR) {
            Ok(json) => String::from_utf8_lossy(&json).into_owned(),
            Err(unwritable) => format!("an error whose value cannot be shown: {unwritable}"),
        },
        Err(_) => "a break out of nothing".to_owned(),
    }
}

/// Why a program does not compile: every problem found, in order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JqError {
    problems: Vec<Problem>,
}

/// One problem of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// The line, counted from 1.
    line: usize,
    /// The column in characters, counted from 1.
    column: usize,
    /// What was expected, or is unknown, at this place.
    what: String,
    /// The reason, if it is not obvious; else empty.
    why: &'static str,
}

impl JqError {
    /// Collects the problems of all files; there is only one, the program, since the standard library compiles.
    fn collect<E>(errors: load::Errors<&str, (), E>, problems: impl Fn(E) -> Vec<Problem>) -> Self {
        Self { problems: errors.into_iter().flat_map(|(_file, error)| problems(error)).collect() }
    }
}

impl fmt::Display for JqError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = BTreeSet::new();
        for (index, problem) in self.problems.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            let Problem { line, column, what, why } = problem;
            // A reason that several problems share is written once.
            let (before_why, why) = if told.insert(*why) && !why.is_empty() { (": ", *why) } else { ("", "") };
            write!(f, "{what}{before_why}{why} at line {line} column {column}")?;
        }
        Ok(())
    }
}

impl std::error::Error for JqError {}

fn load_problems(text: &str, error: load::Error<&str>) -> Vec<Problem> {
    match error {
        load::Error::Io(imports) => imports
            .into_iter()
            .map(|(path, _)| problem(text, path, "modules and data files cannot be imported".to_owned()))
            .collect(),
        load::Error::Lex(errors) => errors.into_iter().map(|(expected, at)| unexpected(text, expected.as_str(), at)).collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, at)| match expected {
                parse::Expect::Nothing => unexpected(text, "the end", at),
                other => unexpected(text, other.as_str(), at),
            })
            .collect(),
    }
}

fn unexpected(text: &str, expected: &str, at: &str) -> Problem {
    let found: String = at.lines().next().unwrap_or_default().chars().take(20).collect();
    let what = if found.is_empty() {
        format!("expected {expected}, found the end")
    } else {
        format!("expected {expected}, found `{found}`")
    };
    problem(text, at, what)
}

fn undefined(text: &str, (name, kind): (&str, Undefined)) -> Problem {
    let why = match kind {
        Undefined::Filter(_) if LEFT_OUT.contains(&name) => "a pipeline has no input, output, environment or exit of its own",
        Undefined::Var if name == "$ENV" => "a pipeline has no environment",
        _ => "",
    };
    let what = match kind {
        _ if !why.is_empty() => format!("`{name}` is left out"),
        Undefined::Filter(0) => format!("`{name}` is not defined"),
        Undefined::Filter(arguments) => format!("`{name}/{arguments}` is not defined"),
        kind => format!("{} `{name}` is not defined", kind.as_str()),
    };
    Problem { why, ..problem(text, name, what) }
}

/// Places a problem at `part`, a slice of `text`: jaq names places this way.
fn problem(text: &str, part: &str, what: String) -> Problem {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Problem {
        line: 1 + before.matches('\n').count(),
        column: 1 + before.get(line_start..).map_or(0, |line| line.chars().count()),
        what,
        why: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stack of a test's thread is that of the thread that reloads a configuration.
    #[test]
    fn the_largest_programs_compile_anywhere_and_run_on_the_stack_of_a_handler() {
        let most = size::PIPELINE.operators;
        let keys: Vec<_> = (0..most).map(|key| format!("k{key}: .a")).collect();
        let cases: Vec<_> = (0..most / 2).map(|case| format!("elif .a == {case} then {case} ")).collect();
        let parameters: Vec<_> = (0..size::PIPELINE.parts / 2 - 1).map(|parameter| format!("p{parameter};")).collect();
        let nested =
            |open: &str, close: &str| open.repeat(size::PIPELINE.brackets) + "." + &close.repeat(size::PIPELINE.brackets);
        let programs = [
            ".|".repeat(most) + ".",
            ".,".repeat(most) + ".",
            ".a // ".repeat(most) + ".",
            ".a + ".repeat(most) + ".a",
            ".a == 1 or ".repeat(most / 2) + "false",
            "-".repeat(most) + "1",
            "try ".repeat(most) + ".",
            ". as $x | ".repeat(most / 2) + ".",
            format!("if false then 0 {} else . end", cases[1..].concat()),
            format!("{{{}}}", keys.join(", ")),
            ".a".repeat(size::PIPELINE.parts),
            format!(".{}", "[0]?".repeat(size::PIPELINE.parts - 1)),
            format!("\"{}\"", "\\n".repeat(size::PIPELINE.parts / 2)),
            format!("\"{}\"", "\\(1)".repeat(size::PIPELINE.parts / 2)),
            format!("def f({}z): 1; f({}1)", parameters.concat(), "1;".repeat(parameters.len())),
            nested("[", "]"),
            nested("(", ")"),
            nested("{a: ", "}"),
        ];
        for text in programs {
            let program = Program::compile(&text).unwrap_or_else(|error| panic!("{error}: {text:.40}"));
            let run = move || {
                let input = jaq_json::read::parse_single(br#"{"a": -5}"#).unwrap();
                program.run(input, Val::Null).next().is_some()
            };
            let handler = thread::Builder::new().stack_size(16 * 1024 * 1024).spawn(run).unwrap();
            assert!(handler.join().unwrap(), "{text:.40}");
        }
    }

    #[test]
    fn a_larger_program_is_refused() {
        let repeated = [".|", "(", "[", "-", "if ", ".a", ".[0]?", ".\"a\""].map(|part| part.repeat(100_000));
        let texts = ["\\n", "\\u0041", "\\(1)"].map(|part| format!("\"{}\"", part.repeat(100_000)));
        let call = format!("f({}1)", "1;".repeat(100_000));
        for text in repeated.into_iter().chain(texts).chain([call]) {
            let error = Program::compile(&text).unwrap_err().to_string();
            assert!(error.starts_with("more than "), "{error}");
        }
    }

    /// If jaq's own `sub` were used, nothing would differ but the memory that it takes.
    #[test]
    fn our_own_sub_is_the_one_that_is_used() {
        let ours = load::parse(SUB, |parser| parser.defs()).unwrap();
        let used: Vec<_> = definitions().filter(|definition| definition.name == "sub" && definition.args.len() == 3).collect();
        assert_eq!(format!("{used:?}"), format!("{ours:?}"));
    }
}
