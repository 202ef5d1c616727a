//! The table of state files: path, who writes it, how long it lives. README's list and `doctor` are checked against it.

use crate::base::names::UnitName;
use crate::base::time::Wall;
use crate::model::action::MarkerKind;

/// Heartbeat of the watchdog.
pub const HEARTBEAT: &str = "heartbeat.json";
/// What a watchdog without tmux had to say of itself.
pub const WATCHDOG_LOG: &str = "watchdog.log";
/// Activity clocks of all units.
pub const CLOCKS: &str = "clocks.json";
/// Which phase of the plan is in force.
pub const PHASE: &str = "phase.json";
/// What was last seen of the branch that carries the work.
pub const GIT: &str = "git.json";
/// Requests from people, appended by commands.
pub const INBOX: &str = "inbox.jsonl";
/// Alerts to people, appended by the watchdog.
pub const OUTBOX: &str = "outbox.jsonl";
/// The outbox before, put aside when it was long.
pub const OUTBOX_OLD: &str = "outbox.1.jsonl";
/// Fleet memory: handled requests, owed alerts.
pub const MAIL: &str = "mail.json";
/// Token counts: cursors, sums, the open record.
pub const TOKENS: &str = "tokens.json";
/// The token ledger.
pub const TOKEN_LOG: &str = "token-log.jsonl";
/// For people: a line per unit.
pub const STATUS: &str = "status";
/// Who acts now.
pub const LOCK: &str = "lock";
/// The ledger of remedies.
pub const ATTEMPTS: &str = "attempts.tsv";
/// A line for each incident.
pub const INCIDENTS_INDEX: &str = "incidents/index.jsonl";
/// Marker: tick now.
pub const POKE: &str = "poke";
/// Marker: keep it down.
pub const DOWN: &str = MarkerKind::Down.file_name();
/// Marker: the last phase is done.
pub const SEQUENCE_COMPLETE: &str = MarkerKind::SequenceComplete.file_name();
/// Marker: no remedies.
pub const PAUSED: &str = MarkerKind::Paused.file_name();
/// Written by a unit: what to resume from.
pub const CHECKPOINT: &str = "checkpoint.json";
/// Of a process: what its healing agent is asked.
pub const REQUEST: &str = "recovery-request.md";
/// Of a process: what a healing agent answers.
pub const RESPONSE: &str = "recovery-response.md";
/// Of a process: the attempt whose request was written. Who takes the request away is not asked again.
pub const ASKED: &str = "recovery-asked";
/// Marker of a unit: it is asked to end itself and be started anew.
pub const RESTART: &str = MarkerKind::Restart.file_name();
/// Touched by a cooperative unit.
pub const UNIT_HEARTBEAT: &str = "heartbeat";
/// Written by a cooperative unit at its start.
pub const UNIT_VERSION: &str = "version";
/// Marker of a unit: a declared wait.
pub const WAITING_UNTIL: &str = "WAITING-UNTIL";

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct FileRow {
    /// Path below the state directory.
    pub path: &'static str,
    /// Who writes it.
    pub writer: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// Every file that may stand in a state directory.
pub const FILES: &[FileRow] = &[
    FileRow {
        path: LOCK,
        writer: "the acting process",
        about: "who acts now: pid, command, since (the flock is on the directory)",
    },
    FileRow { path: STATUS, writer: "watchdog", about: "for people: one line per unit" },
    FileRow { path: HEARTBEAT, writer: "watchdog", about: "pid, boot, tick number and time, last error" },
    FileRow {
        path: WATCHDOG_LOG,
        writer: "the watchdog",
        about: "errors of one that was started without tmux: those of the last start",
    },
    FileRow {
        path: CLOCKS,
        writer: "watchdog",
        about: "activity clocks of all units; losing it only delays a stall",
    },
    FileRow { path: MAIL, writer: "watchdog", about: "requests handled, fleet alerts owed, fleet memory" },
    FileRow {
        path: PHASE,
        writer: "watchdog, people",
        about: "the phase in force: index, id, since; an edit wins",
    },
    FileRow {
        path: GIT,
        writer: "watchdog",
        about: "the last head of the branch, inbox digests, pings owed, the last fetch",
    },
    FileRow { path: SEQUENCE_COMPLETE, writer: "watchdog", about: "marker: the last phase is done" },
    FileRow {
        path: "jobs/<id>/",
        writer: "the job",
        about: "slow work beside the tick: what was started, its output, how it ended",
    },
    FileRow {
        path: TOKENS,
        writer: "watchdog",
        about: "how far transcripts were read, tokens so far; losing it, they are read again",
    },
    FileRow {
        path: TOKEN_LOG,
        writer: "watchdog",
        about: "the token ledger: a line for each phase or gate that ended",
    },
    FileRow {
        path: ATTEMPTS,
        writer: "watchdog",
        about: "the ledger of remedies: what was tried against which failure, what became of it",
    },
    FileRow { path: INCIDENTS_INDEX, writer: "watchdog", about: "a line for each incident" },
    FileRow {
        path: "incidents/<id>/",
        writer: "watchdog",
        about: "one failure: report.md, the trace, sources, log, configs, what was done",
    },
    FileRow {
        path: "fixes/<attempt>/",
        writer: "the job",
        about: "the tree before a healing agent's edits, so that they can be taken back",
    },
    FileRow { path: INBOX, writer: "commands", about: "requests from people, one JSON line each" },
    FileRow { path: OUTBOX, writer: "watchdog", about: "alerts to people, one JSON line each" },
    FileRow { path: OUTBOX_OLD, writer: "watchdog", about: "the alerts before, put aside at 8 MiB" },
    FileRow { path: POKE, writer: "anybody", about: "marker: tick now" },
    FileRow { path: DOWN, writer: "people, `down`", about: "marker: keep the fleet down" },
    FileRow {
        path: PAUSED,
        writer: "people, `pause`",
        about: "marker: no remedies; first line = reason, optional `until TIME`",
    },
    FileRow {
        path: "events/<day>.jsonl",
        writer: "watchdog",
        about: "every transition, decision, hold and action with its reason",
    },
    FileRow {
        path: "units/<name>/recovery-request.md, recovery-response.md",
        writer: "watchdog; the agent",
        about: "processes: what an interactive healing agent is asked, and what it answers",
    },
    FileRow {
        path: "units/<name>/recovery-asked",
        writer: "watchdog",
        about: "the attempt whose request was written: who takes it away is not asked again",
    },
    FileRow {
        path: "units/<name>/unit.json",
        writer: "watchdog",
        about: "everything about the unit that must change together",
    },
    FileRow { path: "units/<name>/down", writer: "people, `down`", about: "marker: keep this unit down" },
    FileRow {
        path: "units/<name>/PAUSED",
        writer: "people, `pause`",
        about: "marker: no remedies for this unit",
    },
    FileRow {
        path: "units/<name>/WAITING-UNTIL",
        writer: "the unit",
        about: "declared wait: one RFC 3339 time",
    },
    FileRow {
        path: "units/<name>/checkpoint.json",
        writer: "the unit",
        about: "what to go on from after a crash: any JSON, at most 64 KiB",
    },
    FileRow {
        path: "units/<name>/RESTART",
        writer: "watchdog, people",
        about: "marker: this unit is asked to end itself (exit 42); time, writer, reason",
    },
    FileRow {
        path: "units/<name>/heartbeat",
        writer: "the unit",
        about: "touched by a cooperative unit while it works",
    },
    FileRow {
        path: "units/<name>/version",
        writer: "the unit",
        about: "the commit that a cooperative unit runs, written at its start",
    },
    FileRow {
        path: "units/<name>/screen.txt",
        writer: "watchdog",
        about: "the screen that the last decision was based on",
    },
    FileRow {
        path: "units/<name>/prompt.txt",
        writer: "watchdog",
        about: "the prompt that went with the last start",
    },
    FileRow {
        path: "units/<name>/launch.json",
        writer: "watchdog",
        about: "what was ordered of a process: run number, argv, environment",
    },
    FileRow {
        path: "units/<name>/child.json",
        writer: "the shim",
        about: "the process that a run became: pid, start, boot",
    },
    FileRow {
        path: "units/<name>/exit.json",
        writer: "the shim",
        about: "how a run ended; a Slurm job writes it on its node",
    },
    FileRow {
        path: "units/<name>/logs.json",
        writer: "watchdog, who fetches",
        about: "how far a container's output was fetched",
    },
    FileRow {
        path: "units/<name>/run.sh",
        writer: "watchdog",
        about: "the batch script that becomes the command of a Slurm job",
    },
    FileRow {
        path: "units/<name>/log.json",
        writer: "watchdog",
        about: "how much was taken from the front of out.log",
    },
    FileRow {
        path: "units/<name>/out.log",
        writer: "the process",
        about: "output of a process; `out.log.1` … are older parts, newest first",
    },
    FileRow {
        path: "quarantine/",
        writer: "watchdog",
        about: "state files that could not be read, untouched",
    },
];

/// The day's events.
pub fn events(at: Wall) -> String {
    format!("events/{}.jsonl", at.day())
}

/// `units/<name>/unit.json`
pub fn unit(name: &UnitName) -> String {
    format!("units/{name}/unit.json")
}

/// A file in a unit's folder.
pub fn in_unit(name: &UnitName, file: &str) -> String {
    format!("units/{name}/{file}")
}

/// A file in an incident's folder.
pub fn in_incident(id: &str, file: &str) -> String {
    format!("incidents/{id}/{file}")
}
/// The attempt that a request's front matter names.
pub fn attempt_of(request: &str) -> Option<&str> {
    front(request, "attempt: ")
}

/// The incident that a request's front matter names.
pub fn incident_of(request: &str) -> Option<&str> {
    front(request, "incident: ")
}

fn front<'a>(request: &'a str, key: &str) -> Option<&'a str> {
    request.lines().take(10).find_map(|line| line.strip_prefix(key)).map(str::trim)
}
