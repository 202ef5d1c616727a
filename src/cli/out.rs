//! Where everything is printed: a writer that survives a closed pipe, and the one place that writes to standard error.

use super::args::ColorChoice;
use crate::base::error::Error;
use crate::sys::env;
use serde::Serialize;
use std::io::{self, Write};

/// Narrower terminals than this are not catered for.
const COLUMNS_MIN: usize = 40;

/// Colours; never the only carrier of a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A person is needed.
    Urgent,
    /// Something is wrong.
    Trouble,
    /// As the terminal has it.
    Plain,
}

/// Standard output.
pub struct Out {
    sink: Box<dyn Write>,
    broken: Option<String>,
    color: bool,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Out {
    /// The process's own.
    pub fn stdout() -> Out {
        Out { sink: Box::new(io::stdout()), broken: None, color: false }
    }

    /// Settles whether colours are used: as asked, else on a terminal unless `NO_COLOR` or a dumb terminal says no.
    pub fn set_color(&mut self, choice: ColorChoice) {
        self.color = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let dumb = env::var("TERM").is_none_or(|term| term == "dumb");
                env::stdout_is_terminal() && env::var("NO_COLOR").is_none() && !dumb
            }
        };
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let written = self.sink.write_all(bytes).and_then(|()| self.sink.flush());
        if let Err(error) = written {
            let quiet = error.kind() == io::ErrorKind::BrokenPipe;
            self.broken = Some(if quiet { String::new() } else { error.to_string().to_lowercase() });
        }
    }

    /// One line.
    pub fn line(&mut self, line: &str) {
        self.text(&format!("{line}\n"));
    }

    /// One line in a colour, where colours are wanted.
    pub fn painted(&mut self, paint: Paint, line: &str) {
        let code = match (paint, self.color) {
            (Paint::Urgent, true) => "1;31",
            (Paint::Trouble, true) => "33",
            (Paint::Plain, true) | (Paint::Urgent | Paint::Trouble | Paint::Plain, false) => {
                return self.line(line);
            }
        };
        self.line(&format!("\x1b[{code}m{line}\x1b[0m"));
    }

    /// A value as pretty JSON.
    pub fn json<T: Serialize>(&mut self, value: &T) {
        // Plain data with text keys: it can always be written.
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.line(&text);
    }

    /// A value as JSON on one line.
    pub fn json_line<T: Serialize>(&mut self, value: &T) {
        let text = serde_json::to_string(value).unwrap_or_default();
        self.line(&text);
    }

    /// The width that tables must fit: of the terminal, else 80.
    pub fn columns(&self) -> usize {
        let wide = env::terminal_columns().or_else(|| env::var("COLUMNS")?.parse().ok());
        wide.unwrap_or(80).max(COLUMNS_MIN)
    }

    /// Nothing more can be written: why, "" when nobody reads on.
    pub fn broken(&self) -> Option<String> {
        self.broken.clone()
    }
}

/// For what tells at length: here a closed pipe is an error, so that it can end.
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes(bytes);
        match self.broken() {
            Some(why) => Err(io::Error::new(io::ErrorKind::BrokenPipe, why)),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error as the program says it: `watchkeeper: …`, then `hint: …`.
pub fn complain(error: &Error) {
    complain_with(&format!("watchkeeper: {error}\n"));
}

/// Text on standard error.
pub fn complain_with(text: &str) {
    // Nobody to tell that nobody can be told.
    let _ = io::stderr().write_all(text.as_bytes());
}
