//! Which screens are captured again.

use super::mail::{INBOX_BYTES, outbox_has, requests};
use super::*;
use crate::base::time::{Awake, Wall};
use crate::config::{Cooperative, Source};
use crate::engine::unreadable::Unreadable;
use crate::model::action::{Action, Outcome};
use crate::model::seen::{HostSeen, Process, ScreenState, ServerId, TranscriptSeen};
use crate::sys::PaneList;
use crate::sys::files::RealFiles;
use std::path::Path;

/// One pane of one demo agent.
struct OnePane {
    now_ms: i64,
    output_at: Wall,
    screen: &'static str,
    captures: usize,
    dead: bool,
    stamp: &'static str,
    start: Option<u64>,
    server: ServerSeen,
}

impl OnePane {
    fn busy() -> OnePane {
        OnePane {
            now_ms: 20_200,
            output_at: Wall(20_000),
            screen: BUSY,
            captures: 0,
            dead: false,
            stamp: "here",
            start: Some(1),
            server: ServerSeen::Alive(ServerId { pid: 1, started: 1 }),
        }
    }
}

impl Host for OnePane {
    fn now(&mut self) -> Now {
        Now { wall: Wall(self.now_ms), awake_s: Awake(self.now_ms), boot: "b".into(), zone: "UTC".into() }
    }

    fn panes(&mut self) -> PaneList {
        let row = PaneRow {
            session: "crew-a".into(),
            pane: "%1".into(),
            pid: 7,
            dead: self.dead,
            exit: None,
            dead_at: None,
            command: "watchkeeper".into(),
            in_mode: false,
            attached: 0,
            typed_at: None,
            output_at: self.output_at,
            shape: "80x24".into(),
            stamp: self.stamp.into(),
            unit: "a".into(),
            phase: None,
            title: String::new(),
        };
        let rows = if matches!(self.server, ServerSeen::Alive(_)) { vec![row] } else { vec![] };
        PaneList { server: self.server.clone(), rows, buffers: vec![] }
    }

    fn capture(&mut self, panes: &[String]) -> BTreeMap<String, String> {
        self.captures += 1;
        panes.iter().map(|pane| (pane.clone(), self.screen.to_owned())).collect()
    }

    fn process_start(&mut self, _: i32) -> Option<u64> {
        self.start
    }

    fn process_tree(&mut self, _: i32) -> Vec<Process> {
        vec![]
    }

    fn tools_cpu_ms(&mut self, _: i32, _: &[String]) -> Option<u64> {
        None
    }

    fn vote(&mut self, _: &str, _: i32) -> Option<Vote> {
        None
    }

    fn transcript(&mut self, _: &str, _: &str, _: i32, _: &str) -> Option<TranscriptSeen> {
        None
    }

    fn tip(&mut self, _: &Path, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn branch(
        &mut self,
        _: &crate::sys::git::BranchQuery,
    ) -> Result<crate::model::seen::BranchFacts, String> {
        Err("there is none".into())
    }

    fn job(&mut self, _: &str) -> JobSeen {
        JobSeen::None
    }

    fn pressure(&mut self) -> HostSeen {
        HostSeen::default()
    }

    fn perform(&mut self, _: &Action) -> Outcome {
        Outcome::Done
    }
}

const BUSY: &str =
    "* Working… (3s · esc to interrupt)\n\n──────────\n> \n──────────\n  demo agent · esc to interrupt\n";
const IDLE: &str = "• done\n\n──────────\n> \n──────────\n  demo agent · ? for help\n";

/// The turn ends in the very second in which its screen was captured: tmux's time of the last output stays the same.
#[test]
fn a_screen_that_changes_within_its_second_is_looked_at_again() {
    let config = one_agent();
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let mut memory = Memory::default();
    let mut host = OnePane::busy();
    let mut look = |host: &mut OnePane| {
        let state = State::default();
        let seen = gather(host, &mut files, &config, &state, &mut memory, "here", Scope::All);
        match &seen.units.values().next().unwrap().pane {
            PaneSeen::Alive(pane) => pane.reading.state,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(look(&mut host), ScreenState::Busy);
    host.screen = IDLE; // at 20.9 s
    host.now_ms = 22_300;
    assert_eq!(look(&mut host), ScreenState::Idle);
    assert_eq!(host.captures, 2);
    host.now_ms = 52_300;
    assert_eq!(look(&mut host), ScreenState::Idle);
    assert_eq!(host.captures, 2, "a screen that stands still is captured no more");
}

/// Only the last ids are remembered: a long inbox was handled again from its start.
#[test]
fn what_is_handled_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let mut state = State::default();
    let line = |n: usize| {
        format!(
            "{{\"id\":\"r{n}\",\"at\":\"2026-11-21T10:00:00Z\",\"from\":\"x\",\"ask\":{{\"resume\":{{\"unit\":null}}}}}}"
        )
    };
    let read = |files: &mut RealFiles, state: &mut State| {
        let mut troubles = Vec::new();
        let (found, end) = requests(files, state, &noon(), &mut troubles);
        state.mail.inbox_done = end.unwrap();
        let ids: Vec<String> = found.into_iter().map(|request| request.id).collect();
        (ids, troubles.into_iter().map(|trouble| trouble.text).collect::<Vec<_>>())
    };
    assert_eq!(read(&mut files, &mut state), (vec![], vec![]));
    for n in 0..500 {
        files.append(table::INBOX, &line(n)).unwrap();
    }
    assert_eq!(read(&mut files, &mut state).0.len(), 500);
    assert_eq!(read(&mut files, &mut state), (vec![], vec![]));
    files.append(table::INBOX, "no request").unwrap();
    files.append(table::INBOX, &line(500)).unwrap();
    let (ids, troubles) = read(&mut files, &mut state);
    assert_eq!(ids, ["r500"]);
    assert!(troubles.len() == 1 && troubles[0].contains("inbox.jsonl:501: not a request"), "{troubles:?}");
    // Somebody put another file there.
    std::fs::write(dir.path().join(table::INBOX), format!("{}\n{}", line(700), line(701))).unwrap();
    assert_eq!(read(&mut files, &mut state).0, ["r700"]);
    std::fs::remove_file(dir.path().join(table::INBOX)).unwrap();
    assert_eq!(read(&mut files, &mut state).0.len(), 0);
    assert_eq!(state.mail.inbox_done, 0);
}

fn noon() -> Now {
    let wall = Wall::parse("2026-11-21T12:00:00Z").unwrap();
    Now { wall, awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() }
}

#[test]
fn of_an_inbox_that_is_too_long_the_young_requests_are_heard() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let line = |id: &str, at: &str| {
        format!(
            "{{\"id\":\"{id}\",\"at\":\"{at}\",\"from\":\"x\",\"ask\":{{\"resume\":{{\"unit\":null}}}}}}\n"
        )
    };
    let old = line("old", "2026-11-21T10:00:00Z");
    let mut text = old.repeat(usize::try_from(INBOX_BYTES).unwrap() / old.len() + 1);
    text.push_str(&line("young", "2026-11-21T11:59:00Z"));
    std::fs::write(dir.path().join(table::INBOX), text).unwrap();
    let mut troubles = Vec::new();
    let (found, end) = requests(&mut files, &State::default(), &noon(), &mut troubles);
    let ids: Vec<&str> = found.iter().map(|request| request.id.as_str()).collect();
    assert_eq!((ids, end, troubles.len()), (vec!["young"], None, 1));
}

fn one_agent() -> Config {
    let parsed = crate::config::parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text: "[[agent]]\nname = \"a\"\nbackend = \"demo\"\n",
        home: Path::new("/home/op"),
        env: &|_| None,
        read: &|_| Ok(String::new()),
        state_override: None,
    });
    parsed.config.unwrap()
}

/// What is seen of a pane that was moved out of our session, closed under a living process, or can't be looked at, and
/// what is told; each only as long as it is so.
#[test]
fn a_pane_that_cannot_be_judged_is_unknown_and_told_while_it_is_so() {
    let config = one_agent();
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let mut memory = Memory::default();
    let mut state = State::default();
    let mut known = crate::state::unit::UnitState::default();
    known.seen.pane = Some("%1".into());
    known.seen.process = Some(Process { pid: 7, start: 1 });
    let name = config.units.keys().next().unwrap().clone();
    let mut look = |host: &mut OnePane, known: Option<&crate::state::unit::UnitState>| {
        state.units = known.map(|known| (name.clone(), known.clone())).into_iter().collect();
        host.now_ms += 30_000;
        host.output_at = Wall(host.now_ms);
        let seen = gather(host, &mut files, &config, &state, &mut memory, "here", Scope::All);
        let unit = &seen.units[&name];
        let pane = match &unit.pane {
            PaneSeen::Unknown => "unknown",
            PaneSeen::Absent => "absent",
            PaneSeen::Dead { .. } => "dead",
            PaneSeen::Alive(_) => "alive",
        };
        let keys: Vec<String> = seen.troubles.into_iter().map(|trouble| trouble.key).collect();
        (pane, keys.join(" "), unit.unseen.is_some())
    };
    let is = |pane, keys: &str, unseen| (pane, keys.to_owned(), unseen);
    let moved = || OnePane { stamp: "", ..OnePane::busy() };
    let silent = ServerSeen::Unknown { why: "slow".into() };
    assert_eq!(look(&mut OnePane::busy(), Some(&known)), is("alive", "", false));
    assert_eq!(look(&mut moved(), Some(&known)), is("unknown", "moved a", false));
    assert_eq!(
        look(&mut OnePane { stamp: "/another/fleet", ..moved() }, Some(&known)),
        is("unknown", "moved a", false)
    );
    assert_eq!(
        look(&mut OnePane { server: silent, ..moved() }, Some(&known)),
        is("unknown", "moved a", false),
        "a tmux that does not answer takes nothing back"
    );
    assert_eq!(look(&mut OnePane { start: Some(2), ..moved() }, Some(&known)), is("absent", "", false));
    let gone = OnePane { dead: true, start: None, ..moved() };
    assert_eq!(look(&mut { gone }, Some(&known)), is("absent", "", false));
    assert_eq!(
        look(&mut OnePane { dead: true, ..moved() }, Some(&known)),
        is("unknown", "survives a", false),
        "its process lives without its session"
    );
    let mut ending = known.clone();
    ending.ending = Some(crate::state::unit::Ending {
        then: crate::state::unit::Then::Start,
        cause: crate::state::unit::EndCause::Ordered,
        why: String::new(),
        step: crate::state::unit::EndStep::Wanted,
        since_awake_s: Default::default(),
        process: known.seen.process,
        tier: None,
        symptom: None,
        force: crate::state::unit::Force::Term,
    });
    assert_eq!(
        look(&mut OnePane { dead: true, ..moved() }, Some(&ending)),
        is("absent", "", false),
        "an end under way looks after what is left"
    );
    assert_eq!(look(&mut moved(), None), is("absent", "", false), "anybody can write our mark");
    assert_eq!(
        look(&mut OnePane { dead: true, ..OnePane::busy() }, Some(&known)),
        is("unknown", "closed a", false)
    );
    assert_eq!(look(&mut OnePane { start: None, ..OnePane::busy() }, None), is("unknown", "", true));
    assert_eq!(look(&mut OnePane::busy(), Some(&known)), is("alive", "", false));
}

/// An operator may keep a unit's folder elsewhere.
#[test]
fn a_marker_in_a_folder_behind_a_link_is_seen_when_it_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    std::fs::create_dir_all(dir.path().join("units")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("units/a")).unwrap();
    let name = UnitName::new("a").unwrap();
    let mut memory = Memory::default();
    assert_eq!(unit_markers(&mut files, &name, &mut memory), Markers::default());
    assert_eq!(unit_markers(&mut files, &name, &mut memory), Markers::default());
    std::fs::write(elsewhere.path().join("down"), "deploy").unwrap();
    assert_eq!(unit_markers(&mut files, &name, &mut memory).down.as_deref(), Some("deploy"));
}

#[test]
fn an_alert_in_an_outbox_that_was_put_aside_is_owed_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let mut state = State::default();
    state.mail.owe(Wall(0), crate::state::mail::Level::Info, "x".into());
    let id = state.mail.owed[0].id.clone();
    assert_eq!(outbox_has(&mut files, &state), Some(Vec::new()));
    files.append(table::OUTBOX, &serde_json::to_string(&state.mail.owed[0]).unwrap()).unwrap();
    files.rotate(table::OUTBOX, table::OUTBOX_OLD, 0).unwrap();
    assert_eq!(outbox_has(&mut files, &state), Some(vec![id.clone()]));
    files.append(table::OUTBOX, "{}").unwrap();
    assert_eq!(outbox_has(&mut files, &state), Some(vec![id]));
}

/// What a link or a directory hides was not seen: nobody is judged by it, and it is told.
#[test]
fn a_heartbeat_that_is_no_plain_file_is_not_seen_and_told() {
    #[track_caller]
    fn check(make: fn(&Path), want: Option<bool>, told: usize) {
        let dir = tempfile::tempdir().unwrap();
        let unit_dir = dir.path().join("units/s");
        std::fs::create_dir_all(&unit_dir).unwrap();
        make(&unit_dir.join("heartbeat"));
        let mut config = one_agent();
        let mut unit = config.units.remove("a").unwrap();
        let cooperative = Cooperative { heartbeat_stale_s: 90.0, version: false };
        (unit.name, unit.cooperative) = (UnitName::new("s").unwrap(), Some(cooperative));
        let mut files = RealFiles::new(dir.path());
        let cooperation = cooperation::look(&mut OnePane::busy(), &mut files, &unit);
        let heartbeat = cooperation.as_ref().unwrap().heartbeat.as_ref();
        assert_eq!(heartbeat.map(|stamp| !stamp.is_empty()), want);
        let units = [(UnitName::new("s").unwrap(), Seen { cooperation, ..Seen::default() })].into();
        let troubles = cooperation::troubles(&mut files, &units);
        assert_eq!(troubles.len(), told, "{troubles:?}");
    }
    check(|_| {}, Some(false), 0);
    check(|path| std::fs::write(path, "").unwrap(), Some(true), 0);
    check(|path| std::os::unix::fs::symlink("/dev/null", path).unwrap(), None, 1);
    check(|path| std::fs::create_dir(path).unwrap(), None, 1);
    check_unreadable();
}

/// No heartbeat is a verdict; one that can't be looked at is none.
#[track_caller]
fn check_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("units/a")).unwrap();
    let mut unit = one_agent().units.remove("a").unwrap();
    unit.cooperative = Some(Cooperative { heartbeat_stale_s: 90.0, version: false });
    let mut files = RealFiles::new(dir.path());
    let mut blind = Unreadable { files: &mut files, path: "units/a/heartbeat" };
    assert_eq!(cooperation::look(&mut OnePane::busy(), &mut blind, &unit).unwrap().heartbeat, None);
}

/// A failed read is unknown: what is owed is not written a second time, and a unit of which nobody can say whether it is
/// to be down is left alone.
#[test]
fn what_cannot_be_read_is_not_taken_for_absent() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let name = UnitName::new("a").unwrap();
    let mut state = State::default();
    state.mail.owe(Wall(0), crate::state::mail::Level::Info, "x".into());
    for path in [table::OUTBOX, table::OUTBOX_OLD] {
        let mut blind = Unreadable { files: &mut files, path };
        assert_eq!(outbox_has(&mut blind, &state), None, "{path}");
    }
    let now = Now { wall: Wall(0), awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() };
    let mut troubles = Vec::new();
    let mut blind = Unreadable { files: &mut files, path: table::INBOX };
    assert_eq!(requests(&mut blind, &state, &now, &mut troubles), (Vec::new(), None));
    assert_eq!(troubles.len(), 1);
    for file in [table::DOWN, table::PAUSED, table::WAITING_UNTIL, table::RESTART] {
        let mut blind = Unreadable { files: &mut files, path: &table::in_unit(&name, file) };
        let seen = markers(&mut blind, Some(&name));
        let reason = seen.paused.map(|paused| paused.reason).unwrap_or_default();
        assert!(reason.contains("can't be read"), "{file}: {reason}");
        assert_eq!((seen.down, seen.restart), (None, None), "{file}");
        let mut memory = Memory::default();
        assert!(
            unit_markers(&mut blind, &name, &mut memory).paused.is_some() && memory.no_markers.is_empty()
        );
    }
    assert_eq!(markers(&mut files, Some(&name)), Markers::default());
}

/// While the outbox can't be read, only an alert of this very tick is known to be missing in it.
#[test]
fn an_alert_is_not_written_twice_while_the_outbox_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::create(dir.path()).unwrap();
    let mut before = State::default();
    before.mail.owe(Wall(0), crate::state::mail::Level::Info, "old".into());
    let mut state = before.clone();
    state.mail.owe(Wall(9000), crate::state::mail::Level::Info, "new".into());
    let now = Now { wall: Wall(0), awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() };
    let mut check = |outbox_has: Option<Vec<String>>, want: &[&str]| {
        let seen = Observation { outbox_has, ..Observation::empty(now.clone()) };
        let config = one_agent();
        let mut masks = crate::engine::report::Masks::new(&config, &state);
        crate::engine::report::outbox(&mut files, &before, &state, &seen, |_| true, &mut masks);
        let text = String::from_utf8(files.tail(table::OUTBOX, 1 << 20).unwrap()).unwrap();
        let texts: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<crate::state::mail::Owed>(line).unwrap().text)
            .collect();
        assert_eq!(texts, want);
        std::fs::remove_file(dir.path().join(table::OUTBOX)).unwrap();
    };
    check(None, &["new"]);
    check(Some(Vec::new()), &["old", "new"]);
}
