//! Scripts for `tmux source-file -` that change something: builders and the parser of their answer.
//!
//! Every act on an existing pane is guarded in the script itself: the server checks identity, stamp and life of the
//! pane and acts in one go, so nothing can change in between. Deliberately not here: spawning.

use super::tmux_list::{encode_stamp, is_pane_id};
use crate::base::text::{one_line, quoted_word as quote};
use crate::model::action::{Launch, LaunchPrompt};

/// What a script prints when its guard refused: this word, pane, dead, mode, stamp.
const REFUSED: &str = "watchkeeper-refused";
/// Longest single argument that Linux passes to a program (`MAX_ARG_STRLEN`, 32 pages), less some room.
const ARGUMENT_MAX: usize = 120 << 10;
/// Largest script.
const SCRIPT_MAX: usize = 1 << 20;

/// What must hold for the pane besides that it is there and carries our stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing more.
    Ours,
    /// Its process lives and keys reach it: pasting into a dead pane ends tmux 3.3a's server, and a mode swallows
    /// what is typed.
    Typable,
    /// Its process lives and the pane is in a mode.
    InMode,
}

/// Runs `commands` only if the pane is ours and as needed; else prints what it found.
pub(super) fn guarded(pane: &str, stamp: &str, need: Need, commands: &str) -> Result<String, String> {
    if !is_pane_id(pane) {
        return Err(format!("`{}` is not a pane id", one_line(pane, 40)));
    }
    let mut conditions = vec![
        format!("#{{==:#{{pane_id}},{pane}}}"),
        format!("#{{==:#{{@watchkeeper}},{}}}", encode_stamp(stamp)),
    ];
    match need {
        Need::Ours => {}
        Need::Typable => {
            conditions.extend(["#{==:#{pane_dead},0}", "#{==:#{pane_in_mode},0}"].map(str::to_owned));
        }
        Need::InMode => conditions.extend(["#{==:#{pane_dead},0}", "#{pane_in_mode}"].map(str::to_owned)),
    }
    let all = conditions.into_iter().reduce(|all, one| format!("#{{&&:{all},{one}}}")).unwrap_or_default();
    let found = format!("{REFUSED}|#{{pane_id}}|#{{pane_dead}}|#{{pane_in_mode}}|#{{@watchkeeper}}");
    let refuse = format!("display-message -p -t {pane} '{found}'");
    Ok(format!("if-shell -F -t {pane} '{all}' {{\n{commands}\n}} {{\n{refuse}\n}}\n"))
}

/// Why the guard refused; None when it did not.
pub(super) fn refusal(stdout: &str, pane: &str, stamp: &str, need: Need) -> Option<Refusal> {
    let line = stdout.lines().find_map(|l| l.strip_prefix(REFUSED)?.strip_prefix('|'))?;
    let mut fields = line.split('|');
    let mut next = || fields.next().unwrap_or_default();
    let (found, dead, mode, owner) = (next(), next(), next(), next());
    // Modes are counted.
    let in_mode = !matches!(mode, "" | "0");
    Some(if found != pane {
        Refusal::Gone
    } else if owner.is_empty() {
        Refusal::Refused(format!("pane `{pane}` is not ours"))
    } else if owner != encode_stamp(stamp) {
        Refusal::Refused(format!("pane `{pane}` belongs to another fleet (`{}`)", one_line(owner, 80)))
    } else if dead == "1" {
        Refusal::Refused(format!("pane `{pane}` is dead"))
    } else if in_mode {
        Refusal::Refused(format!("pane `{pane}` is in copy mode"))
    } else if need == Need::InMode {
        Refusal::NotInMode
    } else {
        Refusal::Refused(format!("pane `{pane}` changed while it was looked at"))
    })
}

/// What a guard found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such pane.
    Gone,
    /// It is in no mode that could be left.
    NotInMode,
    /// Something else is wrong with it.
    Refused(String),
}

pub(super) fn paste(pane: &str, stamp: &str, buffer: &str) -> Result<String, String> {
    let commands = format!("paste-buffer -p -d -b {} -t {pane}", quote(check_buffer(buffer)?));
    guarded(pane, stamp, Need::Typable, &commands)
}

pub(super) fn keys(pane: &str, stamp: &str, keys: &[String]) -> Result<String, String> {
    if keys.is_empty() {
        return Err("there are no keys to press".to_owned());
    }
    if let Some(bad) = keys.iter().find(|k| k.is_empty() || k.len() > 32 || k.chars().any(char::is_control)) {
        return Err(format!("`{}` is not a key name", one_line(bad, 40)));
    }
    let words: Vec<String> = keys.iter().map(|k| quote(k)).collect();
    guarded(pane, stamp, Need::Typable, &format!("send-keys -t {pane} -- {}", words.join(" ")))
}

/// Any mode, and all that lie on top of each other: `send-keys -X cancel` is unknown to the tree and the clock (3.3a).
pub(super) fn leave_mode(pane: &str, stamp: &str) -> Result<String, String> {
    guarded(pane, stamp, Need::InMode, &format!("copy-mode -q -t {pane}"))
}

/// The pane's own session, whatever it is called by now: check and act agree on it.
pub(super) fn kill_session(pane: &str, stamp: &str) -> Result<String, String> {
    guarded(pane, stamp, Need::Ours, &format!("kill-session -t {pane}"))
}

/// Marks a pane that carries nobody's mark, its window and its session, as a start would have. Checked and done in one go.
pub(super) fn adopt(unit: &str, pane: &str, stamp: &str) -> Result<String, String> {
    let commands = format!(
        "set-option -w -t {pane} remain-on-exit on ; \
         set-option -t {pane} destroy-unattached off ; \
         set-option -p -t {pane} @watchkeeper_unit {unit} ; \
         set-option -t {pane} @watchkeeper {stamp}",
        unit = quote(unit),
        stamp = quote(&encode_stamp(stamp)),
    );
    guarded(pane, "", Need::Ours, &commands)
}

/// Makes the session and marks it in one go: a command that dies at once keeps its exit status. The unit's mark is
/// on the pane, so that panes which a person adds to the session are not taken for the unit.
pub(super) fn new_session(launch: &Launch, stamp: &str, words: &[String]) -> Result<String, String> {
    let session = check_session(&launch.session)?;
    let target = quote(&format!("={session}:"));
    let script = format!(
        "new-session -d -s {name} -x 200 -y 50 -c {dir} -- {command} ; \
         set-option -w -t {target} remain-on-exit on ; \
         set-option -t {target} destroy-unattached off ; \
         set-option -t {target} @watchkeeper {stamp} ; \
         set-option -p -t {target} @watchkeeper_unit {unit}\n",
        // Session names and folders are expanded as formats, other words are not.
        name = quote(&session.replace('#', "##")),
        dir = quote(&launch.dir.replace('#', "##")),
        command = quote_all(words),
        stamp = quote(&encode_stamp(stamp)),
        unit = quote(&unit_mark(launch)),
    );
    bounded(script)
}

/// What the pane is marked with: the unit, and the phase that it is started for.
fn unit_mark(launch: &Launch) -> String {
    match &launch.phase {
        Some(phase) => format!("{}/{phase}", launch.unit),
        None => launch.unit.to_string(),
    }
}

/// Starts the command anew in the kept pane.
pub(super) fn respawn(pane: &str, launch: &Launch, stamp: &str, words: &[String]) -> Result<String, String> {
    let commands = format!(
        "respawn-pane -k -t {pane} -c {dir} -- {command} ; set-option -w -t {pane} remain-on-exit on ; \
         set-option -p -t {pane} @watchkeeper_unit {unit}",
        dir = quote(&launch.dir.replace('#', "##")),
        command = quote_all(words),
        unit = quote(&unit_mark(launch)),
    );
    bounded(guarded(pane, stamp, Need::Ours, &commands)?)
}

fn bounded(script: String) -> Result<String, String> {
    if script.len() > SCRIPT_MAX {
        return Err(format!(
            "the command is {} bytes long, at most {SCRIPT_MAX} are passed on",
            script.len()
        ));
    }
    if script.contains('\0') {
        return Err("the command holds a NUL byte".to_owned());
    }
    Ok(script)
}

/// The words of the pane's own process: `env` with the changed environment, then the argv. A prompt is read from its
/// file by a shell that then becomes the command (exec), so that no wrapper stays; the texts are never shell code.
pub(super) fn launch_words(
    launch: &Launch,
    unit_dir: &str,
    prompt_file: &str,
) -> Result<Vec<String>, String> {
    let program = launch.argv.first().map(String::as_str).unwrap_or_default();
    if program.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if program.contains('=') {
        return Err(format!("program `{}` has a `=` in its name", one_line(program, 80)));
    }
    let bad_key = |key: &&String| key.is_empty() || key.contains('=') || key.starts_with('-');
    if let Some(bad) = launch.env.keys().chain(&launch.env_remove).find(bad_key) {
        return Err(format!("`{}` is not a variable's name", one_line(bad, 80)));
    }
    let mut words: Vec<String> = match &launch.prompt {
        None => Vec::new(),
        Some(LaunchPrompt::Arg { text }) if text.len() > ARGUMENT_MAX => {
            let length = text.len();
            return Err(format!(
                "the prompt is {length} bytes long, at most {ARGUMENT_MAX} fit in an argument"
            ));
        }
        Some(LaunchPrompt::Arg { .. }) => shell(r#"p=$(cat "$0") && exec "$@" "$p""#, prompt_file),
        Some(LaunchPrompt::Stdin { .. }) => shell(r#"exec "$@" <"$0""#, prompt_file),
    };
    words.push("env".to_owned());
    for key in &launch.env_remove {
        words.extend(["-u".to_owned(), key.clone()]);
    }
    words.push("--".to_owned());
    words.push(format!("WATCHKEEPER_UNIT={}", launch.unit));
    words.push(format!("WATCHKEEPER_UNIT_DIR={unit_dir}"));
    words.extend(launch.env.iter().map(|(key, value)| format!("{key}={value}")));
    words.extend(launch.argv.iter().cloned());
    Ok(words)
}

fn shell(script: &str, file: &str) -> Vec<String> {
    ["/bin/sh", "-c", script, file].map(str::to_owned).to_vec()
}

/// The prompt's text, when there is one.
pub(super) fn prompt_text(launch: &Launch) -> Option<&str> {
    launch.prompt.as_ref().map(|prompt| match prompt {
        LaunchPrompt::Arg { text } | LaunchPrompt::Stdin { text } => text.as_str(),
    })
}

/// A session name that tmux takes as it is: it would turn `.` and `:` into `_`, and `$` or `@` start ids.
pub(super) fn check_session(name: &str) -> Result<&str, String> {
    let fine = |c: char| !(c.is_control() || c == '.' || c == ':');
    let start = name.chars().next();
    if start.is_none_or(|c| "$@%=!~+-{^".contains(c)) || !name.chars().all(fine) || name.len() > 200 {
        return Err(format!("`{}` can't be a session's name", one_line(name, 80)));
    }
    Ok(name)
}

/// Buffer names are ours: letters, digits, `-` and `_`.
pub(super) fn check_buffer(name: &str) -> Result<&str, String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 200 || name.starts_with('-') || !name.bytes().all(fine) {
        return Err(format!("`{}` can't be a buffer's name", one_line(name, 80)));
    }
    Ok(name)
}

fn quote_all(words: &[String]) -> String {
    words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ")
}

/// The argv that shows a session to a person: `switch-client` inside the same server, `attach-session` elsewhere.
/// `tmux_env` is `$TMUX` (`socket,pid,session`), `server_pid` the pid of the server with the session.
pub fn attach_argv(socket: &str, session: &str, tmux_env: Option<&str>, server_pid: i32) -> Vec<String> {
    let inside = tmux_env.filter(|v| !v.is_empty());
    let same = inside.is_some_and(|v| v.split(',').nth(1) == Some(server_pid.to_string().as_str()));
    let mut argv: Vec<String> = match (inside, same) {
        // Another server's client: tmux refuses to nest unless it does not notice.
        (Some(_), false) => ["env", "-u", "TMUX", "tmux", "-u"].map(str::to_owned).to_vec(),
        (Some(_), true) | (None, _) => ["tmux", "-u"].map(str::to_owned).to_vec(),
    };
    if !socket.is_empty() {
        argv.extend(["-L".to_owned(), socket.to_owned()]);
    }
    if same {
        argv.extend(["switch-client".to_owned(), "-t".to_owned(), format!("={session}:")]);
    } else {
        argv.extend(["attach-session".to_owned(), "-t".to_owned(), format!("={session}")]);
    }
    argv
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::UnitName;
    use std::collections::BTreeMap;

    fn launch() -> Launch {
        Launch {
            unit: UnitName::new("builder").unwrap(),
            session: "crew-builder".into(),
            dir: "/d#{pid}".into(),
            argv: vec!["claude".into(), "it's;".into(), "#{pid}".into()],
            env: BTreeMap::from([("A".to_owned(), "1 2".to_owned())]),
            env_remove: vec!["CLAUDECODE".into()],
            prompt: None,
            phase: None,
        }
    }

    #[test]
    fn a_launch_is_env_and_argv_and_a_shell_only_to_read_the_prompt() {
        let words = |prompt| launch_words(&Launch { prompt, ..launch() }, "/s/units/builder", "/p").unwrap();
        let plain = words(None);
        assert_eq!(
            plain,
            [
                "env",
                "-u",
                "CLAUDECODE",
                "--",
                "WATCHKEEPER_UNIT=builder",
                "WATCHKEEPER_UNIT_DIR=/s/units/builder",
                "A=1 2",
                "claude",
                "it's;",
                "#{pid}"
            ]
        );
        let arg = words(Some(LaunchPrompt::Arg { text: "$(reboot)".into() }));
        assert_eq!(arg[..4], ["/bin/sh", "-c", r#"p=$(cat "$0") && exec "$@" "$p""#, "/p"]);
        assert_eq!(arg[4..], plain);
        let stdin = words(Some(LaunchPrompt::Stdin { text: "x".repeat(1 << 20) }));
        assert_eq!(stdin[2..4], [r#"exec "$@" <"$0""#, "/p"]);
    }

    #[test]
    fn what_env_would_misread_is_refused() {
        #[track_caller]
        fn check(launch: &Launch, want: &str) {
            let why = launch_words(launch, "/u", "/p").unwrap_err();
            assert!(why.contains(want), "{why}");
        }
        check(&Launch { argv: vec![], ..launch() }, "empty");
        check(&Launch { argv: vec!["A=b".into()], ..launch() }, "`=`");
        check(&Launch { env: BTreeMap::from([("-u".into(), "x".into())]), ..launch() }, "variable");
        check(&Launch { env_remove: vec![String::new()], ..launch() }, "variable");
        check(
            &Launch { prompt: Some(LaunchPrompt::Arg { text: "x".repeat(200_000) }), ..launch() },
            "argument",
        );
    }

    #[test]
    fn words_are_quoted_and_formats_escaped_only_where_tmux_expands_them() {
        let words: Vec<String> = ["env", "--", "it's;", "#{pid}"].map(str::to_owned).to_vec();
        assert_eq!(
            new_session(&launch(), "/s,x", &words).unwrap(),
            r"new-session -d -s 'crew-builder' -x 200 -y 50 -c '/d##{pid}' -- 'env' '--' 'it'\''s;' '#{pid}' ; set-option -w -t '=crew-builder:' remain-on-exit on ; set-option -t '=crew-builder:' destroy-unattached off ; set-option -t '=crew-builder:' @watchkeeper '/s%2cx' ; set-option -p -t '=crew-builder:' @watchkeeper_unit 'builder'
"
        );
        assert!(new_session(&launch(), "/s", &["a\0b".to_owned()]).is_err());
        assert!(new_session(&launch(), "/s", &["x".repeat(SCRIPT_MAX)]).is_err());
    }

    #[test]
    fn every_act_on_a_pane_carries_its_guard() {
        assert_eq!(
            paste("%5", "/s", "wk-1").unwrap(),
            "if-shell -F -t %5 '#{&&:#{&&:#{&&:#{==:#{pane_id},%5},#{==:#{@watchkeeper},/s}},#{==:#{pane_dead},0}},\
             #{==:#{pane_in_mode},0}}' {\npaste-buffer -p -d -b 'wk-1' -t %5\n} {\ndisplay-message -p -t %5 \
             'watchkeeper-refused|#{pane_id}|#{pane_dead}|#{pane_in_mode}|#{@watchkeeper}'\n}\n"
        );
        let guarded = [
            keys("%5", "/s", &["Enter".to_owned()]),
            leave_mode("%5", "/s"),
            kill_session("%5", "/s"),
            respawn("%5", &launch(), "/s", &["x".to_owned()]),
        ];
        for script in guarded {
            let script = script.unwrap();
            assert!(script.starts_with("if-shell -F -t %5 '#{&&:"), "{script}");
        }
    }

    #[test]
    fn targets_that_tmux_would_guess_at_are_refused() {
        for pane in ["", "%", "5", "%5 ", "%5;kill-server", "crew-a"] {
            assert!(paste(pane, "/s", "b").is_err() && keys(pane, "/s", &["a".into()]).is_err(), "{pane:?}");
        }
        for session in ["", "a.b", "a:b", "$1", "=a", "-a", "{mouse}", "a\nb"] {
            let launch = Launch { session: session.to_owned(), ..launch() };
            assert!(new_session(&launch, "/s", &["x".to_owned()]).is_err(), "{session:?}");
        }
        for buffer in ["", "-d", "a b", "a'b"] {
            assert!(paste("%5", "/s", buffer).is_err(), "{buffer:?}");
        }
        assert!(keys("%5", "/s", &[]).is_err() && keys("%5", "/s", &[String::new()]).is_err());
    }

    #[test]
    fn a_refusal_says_what_was_found() {
        #[track_caller]
        fn check(line: &str, need: Need, want: &str) {
            let why = match refusal(&format!("watchkeeper-refused|{line}\n"), "%5", "/s", need).unwrap() {
                Refusal::Refused(why) => why,
                other => format!("{other:?}"),
            };
            assert_eq!(why, want);
        }
        check("|||", Need::Ours, "Gone");
        check("%7|0|0|/s", Need::Ours, "Gone");
        check("%5|1|0|/s", Need::Typable, "pane `%5` is dead");
        check("%5|0|1|/s", Need::Typable, "pane `%5` is in copy mode");
        check("%5|0|0|/s", Need::InMode, "NotInMode");
        check("%5|0|0|", Need::Typable, "pane `%5` is not ours");
        check("%5|1|0|/o", Need::Ours, "pane `%5` belongs to another fleet (`/o`)");
        check("%5|0|0|/o", Need::InMode, "pane `%5` belongs to another fleet (`/o`)");
        assert_eq!(refusal("", "%5", "/s", Need::Ours), None);
    }

    #[test]
    fn attach_switches_inside_the_same_server_only() {
        let check = |env, want: &str| assert_eq!(attach_argv("fleet", "crew-a", env, 42).join(" "), want);
        check(None, "tmux -u -L fleet attach-session -t =crew-a");
        check(Some("/tmp/tmux-0/fleet,42,0"), "tmux -u -L fleet switch-client -t =crew-a:");
        check(Some("/tmp/tmux-0/default,7,0"), "env -u TMUX tmux -u -L fleet attach-session -t =crew-a");
        assert_eq!(attach_argv("", "a", None, 0).join(" "), "tmux -u attach-session -t =a");
    }
}
