//! `inspect`: what state a screen is in, and which signal on which line says so.

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Kind, Result};
use crate::base::names::UnitName;
use crate::base::text::nearest;
use crate::base::time::Now;
use crate::cli::args::shown;
use crate::cli::snapshot::{Ownership, row};
use crate::cli::{Invocation, Out, load};
use crate::config::{Backend, Role};
use crate::detect::{reset_time, screen};
use crate::model::seen::{Evidence, Reading, ScreenState, ServerSeen, Substate};
use crate::policy::summary;
use crate::sys::clock::Clock;
use crate::sys::real_host::RealHost;
use crate::sys::{Host, env};
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "inspect",
    usage: "NAME | --backend B --file CAPTURE [--title T] [--dead STATUS]",
    about: "what state a screen is in, and which signal on which line says so",
    long: "With a NAME: the unit's pane as it is now. With `--file`: any text that `tmux
capture-pane -p` (best with `-e -J`) has written; `-` is standard input. Signals
of backends that agents.toml changes or adds are used when there is one.

States: starting, onboarding, idle, draft, busy, blocked, limited, error, dead,
shell, unknown. Substates: retrying (of busy), auth, billing, context, server,
network (of error), menu (of limited).

JSON: {state, substate or null, until or null (a limit's reset as shown),
evidence [{signal, line, text}]}; line 0 is the title or another source.",
    flags: &[
        Flag {
            long: "backend",
            short: None,
            value: Some("B"),
            about: "whose screen it is: claude, codex, …",
        },
        Flag { long: "file", short: None, value: Some("CAPTURE"), about: "a captured screen" },
        Flag { long: "title", short: None, value: Some("T"), about: "the pane's title, as tmux gives it" },
        Flag {
            long: "dead",
            short: None,
            value: Some("STATUS"),
            about: "the process has ended with this status",
        },
    ],
    words: Words::MaybeUnit,
    effect: Effect::Reads,
    run,
};

/// Longest capture, bytes.
const CAPTURE_MAX: u64 = 16 << 20;

#[derive(Debug, Serialize)]
struct Inspection {
    state: ScreenState,
    substate: Option<Substate>,
    until: Option<String>,
    evidence: Vec<Evidence>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let now = Clock::new().now();
    let reading = match (invocation.name()?, invocation.path("file")) {
        (Some(_), Some(_)) => return Err(Error::usage("a name and `--file` exclude each other")),
        (None, None) => {
            return Err(Error::usage("whose screen? name a unit, or give `--backend B --file CAPTURE`"));
        }
        (Some(name), None) => of_unit(invocation, &name)?,
        (None, Some(_)) => of_file(invocation)?,
    };
    let until = reading.until.as_deref().map(|line| reset_as_shown(line, &now));
    let inspection =
        Inspection { state: reading.state, substate: reading.substate, until, evidence: reading.evidence };
    if invocation.json {
        out.json(&inspection);
    } else {
        print(&inspection, out);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(inspection: &Inspection, out: &mut Out) {
    let substate = inspection.substate.map(|sub| format!(" ({sub:?})").to_lowercase()).unwrap_or_default();
    let until = inspection.until.as_ref().map(|until| format!(", until: {until}")).unwrap_or_default();
    out.line(&format!("{}{substate}{until}", format!("{:?}", inspection.state).to_lowercase()));
    for evidence in &inspection.evidence {
        let place = if evidence.line == 0 { "title".to_owned() } else { format!("line {}", evidence.line) };
        out.line(&format!("  {place}: {}: {}", evidence.signal, evidence.text));
    }
}

fn of_file(invocation: &Invocation) -> Result<Reading> {
    let Some(path) = invocation.path("file") else { return Err(Error::usage("`--file` needs a value")) };
    let Some(name) = invocation.value("backend")? else {
        return Err(Error::usage("`--file` needs `--backend B`: whose screen is it?")
            .hint(format!("built in are {}", Backend::builtin_names().join(", "))));
    };
    let backend = backend(invocation, name)?;
    let source = if path.as_os_str() == "-" { "/dev/stdin".as_ref() } else { path };
    let text = env::read_capture(source, CAPTURE_MAX).map_err(|e| Error::new(Kind::Usage, e.message()))?;
    let Some(text) = text else {
        return Err(Error::usage(format!("there is no file `{}`", shown(path.as_os_str()))));
    };
    if let Some(status) = invocation.value("dead")?.filter(|status| status.parse::<i32>().is_err()) {
        return Err(Error::usage(format!("`--dead {}`: not an exit status", shown(status.as_ref()))));
    }
    Ok(screen::read(
        &backend,
        &screen::Look {
            screen: &text,
            title: invocation.value("title")?.unwrap_or_default(),
            dead: invocation.has("dead"),
            command: "",
            alone: None,
            vote: None,
        },
    ))
}

/// The backend as agents.toml has it, when there is one; else as it is built in.
pub(super) fn backend(invocation: &Invocation, name: &str) -> Result<Backend> {
    let from_config = match invocation.home() {
        Ok(home) => home.load()?.config.backends.remove(name),
        // A config that was named must be there; else the built-in ones do.
        Err(error) if invocation.config.is_some() => return Err(error),
        Err(_) => None,
    };
    if let Some(backend) = from_config {
        return Ok(backend);
    }
    let Some(table) = Backend::builtin(name) else {
        let known = Backend::builtin_names();
        let error = Error::usage(format!("there is no backend `{}`", shown(name.as_ref())));
        return Err(match nearest(name, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("built in are {}", known.join(", "))),
        });
    };
    Backend::from_builtin(name, &table, &table).map_err(|errors| {
        let first = errors.into_iter().next().map(|error| error.message).unwrap_or_default();
        Error::usage(format!("the backend `{name}` can't be used: {first}"))
    })
}

fn of_unit(invocation: &Invocation, name: &UnitName) -> Result<Reading> {
    let config = load::config(invocation)?;
    let unit = load::unit(&config, name)?;
    let Role::Agent(agent) = &unit.role else {
        return Err(Error::new(
            Kind::No,
            format!("`{name}` is a {}: it has no screen that is read", summary::kind(unit)),
        ));
    };
    let mut host = RealHost::new(&config.tmux_socket, &config.state_dir);
    host.tmux().version()?;
    let list = host.panes();
    if let ServerSeen::Unknown { why } = &list.server {
        return Err(Error::again(format!("tmux could not be asked: {why}")));
    }
    let Some((row, Ownership::Ours | Ownership::Foreign)) = row(&config, &unit.session, &list.rows) else {
        return Err(Error::new(Kind::No, format!("`{name}` has no session"))
            .hint(format!("`watchkeeper up {name}` starts it")));
    };
    let captured = host.capture(std::slice::from_ref(&row.pane));
    let Some(text) = captured.get(&row.pane) else {
        return Err(Error::again(format!("the pane `{}` of `{name}` could not be captured", row.pane)));
    };
    let vote = agent.backend.status_file.as_ref().and_then(|file| host.vote(file, row.pid));
    let look = screen::Look {
        screen: text,
        title: &row.title,
        dead: row.dead,
        command: &row.command,
        alone: host.is_alone(row.pid),
        vote,
    };
    Ok(screen::read(&agent.backend, &look))
}

/// Words that lead to a reset time. The last one in the line counts.
const LEADS: &[&str] =
    &["resets", "reset", "try again", "retry after", "available", "until", "renews", "refreshes"];
/// What may stand between such a word and the time.
const JOINTS: &[&str] = &["at", "in", "on", "again", "after", ":", "by"];

/// The reset as the screen shows it, without the words around it; the whole line when it can't be told apart.
fn reset_as_shown(line: &str, now: &Now) -> String {
    let lower = line.to_ascii_lowercase();
    let after = LEADS.iter().filter_map(|lead| lower.rfind(lead).map(|at| at + lead.len())).max();
    let Some(mut rest) = after.and_then(|at| line.get(at..)) else { return line.trim().to_owned() };
    while let Some(shorter) = JOINTS.iter().find_map(|joint| strip_word(rest.trim_start(), joint)) {
        rest = shorter;
    }
    let end = [" · ", ". ", "; ", " | ", " — "].iter().filter_map(|stop| rest.find(stop)).min();
    let phrase = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
    let phrase = phrase.trim().trim_end_matches(['.', ',', '│', '┃', '!']).trim();
    // It must still say what the line says.
    let same = |lead: &str| reset_time::parse(&format!("{lead} {phrase}"), now.wall, &now.zone);
    let whole = reset_time::parse(line, now.wall, &now.zone);
    let agrees = same("resets at") == whole || same("resets in") == whole;
    if !phrase.is_empty() && agrees { phrase.to_owned() } else { line.trim().to_owned() }
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let head = text.get(..word.len())?;
    let rest = text.get(word.len()..)?;
    let ends = word == ":" || rest.starts_with(|c: char| !c.is_alphanumeric());
    (head.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Awake, Wall};

    #[track_caller]
    fn check(line: &str, want: &str) {
        let wall = Wall::parse("2026-11-21T10:00:00Z").unwrap();
        let now = Now { wall, awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() };
        assert_eq!(reset_as_shown(line, &now), want);
    }

    #[test]
    fn the_reset_is_cut_out_of_its_line() {
        check("  ⎿  You've hit your session limit · resets 10:27am (UTC)", "10:27am (UTC)");
        check("You’ve hit your usage limit. Upgrade to Pro or try again at 10:22 AM.", "10:22 AM");
        check("Limit reached · resets Nov 24, 3pm (UTC) · /upgrade to continue", "Nov 24, 3pm (UTC)");
        check("usage limit reached, try again in 3 hours 20 minutes.", "3 hours 20 minutes");
        check("Your limit will reset at 15:00", "15:00");
        check("limit reached", "limit reached");
        check("resets", "resets");
        // A time that is over is no coming reset, but it is what the screen shows.
        check("You've hit your limit · resets 9:27am (UTC)", "9:27am (UTC)");
    }
}
