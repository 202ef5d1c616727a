//! Real transcripts that grow, are cut, copied, moved and shared, read tick by tick, each tick by a new process.

use super::*;
use crate::base::time::Awake;
use crate::config::Source;
use crate::engine::unreadable::Unreadable;
use crate::model::action::{Action, Outcome};
use crate::model::seen::{HostSeen, Observation, Process, TranscriptSeen, Vote};
use crate::model::usage::Totals;
use crate::policy::tokens::{Position, fold};
use crate::sys::files::RealFiles;
use crate::sys::{PaneList, transcript_files};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const CWD: &str = "/home/crew/fleet/a/proj";

/// Files are real; nothing else is there.
#[derive(Default)]
struct Disk {
    began: BTreeMap<i32, Wall>,
    reads: usize,
    lists: usize,
    change: Option<fn(&mut FileSeen)>,
}

impl Host for Disk {
    fn now(&mut self) -> Now {
        unreachable!()
    }
    fn panes(&mut self) -> PaneList {
        unreachable!()
    }
    fn capture(&mut self, _: &[String]) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn process_start(&mut self, _: i32) -> Option<u64> {
        None
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
    fn transcript_folders(&mut self, place: &Place<'_>) -> Folders {
        transcript_files::folders(place)
    }
    fn transcript_files(&mut self, dir: &str, wanted: &dyn Fn(&str) -> bool) -> (Vec<FileSeen>, bool) {
        self.lists += 1;
        let (mut files, cut) = transcript_files::list(dir, wanted);
        if let Some(change) = self.change {
            files.iter_mut().for_each(change);
        }
        (files, cut)
    }
    fn transcript_bytes(&mut self, file: &FileSeen, offset: u64, max: usize) -> Option<Vec<u8>> {
        self.reads += 1;
        transcript_files::read(file, offset, max)
    }
    fn process_began(&mut self, pid: i32) -> Option<Wall> {
        self.began.get(&pid).copied()
    }
    fn tip(&mut self, _: &std::path::Path, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn branch(
        &mut self,
        _: &crate::sys::git::BranchQuery,
    ) -> Result<crate::model::seen::BranchFacts, String> {
        Err("there is none".into())
    }

    fn job(&mut self, _: &str) -> crate::model::seen::JobSeen {
        crate::model::seen::JobSeen::None
    }

    fn pressure(&mut self) -> HostSeen {
        HostSeen::default()
    }
    fn perform(&mut self, _: &Action) -> Outcome {
        Outcome::Done
    }
}

/// A fleet of agents and what is known of their tokens.
struct World {
    dir: tempfile::TempDir,
    config: Config,
    state: State,
    host: Disk,
    files: RealFiles,
    units: BTreeMap<UnitName, Seen>,
    memory: UsageMemory,
    last: UsageSeen,
}

impl World {
    /// Agents `a`, `b`, … of a backend, all in one directory; everything that was ever said counts.
    fn new(backend: &str, agents: &[&str]) -> World {
        let agent = |name: &&str| {
            format!(
                "[[agent]]\nname = \"{name}\"\nbackend = \"{backend}\"\ndir = \"{CWD}\"\nenv = {{ HOME = \"$HOME\" }}\n"
            )
        };
        World::of(&agents.iter().map(agent).collect::<String>())
    }

    /// The same of this agents.toml; `$HOME` in it is the home directory.
    fn of(text: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let text = text.replace("$HOME", dir.path().join("home").to_str().unwrap());
        let parsed = crate::config::parse(&Source {
            path: Path::new("/fleet/agents.toml"),
            text: &text,
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        let config = parsed.config.unwrap();
        let mut state = State::default();
        for name in config.units.keys() {
            let agent = AgentTokens { since: Wall(1), ..AgentTokens::default() };
            state.tokens.agents.insert(name.clone(), agent.into());
        }
        let files = RealFiles::create(dir.path().join("state")).unwrap();
        let (host, units) = (Disk::default(), BTreeMap::new());
        World {
            dir,
            config,
            state,
            host,
            files,
            units,
            memory: UsageMemory::default(),
            last: UsageSeen::default(),
        }
    }

    /// A path below the home directory, its folder made.
    fn path(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join("home").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The agent's process lives.
    fn runs(&mut self, agent: &str, pid: i32, since: &str) {
        let pane = crate::model::seen::AlivePane {
            pane: format!("%{pid}"),
            pid,
            pid_start: 1,
            command: "claude".into(),
            title: String::new(),
            phase: None,
            in_mode: false,
            attached: 0,
            typed_at: None,
            output_at: Wall(0),
            text: "".into(),
            reading: crate::model::seen::Reading::default(),
        };
        let seen = Seen { pane: PaneSeen::Alive(Box::new(pane)), ..Seen::default() };
        self.units.insert(UnitName::new(agent).unwrap(), seen);
        self.host.began.insert(pid, Wall::parse(since).unwrap());
    }

    /// One tick of a new process that sees files otherwise.
    fn tick_with(&mut self, change: fn(&mut FileSeen)) {
        self.host.change = Some(change);
        self.tick();
    }

    /// One tick of a new process, on 2026-12-01.
    fn tick(&mut self) {
        self.memory = UsageMemory::default();
        self.due();
        self.tick_on();
    }

    /// The agents did something since the last tick.
    fn due(&mut self) {
        for (number, name) in (1000..).zip(self.config.units.keys()) {
            self.state.units.entry(name.clone()).or_default().seen.process =
                Some(Process { pid: number, start: 1 });
        }
    }

    /// One tick of the same process.
    fn tick_on(&mut self) {
        let wall = Wall::parse("2026-12-01T00:00:00Z").unwrap();
        let now = Now { wall, awake_s: Awake(1_000_000), boot: "b".into(), zone: "UTC".into() };
        let World { host, files, config, state, units, memory, .. } = self;
        let usage = look(host, files, config, state, &now, units, memory);
        self.last = usage.clone();
        let seen = Observation { usage, ..Observation::empty(now) };
        fold(&self.config, &seen, &Position::default(), &mut self.state.tokens);
        // What is kept is what a later process reads.
        let text = serde_json::to_string(&self.state.tokens).unwrap();
        self.state.tokens = serde_json::from_str(&text).unwrap();
    }

    fn used(&self, agent: &str) -> Totals {
        self.state.tokens.agents[agent].used
    }
}

/// Format, where a file of it belongs, the fixture, what it comes to.
fn fixtures() -> Vec<(Format, String, Vec<u8>, Totals)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts");
    let mut found = Vec::new();
    for format in Format::ALL {
        let dir = root.join(format.name());
        for entry in std::fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".jsonl") {
                continue;
            }
            let bytes = std::fs::read(dir.join(&name)).unwrap();
            let place = match format {
                Format::Claude => format!(".claude/projects/-home-crew-fleet-a-proj/{name}"),
                Format::Codex => format!(".codex/sessions/2026/11/21/{name}"),
                Format::Gemini => format!(".gemini/tmp/proj/chats/{name}"),
                Format::Qwen => format!(".qwen/projects/-home-crew-fleet-a-proj/chats/{name}"),
                Format::Demo => format!(".demo-agent/-home-crew-fleet-a-proj/{name}"),
            };
            let totals = transcript::totals(format, bytes.split_inclusive(|b| *b == b'\n'));
            found.push((format, place, bytes, totals));
        }
    }
    assert!(found.len() >= 9);
    found
}

#[test]
fn a_file_that_grows_in_chunks_comes_to_the_same_as_the_whole() {
    let mut random = 7_u64;
    for (format, place, bytes, want) in fixtures() {
        let mut world = World::new(format.name(), &["a"]);
        let path = world.path(&place);
        let mut written = 0;
        let mut before = 0;
        while written < bytes.len() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let step = 1 + usize::try_from(random >> 33).unwrap() % (bytes.len() / 12);
            written = (written + step).min(bytes.len());
            std::fs::write(&path, &bytes[..written]).unwrap();
            if random.is_multiple_of(3) {
                world.tick();
            } else {
                world.tick_on();
            }
            let now = world.used("a").total;
            assert!(now >= before && now <= want.total, "{place} at {written}");
            before = now;
        }
        world.tick();
        assert_eq!(world.used("a"), want, "{place}");
        let reads = world.host.reads;
        world.tick();
        assert!(world.last.agents.is_empty(), "{:?}", world.last);
        assert_eq!(world.host.reads, reads, "nothing is read when nothing changed");
        let lists = world.host.lists;
        world.state.units.clear();
        world.tick_on();
        assert_eq!(world.host.lists, lists, "nothing is looked at when nobody did anything");
    }
}

#[test]
fn copies_moves_and_cuts_count_once() {
    for (format, place, bytes, want) in fixtures() {
        let mut world = World::new(format.name(), &["a"]);
        let path = world.path(&place);
        std::fs::write(&path, &bytes).unwrap();
        world.tick();
        assert_eq!(world.used("a"), want, "{place}");
        // The session goes on in a file that begins with a copy.
        let copy =
            path.with_file_name(path.file_name().unwrap().to_str().unwrap().replace(".jsonl", "9.jsonl"));
        std::fs::write(&copy, &bytes).unwrap();
        world.tick();
        assert_eq!(world.used("a"), want, "{place}: copied");
        let moved =
            copy.with_file_name(copy.file_name().unwrap().to_str().unwrap().replace("9.jsonl", "8.jsonl"));
        std::fs::rename(&copy, &moved).unwrap();
        world.tick();
        assert_eq!(world.used("a"), want, "{place}: moved");
        let cursors = &world.state.tokens.agents["a"].files;
        assert!(cursors.iter().any(|cursor| Path::new(&cursor.path) == moved), "{cursors:?}");
        // Cut in the middle of a line, then written on as before.
        for cut in [bytes.len() / 2, 10, 0] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            world.tick();
            assert_eq!(world.used("a"), want, "{place}: cut at {cut}");
            std::fs::write(&path, &bytes).unwrap();
            world.tick();
            assert_eq!(world.used("a"), want, "{place}: whole again after {cut}");
        }
    }
}

fn claude(session: &str, id: &str, output: u64) -> String {
    let record = json!({"type": "assistant", "sessionId": session, "cwd": CWD, "timestamp": "2026-11-30T00:00:00Z",
        "message": {"id": id, "model": "m", "usage": {"output_tokens": output}}});
    format!("{record}\n")
}

const PROJECT: &str = ".claude/projects/-home-crew-fleet-a-proj";

#[test]
fn a_resumed_session_adds_what_is_new() {
    let mut world = World::new("claude", &["a"]);
    let old = claude("s1", "m1", 10) + &claude("s1", "m2", 20);
    std::fs::write(world.path(&format!("{PROJECT}/s1.jsonl")), &old).unwrap();
    world.tick();
    let copy = old.replace("s1", "s2") + &claude("s2", "m3", 5);
    std::fs::write(world.path(&format!("{PROJECT}/s2.jsonl")), copy).unwrap();
    world.tick();
    assert_eq!((world.used("a").output, world.used("a").messages), (35, 3));
}

#[test]
fn a_copy_of_another_agents_session_adds_only_what_is_new() {
    let mut world = World::new("claude", &["a", "b"]);
    let old = claude("s1", "m1", 10) + &claude("s1", "m2", 20);
    std::fs::write(world.path(&format!("{PROJECT}/s1.jsonl")), &old).unwrap();
    world.tick();
    assert_eq!((world.used("a").output, world.used("b").output), (30, 0));
    // `b` runs, and is the last that started: the session is taken for its own.
    world.runs("a", 1, "2026-11-01T00:00:00Z");
    world.runs("b", 2, "2026-11-02T00:00:00Z");
    let copy = old.replace("s1", "s2") + &claude("s2", "m3", 5);
    std::fs::write(world.path(&format!("{PROJECT}/s2.jsonl")), &copy).unwrap();
    world.tick_with(|file| file.born = Wall::parse("2026-12-01T00:00:00Z"));
    assert_eq!((world.used("a").output, world.used("b").output), (30, 5));
}

#[test]
fn agents_with_homes_of_their_own_are_told_apart_in_one_directory() {
    let agent = |name: &str| {
        format!(
            "[[agent]]\nname = \"{name}\"\nbackend = \"claude\"\ndir = \"{CWD}\"\n\
             env = {{ HOME = \"$HOME\", CLAUDE_CONFIG_DIR = \"$HOME/{name}\" }}\n"
        )
    };
    let mut world = World::of(&(agent("a") + &agent("b")));
    world.runs("a", 1, "2026-11-01T00:00:00Z");
    world.runs("b", 2, "2026-11-02T00:00:00Z");
    let project = |home: &str| PROJECT.replace(".claude", home);
    std::fs::write(world.path(&format!("{}/s1.jsonl", project("a"))), claude("s1", "m1", 10)).unwrap();
    std::fs::write(world.path(&format!("{}/s2.jsonl", project("b"))), claude("s2", "m2", 5)).unwrap();
    world.tick();
    assert_eq!((world.used("a").output, world.used("b").output), (10, 5));
}

/// What a demo agent writes in one run of some turns.
fn demo(session: &str, turns: u64) -> String {
    let start =
        json!({"type": "start", "at": "2026-11-30T00:00:00Z", "session": session, "cwd": CWD, "id": 1});
    let turn = |n: u64| json!({"type": "usage", "at": "2026-11-30T00:00:01Z", "input": 10, "output": n, "id": n + 1});
    (1..=turns).fold(format!("{start}\n"), |text, n| text + &format!("{}\n", turn(n)))
}

/// The home of demo agents is what their processes get, also while none lives: the unit's, else the backend's.
#[test]
fn a_demo_agents_home_is_of_its_unit_or_its_backend() {
    let agent = |name: &str, env: &str| {
        format!("[[agent]]\nname = \"{name}\"\nbackend = \"demo\"\ndir = \"{CWD}\"\nenv = {{ {env} }}\n")
    };
    let backend = "[backend.demo]\nenv = { DEMO_HOME = \"$HOME/x\" }\n";
    let own = agent("b", "DEMO_HOME = \"$HOME/y\"");
    let mut world = World::of(&[backend.to_owned(), agent("a", ""), own].concat());
    let project = |home: &str| PROJECT.replace(".claude/projects", home);
    std::fs::write(world.path(&format!("{}/1-1.jsonl", project("x"))), demo("1-1", 3)).unwrap();
    // The same place in a file of another session is another turn; a copy is not.
    std::fs::write(world.path(&format!("{}/2-2.jsonl", project("x"))), demo("2-2", 1)).unwrap();
    std::fs::write(world.path(&format!("{}/copy.jsonl", project("x"))), demo("1-1", 3)).unwrap();
    world.runs("b", 2, "2026-11-02T00:00:00Z");
    std::fs::write(world.path(&format!("{}/3-3.jsonl", project("y"))), demo("3-3", 2)).unwrap();
    world.tick();
    let want = |output, messages| Totals {
        input: 10 * messages,
        output,
        total: 10 * messages + output,
        messages,
        ..Totals::default()
    };
    assert_eq!((world.used("a"), world.used("b")), (want(7, 4), want(3, 2)));
}

#[test]
fn sub_agents_count_as_the_agent_that_owns_their_session() {
    let mut world = World::new("claude", &["a", "b"]);
    std::fs::write(world.path(&format!("{PROJECT}/s1.jsonl")), claude("s1", "m1", 10)).unwrap();
    let other = claude("elsewhere", "m9", 99).replace(CWD, "/other");
    std::fs::write(world.path(&format!("{PROJECT}/other.jsonl")), other).unwrap();
    world.tick();
    world.tick();
    // Without living processes the first agent has it; in no case have both.
    assert_eq!((world.used("a").output, world.used("b").output), (10, 0));
    let child = claude("s1", "m2", 20).replace(CWD, "/a/worktree");
    std::fs::write(world.path(&format!("{PROJECT}/s1/subagents/agent-1.jsonl")), child).unwrap();
    world.tick();
    assert_eq!((world.used("a").output, world.used("b").output), (30, 0));
}

#[test]
fn codex_sessions_of_other_directories_are_nobodys() {
    let mut world = World::new("codex", &["a"]);
    let meta = json!({"type": "session_meta", "timestamp": "2026-11-30T00:00:00Z", "payload": {"id": "t", "cwd": "/other"}});
    let used = json!({"type": "token_usage_record", "timestamp": "2026-11-30T00:00:01Z", "payload": {"thread_id": "t",
        "response_id": "r", "usage": {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}}});
    let text = format!("{meta}\n{used}\n");
    std::fs::write(world.path(".codex/sessions/2026/11/30/rollout-x.jsonl"), &text).unwrap();
    world.tick();
    assert_eq!(world.used("a"), Totals::default());
    std::fs::write(world.path(".codex/sessions/2026/11/30/rollout-y.jsonl"), text.replace("/other", CWD))
        .unwrap();
    world.tick();
    assert_eq!(world.used("a").total, 6);
}

#[test]
fn a_document_is_read_anew_and_counts_once() {
    let mut world = World::new("gemini", &["a"]);
    let project = crate::detect::transcript::owner::project_of(CWD);
    let message = |id: &str| json!({"id": id, "type": "gemini", "timestamp": "2026-11-30T00:00:00Z", "tokens": {"input": 10, "output": 1}});
    let document = |messages: Vec<Value>| {
        let document = json!({"sessionId": "s", "projectHash": project, "startTime": "2026-11-30T00:00:00Z", "messages": messages});
        serde_json::to_string_pretty(&document).unwrap()
    };
    let path = world.path(".gemini/tmp/abc/chats/session-1.json");
    for n in 1..4 {
        let messages = (0..n).map(|i| message(&format!("m{i}"))).collect();
        std::fs::write(&path, document(messages)).unwrap();
        world.tick();
        assert_eq!(world.used("a").total, 11 * n);
    }
    std::fs::write(&path, "{\"torn").unwrap();
    world.tick();
    assert_eq!(world.used("a").total, 33);
}

#[test]
fn long_lines_and_long_files_are_read_in_bounded_steps() {
    let mut world = World::new("claude", &["a"]);
    let path = world.path(&format!("{PROJECT}/s1.jsonl"));
    let mut text = claude("s1", "first", 1);
    text += &format!("{{\"type\":\"user\",\"x\":\"{}\"}}\n", "x".repeat(3 * LINE_MAX));
    text += &claude("s1", "second", 1);
    let pad = "y".repeat(100 << 10);
    for n in 0..50 {
        text +=
            &claude("s1", &format!("m{n}"), 1).replace("\"type\"", &format!("\"pad\":\"{pad}\",\"type\""));
    }
    std::fs::write(&path, &text).unwrap();
    let mut ticks = 0;
    loop {
        world.tick();
        ticks += 1;
        let read: u64 = world.state.tokens.agents["a"].files[0].offset;
        assert!(read <= ticks * TICK_BYTES as u64, "{read} bytes in {ticks} ticks");
        if !world.last.agents.get("a").is_some_and(|usage| usage.pending) {
            break;
        }
    }
    assert!(ticks >= 2, "{ticks}");
    assert_eq!(world.used("a").messages, 52);
}

#[test]
fn what_was_before_the_fleet_is_not_counted_and_the_ledger_is_not_repeated() {
    let mut world = World::new("claude", &["a"]);
    let path = world.path(&format!("{PROJECT}/s1.jsonl"));
    let text = claude("s1", "m1", 1) + &claude("s1", "m2", 2).replace("11-30T00", "11-30T18");
    std::fs::write(&path, text).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000)).unwrap();
    // Nothing is remembered, but the ledger ends between the two.
    world.state.tokens.agents.clear();
    let ended = Wall::parse("2026-11-30T12:00:00Z").unwrap();
    let record = serde_json::to_string(&Record { ended, ..Record::default() }).unwrap();
    world.files.append(table::TOKEN_LOG, &record).unwrap();
    world.runs("a", 7, "2026-11-01T00:00:00Z");
    world.tick();
    assert_eq!(world.last.ledger_end, Some(ended));
    assert_eq!((world.state.tokens.agents["a"].since, world.used("a").output), (ended, 2));
}

/// Without memory, where counting goes on stands in the ledger; what is owed to it may be there.
#[test]
fn a_ledger_that_cannot_be_read_is_not_an_empty_one() {
    let mut world = World::new("claude", &["a"]);
    world.state.tokens.agents.clear();
    world.runs("a", 7, "2026-11-01T00:00:00Z");
    let wall = Wall::parse("2026-12-01T00:00:00Z").unwrap();
    let now = Now { wall, awake_s: Awake(1_000_000), boot: "b".into(), zone: "UTC".into() };
    let World { host, files, config, state, units, memory, .. } = &mut world;
    let mut blind = Unreadable { files, path: table::TOKEN_LOG };
    let usage = look(host, &mut blind, config, state, &now, units, memory);
    assert!(usage.ledger_unread && usage.agents.is_empty(), "{usage:?}");
    let seen = Observation { usage, ..Observation::empty(now) };
    let position = Position { phase: Some("1".into()), label: None };
    fold(config, &seen, &position, &mut state.tokens);
    assert_eq!(state.tokens, Default::default(), "nothing begins before it was read");
    state.tokens.owed.push(Record { ended: wall, ..Record::default() });
    assert!(crate::engine::report::ledger(files, state, &seen.usage).is_some());
    assert_eq!(files.tail(table::TOKEN_LOG, 100).unwrap(), b"", "it may have it");
}

#[test]
fn agents_that_cannot_be_counted_say_so_once() {
    let mut world = World::new("opencode", &["a"]);
    world.tick();
    assert!(world.state.tokens.agents["a"].uncounted.as_deref().unwrap().contains("SQLite"));
    world.tick();
    assert!(world.last.agents.is_empty());
}
