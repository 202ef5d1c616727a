//! `skills`: a `/watchkeeper` command and standing advice for AI editors, in a project or for all of a person's.

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Result};
use crate::base::text::nearest;
use crate::cli::setup::editors::{self, Standing, TOOLS, Tool};
use crate::cli::{Invocation, Out};
use crate::sys::{env, outside};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "skills",
    usage: "[list] | install [--tool NAME] [--local|--global] [--force]",
    about: "teach AI editors watchkeeper: a command, a section of AGENTS.md",
    long: "`skills install` writes a /watchkeeper command where AI editors look for it, and
a section between two marks into AGENTS.md: status, why, incidents, nudge,
pause, approve, respond. --local (the default) writes into this folder, --global
into your home. --tool takes one editor or `all`; without it those are served
whose folder or program is there, and AGENTS.md.

What is the same stays, an older one that nobody changed is replaced. What a
person wrote or changed is kept and named, and the exit code is 1; --force
replaces it too, and puts the old file beside it as NAME.old. A link that leads
out of the folder is not followed.

`skills list` shows every place and what is there.

JSON: [{tool, scope (local, global), path, state}]; state of list: missing,
same, older, edited, broken, refused; of install: written, same, updated, kept,
replaced, refused; with `why` where it is refused",
    flags: &[
        Flag { long: "tool", short: None, value: Some("NAME"), about: "one editor, or all" },
        Flag { long: "local", short: None, value: None, about: "into this folder (the default)" },
        Flag { long: "global", short: None, value: None, about: "into your home, for all projects" },
        Flag {
            long: "force",
            short: None,
            value: None,
            about: "replace what was changed, too; the old one stays as NAME.old",
        },
    ],
    words: Words::Skills,
    effect: Effect::Changes,
    run,
};

/// Largest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Most old files that are kept beside one.
const OLD_MAX: usize = 20;

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Local,
    Global,
}

impl Scope {
    fn word(self) -> &'static str {
        match self {
            Scope::Local => "local",
            Scope::Global => "global",
        }
    }

    fn root(self) -> PathBuf {
        match self {
            Scope::Local => PathBuf::from("."),
            Scope::Global => outside::home(),
        }
    }

    fn place(self, tool: &Tool) -> Option<&'static str> {
        match self {
            Scope::Local => Some(tool.local),
            Scope::Global => tool.global,
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    tool: &'static str,
    scope: &'static str,
    path: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let scopes = match (invocation.has("local"), invocation.has("global")) {
        (true, true) => return Err(Error::usage("--local and --global: take one")),
        (true, false) => Some(Scope::Local),
        (false, true) => Some(Scope::Global),
        (false, false) => None,
    };
    let tools = named(invocation.value("tool")?)?;
    let rows: Vec<Row> = match invocation.texts()?.first() {
        None | Some(&"list") => {
            let scopes = scopes.map_or(vec![Scope::Local, Scope::Global], |scope| vec![scope]);
            let tools = tools.unwrap_or_else(|| TOOLS.iter().collect());
            scopes.iter().flat_map(|scope| tools.iter().filter_map(|tool| look(tool, *scope))).collect()
        }
        Some(&"install") => {
            let scope = scopes.unwrap_or(Scope::Local);
            let tools = tools.unwrap_or_else(|| in_use(scope));
            let force = invocation.has("force");
            tools.iter().filter_map(|tool| install(tool, scope, force).transpose()).collect::<Result<_>>()?
        }
        Some(other) => {
            let error = Error::usage(format!(
                "`skills` can `list` and `install`, not `{}`",
                crate::base::text::one_line(other, 60)
            ));
            return Err(error);
        }
    };
    let kept = rows.iter().any(|row| ["kept", "refused"].contains(&row.state));
    if invocation.json {
        out.json(&rows);
    } else {
        print(&rows, out);
    }
    Ok(ExitCode::from(u8::from(kept)))
}

fn named(name: Option<&str>) -> Result<Option<Vec<&'static Tool>>> {
    match name {
        None => Ok(None),
        Some("all") => Ok(Some(TOOLS.iter().collect())),
        Some(name) => match TOOLS.iter().find(|tool| tool.name == name) {
            Some(tool) => Ok(Some(vec![tool])),
            None => {
                let names = TOOLS.iter().map(|tool| tool.name);
                let all = names.clone().collect::<Vec<_>>().join(", ");
                let hint = nearest(name, names)
                    .map_or(format!("all, {all}"), |near| format!("did you mean `{near}`?"));
                let shown = crate::base::text::one_line(name, 60);
                Err(Error::usage(format!("there is no editor `{shown}`")).hint(hint))
            }
        },
    }
}

/// The editors that seem to be in use: their folder is there, or their program.
fn in_use(scope: Scope) -> Vec<&'static Tool> {
    let used = |tool: &&Tool| {
        let folder = |path: &str| {
            path.split_once('/').map(|(first, rest)| match first {
                // `.config` is everybody's.
                ".config" => format!(".config/{}", rest.split('/').next().unwrap_or_default()),
                _ => first.to_owned(),
            })
        };
        let there = |root: &Path, path: Option<&str>| {
            path.is_some_and(|path| env::exists(&root.join(folder(path).unwrap_or_else(|| path.to_owned()))))
        };
        tool.program.is_empty()
            || env::program(tool.program).is_some()
            || (scope == Scope::Local && there(Path::new("."), Some(tool.local)))
            || there(&outside::home(), tool.global)
    };
    TOOLS.iter().filter(used).collect()
}

/// The file of a tool: where it really is and what it holds; what speaks against touching it.
fn read(tool: &Tool, scope: Scope, place: &str) -> Result<(PathBuf, Option<String>, Standing)> {
    let path = outside::below(&scope.root(), Path::new(place))?;
    let there = if env::exists(&path) { Some(outside::read_text(&path, FILE_MAX)?) } else { None };
    let standing = editors::judge(tool.form, there.as_deref());
    Ok((path, there, standing))
}

fn row(tool: &Tool, scope: Scope, place: &str, state: &'static str, why: Option<String>) -> Row {
    let path = match scope {
        Scope::Local => place.to_owned(),
        Scope::Global => format!("~/{place}"),
    };
    Row { tool: tool.name, scope: scope.word(), path, state, why }
}

fn look(tool: &Tool, scope: Scope) -> Option<Row> {
    let place = scope.place(tool)?;
    let (state, why) = match read(tool, scope, place) {
        Err(error) => ("refused", Some(error.message())),
        Ok((_, _, standing)) => match standing {
            Standing::Missing { .. } => ("missing", None),
            Standing::Same => ("same", None),
            Standing::Older { .. } => ("older", None),
            Standing::Edited { .. } => ("edited", None),
            Standing::Broken => ("broken", None),
        },
    };
    Some(row(tool, scope, place, state, why))
}

fn install(tool: &Tool, scope: Scope, force: bool) -> Result<Option<Row>> {
    let Some(place) = scope.place(tool) else { return Ok(None) };
    let (path, there, standing) = match read(tool, scope, place) {
        Ok(read) => read,
        Err(error) => return Ok(Some(row(tool, scope, place, "refused", Some(error.message())))),
    };
    let (state, text) = match standing {
        Standing::Same => ("same", None),
        Standing::Missing { text } => ("written", Some(text)),
        Standing::Older { text } => ("updated", Some(text)),
        Standing::Edited { text } if force => ("replaced", Some(text)),
        Standing::Edited { .. } | Standing::Broken => ("kept", None),
    };
    if let Some(text) = text {
        match there {
            None => {
                if outside::write_new(&path, &text, 0o644)? == outside::Wrote::Kept {
                    return Err(Error::again("was made by somebody else meanwhile").at(&path));
                }
            }
            Some(old) => {
                if state == "replaced" {
                    put_aside(&path, &old)?;
                }
                outside::replace_text(&path, &old, &text)?;
            }
        }
    }
    Ok(Some(row(tool, scope, place, state, None)))
}

/// The old file's text as NAME.old, or the next free name.
fn put_aside(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for n in 1..=OLD_MAX {
        let old = if n == 1 { format!("{name}.old") } else { format!("{name}.old-{n}") };
        match outside::write_new(&path.with_file_name(old), text, 0o644)? {
            outside::Wrote::New | outside::Wrote::Same => return Ok(()),
            outside::Wrote::Kept => {}
        }
    }
    Err(Error::usage(format!("{OLD_MAX} old files stand beside it: clear them up first")).at(path))
}

fn print(rows: &[Row], out: &mut Out) {
    let width = rows.iter().map(|row| row.tool.len()).max().unwrap_or(0);
    for row in rows {
        let said = match (row.state, &row.why) {
            ("kept", _) => "kept as it is, somebody wrote or changed it (--force replaces it)".to_owned(),
            ("broken", _) => "its section has no end mark".to_owned(),
            (state, Some(why)) => format!("{state}: {why}"),
            (state, None) => state.to_owned(),
        };
        out.line(&format!("{:<width$}  {}: {said}", row.tool, row.path));
    }
}
