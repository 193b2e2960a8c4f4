//! Whether bytes are JSON (RFC 8259), at any depth.
//!
//! One pass, without recursion and without building values, so that a line nested 100,000 levels deep costs memory but
//! never overflows the stack. Pure: called by handlers on the pool's threads and by commands.

use std::fmt;
use std::ops::Range;

/// The deepest nesting of a body that is turned into values, which takes stack for each level.
/// `serde_json` has the same limit.
pub const MAX_DEPTH: usize = 128;

/// The longest number, in characters, that is turned into a value of arbitrary size. The conversion takes time by the
/// square of the length: seconds at 1 MiB.
pub const MAX_NUMBER: usize = 1000;

/// The limits that a text must keep besides the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The largest number of nested arrays and objects. Each takes a byte of memory while it is open, and no stack.
    pub depth: usize,
    /// The largest number of bytes in a number.
    pub number: usize,
}

impl Bounds {
    /// No limits: any JSON.
    pub const NONE: Self = Self { depth: usize::MAX, number: usize::MAX };
    /// The limits of JSON that is read into fields.
    pub const DEPTH: Self = Self { depth: MAX_DEPTH, number: usize::MAX };
    /// The limits of JSON that is read into values of any kind.
    pub const VALUE: Self = Self { depth: MAX_DEPTH, number: MAX_NUMBER };
}

/// The number of characters of a field's name that an error shows: a name may be as long as a body.
const MAX_NAME: usize = 64;

/// Checks that `bytes` are exactly one JSON value in UTF-8, within `bounds`, with nothing but white space around it.
///
/// Only the grammar counts otherwise: numbers may be larger than any type holds, names may repeat, and `\u`
/// escapes may be lone surrogates.
pub fn check(bytes: &[u8], bounds: Bounds) -> Result<(), SyntaxError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(SyntaxError::at(bytes, error.valid_up_to(), Problem::NotUtf8)),
    };
    let mut scanner = Scanner::new(text, bounds);
    scanner.document().map_err(|(offset, problem)| {
        let name = text.get(scanner.field.clone()).unwrap_or_default();
        let field = (!name.is_empty()).then(|| name.chars().take(MAX_NAME).collect());
        SyntaxError { field, ..SyntaxError::at(bytes, offset, problem) }
    })
}

/// Returns whether a text that is known to be JSON nests deeper than [`MAX_DEPTH`]. It costs next to nothing for
/// texts that are short or shallow.
pub fn is_too_deep(json: &str) -> bool {
    let openers = || json.bytes().filter(|&byte| byte == b'[' || byte == b'{').count();
    // A level takes two bytes. Brackets within strings count as well, since this is only a hint
    // that the exact check is needed.
    json.len() > 2 * MAX_DEPTH && openers() > MAX_DEPTH && check(json.as_bytes(), Bounds::DEPTH).is_err()
}

/// Returns whether a text is one JSON number and nothing else.
pub fn is_number(text: &str) -> bool {
    let mut scanner = Scanner::new(text, Bounds::NONE);
    scanner.number().is_ok() && scanner.peek().is_none()
}

/// Where bytes stop being JSON, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: u64,
    /// The column in bytes, counted from 1.
    pub column: usize,
    /// The name, as written, of the outermost object's field in which or right after which the
    /// error is; `None`: there is none.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl SyntaxError {
    fn at(bytes: &[u8], offset: usize, problem: Problem) -> Self {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        Self { line, column: 1 + before.len() - line_start, field: None, problem }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.problem, self.line, self.column)?;
        match &self.field {
            Some(field) => write!(f, ", field `{field}`"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SyntaxError {}

/// What is wrong at a place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8")]
    NotUtf8,
    /// The text ends where more is expected.
    #[error("the text ends too early")]
    Ends,
    /// Something other than a value stands where one must begin.
    #[error("a value was expected")]
    Value,
    /// A word begins with `t`, `f` or `n` and is none of `true`, `false` and `null`.
    #[error("`true`, `false` or `null` was expected")]
    Word,
    /// A digit is missing in a number.
    #[error("a digit was expected")]
    Digit,
    /// A number begins with a zero followed by a digit.
    #[error("a leading zero")]
    LeadingZero,
    /// An object's field does not begin with a name in quotes.
    #[error("a name in quotes was expected")]
    Name,
    /// A name is not followed by a colon.
    #[error("`:` was expected")]
    Colon,
    /// An array's item is followed by neither a comma nor the closing bracket.
    #[error("`,` or `]` was expected")]
    CommaOrBracket,
    /// An object's field is followed by neither a comma nor the closing brace.
    #[error("`,` or `}}` was expected")]
    CommaOrBrace,
    /// A string holds a control character that is not escaped.
    #[error("a control character in a string, which must be escaped")]
    Control,
    /// A backslash in a string does not begin an escape that JSON knows.
    #[error("an unknown escape")]
    Escape,
    /// The value is followed by something other than white space.
    #[error("something follows the value")]
    Trailing,
    /// The text nests deeper than [`Bounds::depth`].
    #[error("more than {MAX_DEPTH} levels of arrays and objects")]
    TooDeep,
    /// A number is longer than [`Bounds::number`].
    #[error("a number of more than {MAX_NUMBER} characters")]
    LongNumber,
}

type Scan = Result<(), (usize, Problem)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    bounds: Bounds,
    /// The name of the outermost object's latest field, without its quotes, as a range of `bytes`.
    field: Range<usize>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, bounds: Bounds) -> Self {
        Self { bytes: text.as_bytes(), at: 0, bounds, field: 0..0 }
    }

    fn document(&mut self) -> Scan {
        let mut open = Vec::new();
        'value: loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.enter(&mut open, Open::Object)?;
                    if !self.eat(b'}') {
                        self.name(&open)?;
                        continue 'value;
                    }
                    open.pop();
                }
                Some(b'[') => {
                    self.enter(&mut open, Open::Array)?;
                    if !self.eat(b']') {
                        continue 'value;
                    }
                    open.pop();
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return self.fail(Problem::Value),
            }
            // A value has ended: close the arrays and objects that end with it, then go on to the next value.
            loop {
                self.space();
                match open.last() {
                    None if self.peek().is_none() => return Ok(()),
                    None => return self.fail(Problem::Trailing),
                    Some(Open::Array) if self.eat(b',') => continue 'value,
                    Some(Open::Array) if self.eat(b']') => open.pop(),
                    Some(Open::Array) => return self.fail(Problem::CommaOrBracket),
                    Some(Open::Object) if self.eat(b',') => {
                        self.space();
                        self.name(&open)?;
                        continue 'value;
                    }
                    Some(Open::Object) if self.eat(b'}') => open.pop(),
                    Some(Open::Object) => return self.fail(Problem::CommaOrBrace),
                };
            }
        }
    }

    fn enter(&mut self, open: &mut Vec<Open>, what: Open) -> Scan {
        if open.len() >= self.bounds.depth {
            return Err((self.at, Problem::TooDeep));
        }
        open.push(what);
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Scans a field's name and its colon.
    fn name(&mut self, open: &[Open]) -> Scan {
        if self.peek() != Some(b'"') {
            return self.fail(Problem::Name);
        }
        let start = self.at + 1;
        self.string()?;
        if open.len() == 1 {
            self.field = start..self.at - 1;
        }
        self.space();
        if self.eat(b':') { Ok(()) } else { self.fail(Problem::Colon) }
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fail(Problem::Control),
                None => return self.fail(Problem::Ends),
            }
        }
    }

    fn escape(&mut self) -> Scan {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.fail(Problem::Escape);
                    }
                    self.at += 1;
                }
            }
            _ => return self.fail(Problem::Escape),
        }
        Ok(())
    }

    fn number(&mut self) -> Scan {
        let start = self.at;
        self.eat(b'-');
        if self.eat(b'0') {
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return self.fail(Problem::LeadingZero);
            }
        } else {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        if self.at - start > self.bounds.number { Err((start, Problem::LongNumber)) } else { Ok(()) }
    }

    /// Scans one digit or more.
    fn digits(&mut self) -> Scan {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.fail(Problem::Digit) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Scan {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            let is_torn = word.starts_with(rest);
            return Err(if is_torn { (self.bytes.len(), Problem::Ends) } else { (self.at, Problem::Word) });
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Fails at the present position: with [`Problem::Ends`] at the end of the text, else with `problem`.
    fn fail(&self, problem: Problem) -> Scan {
        Err((self.at, if self.peek().is_none() { Problem::Ends } else { problem }))
    }
}

#[cfg(test)]
mod tests;
