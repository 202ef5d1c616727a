//! The words that command the demo agent: text to [`Directive`]. Pure; what they do is in `play.rs`.

use super::options::SECONDS_MAX;

/// One thing that the agent is told to do. Durations in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Directive {
    /// Streams a line a second.
    Work(f64),
    /// Works in turns of 3 s with 0.5 s between them, until interrupted or told something else.
    Loop,
    /// A busy spinner without text.
    Think(f64),
    /// The same, but what it waits for does not come; 0 = for ever.
    Hang(f64),
    /// The process lives, but neither draws nor reads.
    Freeze,
    /// A child process burns CPU.
    Tool(f64),
    /// Opens a permission dialog.
    Ask,
    /// Opens the onboarding dialog.
    Trust,
    /// Hits the usage limit.
    Limit { seconds: f64, said: Said, menu: Menu },
    /// Ends this prompt and the next `prompts - 1` with an error.
    Error { trouble: Trouble, prompts: u32 },
    /// A transient error: retries for so long, then goes on.
    Retry(f64),
    /// Compacts the conversation.
    Compact(f64),
    /// Declares a wait and goes idle.
    Wait(f64),
    /// Puts text into the composer, as a person would.
    Draft(String),
    /// Says done and exits 0.
    Done,
    /// Leaves with this status.
    Exit(u8),
    /// Dies: 1 = exit status 1, other numbers are signals.
    Crash(i32),
    /// Becomes an interactive shell.
    Shell,
    /// Leaves a child behind that ignores SIGHUP.
    Orphan,
    /// Ignores SIGTERM from now on.
    IgnoreTerm,
    /// Swallows the next so many Enters.
    FlakyEnter(u32),
    /// Says this.
    Say(String),
    /// Nothing for so long: the gaps of a script.
    Idle(f64),
    /// Nothing until the next prompt: the script goes on after its answer.
    Await,
}

/// How a limit's end is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// `resets 10:27am (UTC)`: the next whole minute.
    Clock,
    /// `resets in 40 seconds`
    Seconds,
}

/// Whether a limit opens its menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// The composer stays.
    Closed,
    /// The menu stands where the composer was.
    Open,
}

/// Final errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 500
    Server,
    /// 401
    Auth,
    /// No credit.
    Billing,
    /// The conversation is full.
    Context,
    /// No connection.
    Network,
}

impl Trouble {
    /// The line on the screen, without its `! `.
    pub fn text(self) -> &'static str {
        match self {
            Trouble::Server => "API Error: 500 server error",
            Trouble::Auth => "API Error: 401 authentication failed",
            Trouble::Billing => "Credit balance too low",
            Trouble::Context => "Context limit reached",
            Trouble::Network => "Connection error",
        }
    }

    fn named(name: &str) -> Option<Trouble> {
        Some(match name {
            "server" => Trouble::Server,
            "auth" => Trouble::Auth,
            "billing" => Trouble::Billing,
            "context" => Trouble::Context,
            "network" => Trouble::Network,
            _ => return None,
        })
    }
}

/// Reads one directive. Strict, so that prose which happens to begin with a capital word stays prose.
pub fn directive(line: &str) -> Option<Directive> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let text = || (!rest.is_empty()).then(|| rest.to_owned());
    let bare = |d: Directive| rest.is_empty().then_some(d);
    match word {
        "WORK" => seconds(rest).map(Directive::Work),
        "LOOP" => bare(Directive::Loop),
        "THINK" => seconds(rest).map(Directive::Think),
        "HANG" => seconds(rest).map(Directive::Hang),
        "FREEZE" => bare(Directive::Freeze),
        "TOOL" => seconds(rest).map(Directive::Tool),
        "ASK" => bare(Directive::Ask),
        "TRUST" => bare(Directive::Trust),
        "LIMIT" => limit(rest, Menu::Closed),
        "LIMIT-MENU" => limit(rest, Menu::Open),
        "ERROR" => error(rest),
        "RETRY" => seconds(rest).map(Directive::Retry),
        "COMPACT" => seconds(rest).map(Directive::Compact),
        "WAIT" => seconds(rest).map(Directive::Wait),
        "DRAFT" => text().map(Directive::Draft),
        "DONE" => bare(Directive::Done),
        "EXIT" => rest.parse().ok().map(Directive::Exit),
        // 64 is the highest signal number on Linux.
        "CRASH" => rest.parse().ok().filter(|k| (1..=64).contains(k)).map(Directive::Crash),
        "SHELL" => bare(Directive::Shell),
        "ORPHAN" => bare(Directive::Orphan),
        "IGNORE-TERM" => bare(Directive::IgnoreTerm),
        "FLAKY-ENTER" => rest.parse().ok().map(Directive::FlakyEnter),
        "SAY" => text().map(Directive::Say),
        "IDLE" => seconds(rest).map(Directive::Idle),
        "AWAIT" => bare(Directive::Await),
        _ => None,
    }
}

/// The last line of a prompt that is a directive.
pub fn in_prompt(prompt: &str) -> Option<Directive> {
    prompt.lines().rev().find_map(directive)
}

/// The script of one run: runs are separated by `||`, directives by `;`. Run number `run` (from 0) plays its own
/// part, every run past the end the last one: `WORK 5; CRASH 1 || LOOP` crashes only once. The error is the text
/// that is no directive.
pub fn script(text: &str, run: usize) -> Result<Vec<Directive>, String> {
    let runs: Vec<&str> = text.split("||").collect();
    let mine = runs.get(run).or(runs.last()).copied().unwrap_or("");
    mine.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| directive(part).ok_or_else(|| part.to_owned()))
        .collect()
}

fn seconds(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|s| (0.0..=SECONDS_MAX).contains(s))
}

/// `60` or `60 s`.
fn limit(rest: &str, menu: Menu) -> Option<Directive> {
    let (number, said) = match rest.strip_suffix('s') {
        Some(number) => (number.trim_end(), Said::Seconds),
        None => (rest, Said::Clock),
    };
    seconds(number).map(|seconds| Directive::Limit { seconds, said, menu })
}

/// `server` or `server 3`.
fn error(rest: &str) -> Option<Directive> {
    let mut words = rest.split_whitespace();
    let trouble = Trouble::named(words.next()?)?;
    let prompts = match words.next() {
        Some(number) => number.parse().ok().filter(|n| *n > 0)?,
        None => 1,
    };
    words.next().is_none().then_some(Directive::Error { trouble, prompts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "reads better in the table")]
    fn check(line: &str, want: Option<Directive>) {
        assert_eq!(directive(line), want, "{line:?}");
    }

    #[test]
    fn directives_are_read() {
        check("WORK 5", Some(Directive::Work(5.0)));
        check("HANG 0", Some(Directive::Hang(0.0)));
        check("ERROR server", Some(Directive::Error { trouble: Trouble::Server, prompts: 1 }));
        check("ERROR network 3", Some(Directive::Error { trouble: Trouble::Network, prompts: 3 }));
        let limit = |seconds, said, menu| Some(Directive::Limit { seconds, said, menu });
        check("LIMIT 60", limit(60.0, Said::Clock, Menu::Closed));
        check("LIMIT 7 s", limit(7.0, Said::Seconds, Menu::Closed));
        check("LIMIT-MENU 7s", limit(7.0, Said::Seconds, Menu::Open));
        check("DRAFT half a thought", Some(Directive::Draft("half a thought".into())));
        check("CRASH 11", Some(Directive::Crash(11)));
    }

    #[test]
    fn prose_is_not_a_directive() {
        for prose in [
            "WORK",
            "WORK hard",
            "WORK -1",
            "WORK NaN",
            "DONE when the tests pass",
            "ASK the reviewer",
            "work 5",
            "CRASH 0",
            "ERROR in line 5",
            "ERROR server 0",
            "SAY",
            "LOOP over the files",
            "AWAIT the review",
            "",
        ] {
            check(prose, None);
        }
    }

    #[test]
    fn the_last_line_that_is_a_directive_counts() {
        assert_eq!(in_prompt("WORK 1\nplease\nWORK 2\nand then rest"), Some(Directive::Work(2.0)));
        assert_eq!(in_prompt("nothing here"), None);
    }

    #[test]
    fn a_script_has_a_part_for_each_run() {
        let text = "WORK 5; CRASH 1 || LOOP";
        assert_eq!(script(text, 0), Ok(vec![Directive::Work(5.0), Directive::Crash(1)]));
        assert_eq!(script(text, 1), Ok(vec![Directive::Loop]));
        assert_eq!(script(text, 9), Ok(vec![Directive::Loop]));
        assert_eq!(script("", 0), Ok(vec![]));
        assert_eq!(script("WORK 5; NAP 3", 0), Err("NAP 3".into()));
    }
}
