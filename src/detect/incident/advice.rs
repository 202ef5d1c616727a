//! What a person should do now, in a few lines: by what was found and by what was done about it.

use super::{Material, inline};
use crate::model::finding::FindingKind;
use crate::model::incident::{IncidentOrder, Remedy, Source};

/// Lines of a list below the first one, which says what to do about what was done.
pub fn lines(material: &Material<'_>) -> Vec<String> {
    let order = material.order;
    let mut lines = Vec::new();
    lines.extend(by_finding(material));
    let unit = &order.unit;
    lines.push(format!(
        "More: `watchkeeper why {unit}`, `watchkeeper log {unit}`, `watchkeeper incidents show {}`",
        order.id
    ));
    lines
}

/// The first line: what the remedy asks of a person.
pub fn by_remedy(unit: &str, id: &str, remedy: &Remedy, over: bool) -> String {
    match remedy.action.as_str() {
        "restart" | "restart-with-env" => format!(
            "Nothing, if the restart holds: `watchkeeper status` says how `{unit}` is. The attempt is *kept* when this failure \
             stays away, else *regressed*, and the next one goes further"
        ),
        "pause" => format!(
            "**It stands still and waits for you.** Mend the cause, then `watchkeeper restart {unit}`"
        ),
        "abort" => format!(
            "**It is over, and is not started again.** Mend the cause, then `watchkeeper restart {unit}`"
        ),
        "command" => format!("See what the command came to: `watchkeeper events {unit}`"),
        "agent" => format!(
            "Wait for the healing agent: its answer comes to `fix/response.md`, its edits to branch \
             `watchkeeper/fix-{id}`"
        ),
        "" if over => {
            "Nothing was decided yet when this page was written: what was done since is listed above"
                .to_owned()
        }
        "" => "Nothing yet: it still runs, and nothing was done. Judge whether it may go on".to_owned(),
        _ if over => format!(
            "**Nothing was done, and it does not run.** Mend the cause, then `watchkeeper restart {unit}`"
        ),
        _ => match remedy.source {
            Source::Default => {
                "Nothing was done: no rule asks for anything, and it still runs. Judge whether it should"
                    .to_owned()
            }
            Source::Rule { .. } | Source::Agent | Source::Person => {
                "Nothing was done, on purpose. Judge whether it may go on".to_owned()
            }
        },
    }
}

/// The first line when an attempt was kept.
pub fn kept(branch: &str, why: &str) -> String {
    match branch {
        "" => format!("Nothing: what was done has held ({why})"),
        branch => format!(
            "Nothing is urgent: the healing agent's edits have held ({why}). They stand in the tree, uncommitted, and on a branch: \
             `git diff HEAD...{branch}` shows them. Commit them, or put the files back; then `git branch -D {branch}`"
        ),
    }
}

/// The first line when it was started as often as was allowed.
pub fn spent(unit: &str, why: &str, over: bool) -> String {
    match over {
        true => format!(
            "**It does not run, and is not started again: {why}.** Mend the cause, then `watchkeeper approve {unit}`, which \
             starts it with a fresh budget"
        ),
        false => format!(
            "**It still runs, and is not ended for another restart: {why}.** Judge whether it may go on; `watchkeeper approve \
             {unit}` gives it new restarts"
        ),
    }
}

/// The first line when nobody knew what to do.
pub fn helpless(unit: &str, why: &str, over: bool) -> String {
    match over {
        true => format!(
            "**It stands still and waits for you: {why}.** Mend the cause, then `watchkeeper restart {unit}`; or `watchkeeper \
             approve {unit}`, which lets it go on as it is"
        ),
        false => format!("**Nothing was done about it: {why}.** It still runs: judge whether it may go on"),
    }
}

fn by_finding(material: &Material<'_>) -> Option<String> {
    let finding = &material.order.finding;
    match finding.kind {
        FindingKind::Traceback => {
            let hot = material.frames.iter().find(|frame| frame.hot)?;
            Some(format!("Look first at {}", hot.place()))
        }
        FindingKind::Exit if material.excerpt.lines.is_empty() => Some(format!(
            "It wrote nothing: run it by hand, in `{}`: `{}`",
            inline(&material.order.place.dir, 300),
            inline(&super::report::command(&material.order.place.command), 400)
        )),
        FindingKind::Exit => exit(finding.exit?),
        FindingKind::Stall => Some(
            "Find out what it waits for: the last lines of its output are below; a debugger (`py-spy dump`, `gdb -p`, \
             `jstack`) says more while it runs"
                .to_owned(),
        ),
        FindingKind::Metric => Some(
            "Compare the values with the settings below; a jump right after a restart or a checkpoint may be an old one"
                .to_owned(),
        ),
        FindingKind::Pattern => {
            let message = finding.message.to_ascii_lowercase();
            let memory = ["out of memory", "oom", "cannot allocate"].iter().any(|word| message.contains(word));
            let disk = message.contains("no space left");
            match (memory, disk) {
                (true, _) => Some("It wants more memory than there is: smaller batches, or fewer neighbours on the device".to_owned()),
                (false, true) => Some("A disk is full: `df -h`".to_owned()),
                (false, false) => None,
            }
        }
    }
}

/// What exit codes mean. Source: bash(1), "Exit status"; signal(7).
fn exit(code: i32) -> Option<String> {
    Some(match code {
        126 => "126: the command was found, but could not be run (rights? format?)".to_owned(),
        127 => "127: the command was not found: is it installed, is PATH right?".to_owned(),
        134 => {
            "134: it aborted (SIGABRT): an assertion, or a broken heap; its last lines say which".to_owned()
        }
        137 => {
            "137: killed by SIGKILL: the kernel when memory was short (`dmesg | grep -i oom`), or somebody"
                .to_owned()
        }
        139 => "139: it crashed (SIGSEGV) in native code: a core dump or its last lines say where".to_owned(),
        143 => "143: ended by SIGTERM: somebody, a scheduler or a shutdown asked it to".to_owned(),
        code if code > 128 && code < 193 => format!("{code}: ended by signal {}", code - 128),
        _ => return None,
    })
}

/// The remedy in words: `restart-with-env BATCH_SIZE=4`.
pub fn remedy(order: &IncidentOrder) -> String {
    let remedy = &order.remedy;
    let mut words =
        if remedy.action.is_empty() { "nothing yet".to_owned() } else { inline(&remedy.action, 60) };
    for (key, value) in &remedy.set {
        words.push_str(&format!(" {}", inline(&format!("{key}={value}"), 120)));
    }
    if !remedy.argv.is_empty() {
        words.push_str(&format!(" {}", inline(&remedy.argv.join(" "), 200)));
    }
    words
}
