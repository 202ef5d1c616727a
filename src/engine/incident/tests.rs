//! Folders, index, counts and rows over a real state directory; the world is real files too.

use super::*;
use crate::base::time::{Awake, Wall};
use crate::engine::unreadable::Unreadable;
use crate::model::action::{Action, Outcome};
use crate::model::finding::Finding;
use crate::model::incident::{FixNote, Place, Remedy};
use crate::model::process::RunId;
use crate::model::seen::{BranchFacts, HostSeen, JobSeen, Process, TranscriptSeen, Vote};
use crate::state::attempts::Status;
use crate::sys::files::RealFiles;
use crate::sys::{PaneList, git};
use std::path::Path;

pub(super) fn name() -> UnitName {
    UnitName::new("train").unwrap()
}

/// A host that reads files, and sees nothing else.
struct Reader;

impl Host for Reader {
    fn now(&mut self) -> Now {
        now(0)
    }
    fn panes(&mut self) -> PaneList {
        unreachable!("nobody looks at panes here")
    }
    fn capture(&mut self, _: &[String]) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn process_start(&mut self, _: i32) -> Option<u64> {
        None
    }
    fn process_tree(&mut self, _: i32) -> Vec<Process> {
        Vec::new()
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
    fn tip(&mut self, _: &Path, _: &str, _: &str) -> std::result::Result<Option<String>, String> {
        Ok(None)
    }
    fn branch(&mut self, _: &git::BranchQuery) -> std::result::Result<BranchFacts, String> {
        Err("none".to_owned())
    }
    fn job(&mut self, _: &str) -> JobSeen {
        JobSeen::None
    }
    fn part_of(
        &mut self,
        path: &Path,
        offset: u64,
        max: usize,
    ) -> std::result::Result<Option<(Vec<u8>, u64)>, String> {
        crate::sys::outside::read_part(path, offset, max).map_err(|error| error.message())
    }
    fn log_place(&mut self, log: &Path, finding: &Finding) -> Option<(std::path::PathBuf, u64)> {
        crate::sys::log_place::find(log, log.parent(), finding)
    }
    fn pressure(&mut self) -> HostSeen {
        HostSeen::default()
    }
    fn perform(&mut self, _: &Action) -> Outcome {
        Outcome::Done
    }
}

fn now(s: i64) -> Now {
    Now {
        wall: Wall(1_795_250_000_000 + s * 1000),
        awake_s: Awake(s * 1000),
        boot: "b".into(),
        zone: "Europe/Berlin".into(),
    }
}

/// A project directory, a state directory, and what a watchdog holds in memory.
pub(super) struct World {
    project: tempfile::TempDir,
    home: tempfile::TempDir,
    files: RealFiles,
    pub(super) state: State,
    memory: Memory,
    config: Config,
}

impl World {
    pub(super) fn new() -> World {
        World::with("")
    }

    /// With keys more in the process's table.
    fn with(keys: &str) -> World {
        let (project, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = format!("[[process]]\nname = \"train\"\ncommand = [\"python\", \"train.py\"]\n{keys}\n");
        let parsed = crate::config::parse(&crate::config::Source {
            path: Path::new("/fleet/agents.toml"),
            text: &text,
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        let config = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.problems));
        let files = RealFiles::create(home.path()).unwrap();
        World { project, home, files, state: State::default(), memory: Memory::default(), config }
    }

    /// Writes a file of the project; its path.
    pub(super) fn write(&self, path: &str, text: &str) -> String {
        let full = self.project.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, text).unwrap();
        full.to_string_lossy().into_owned()
    }

    pub(super) fn log(&self, text: &str) {
        self.write("out.log", text);
    }

    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.home.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.home.path().join(path).exists()
    }

    pub(super) fn order(&self, finding: Finding, remedy: Remedy) -> IncidentOrder {
        let path = |file: &str| self.project.path().join(file).to_string_lossy().into_owned();
        IncidentOrder {
            id: String::new(),
            unit: name(),
            at: now(0).wall,
            fingerprint: crate::detect::fingerprint::fingerprint(&finding),
            finding,
            run: RunId { number: 4, handle: "4711.9.boot".into() },
            run_since: Some(now(-11_520).wall),
            over: true,
            restarts: 2,
            remedy,
            place: Place {
                host: "local".into(),
                command: vec!["python".into(), "train.py".into(), "--token=abcdef123".into()],
                dir: self.project.path().to_string_lossy().into_owned(),
                log: path("out.log"),
                configs: vec![path("configs/run.yaml"), path(".env"), path("missing.toml")],
                env: vec!["BATCH_SIZE".into(), "WANDB_API_KEY".into()],
                keep_max: 50,
                keep_age_s: 1e6,
                ..Place::default()
            },
            notes: Vec::new(),
        }
    }

    fn simple(&self, message: &str, at_s: i64) -> IncidentOrder {
        let finding = Finding { detector: "oom".into(), message: message.into(), ..Finding::default() };
        let mut order = self.order(finding, Remedy { action: "restart".into(), ..Remedy::default() });
        order.at = now(at_s).wall;
        order
    }

    fn unit(&mut self) -> &mut IncidentState {
        &mut self.state.units.entry(name()).or_default().incident
    }

    pub(super) fn take(&mut self, order: IncidentOrder) -> String {
        self.unit().take(order).incident().to_owned()
    }

    pub(super) fn write_owed(&mut self) -> Vec<String> {
        self.write_at(0)
    }

    fn write_at(&mut self, s: i64) -> Vec<String> {
        write(&mut Reader, &mut self.files, &self.config, &self.state, &mut self.memory, &now(s), |_| true)
    }

    /// What a look at the world lets the unit forget.
    fn settle(&mut self) -> ProcessSeen {
        let mut seen = ProcessSeen::default();
        let state = self.unit().clone();
        look(&mut self.files, &state, &mut self.memory, &mut seen);
        self.unit().settle(&seen);
        seen
    }

    fn index(&self) -> Vec<String> {
        read_index(self.read("incidents/index.jsonl").as_bytes()).into_iter().map(|line| line.id).collect()
    }

    pub(super) fn all_files(&self, id: &str) -> Vec<(String, String)> {
        let root = self.home.path().join("incidents").join(id);
        walkdir::WalkDir::new(&root)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                (entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text)
            })
            .collect()
    }

    /// Copies a folder to where somebody wants to read it.
    pub(super) fn keep(&self, label: &str, id: &str) {
        let Ok(to) = std::env::var("KEEP") else { return };
        for (path, text) in self.all_files(id) {
            let full = Path::new(&to).join(label).join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, text).unwrap();
        }
    }
}

#[test]
fn what_is_owed_is_written_once_and_then_forgotten() {
    let mut world = World::new();
    world.log("a\n");
    let order = world.simple("out of memory", 0);
    let id = world.take(order);
    assert!(world.write_owed().is_empty());
    // Not settled yet, as after a kill: nothing is doubled.
    world.memory = Memory::default();
    assert!(world.write_owed().is_empty());
    assert_eq!(world.index(), std::slice::from_ref(&id));
    assert_eq!(world.settle().incidents, std::slice::from_ref(&id));
    assert!(world.unit().owed.is_empty());
    world.write_owed();
    assert_eq!(world.index(), std::slice::from_ref(&id));
    assert!(world.read(&format!("incidents/{id}/configs/missing.toml")).contains("no such file"));
}

#[test]
fn a_folder_without_its_line_gets_it_and_a_line_without_a_folder_gets_that() {
    let mut world = World::new();
    let order = world.simple("a", 0);
    let id = world.take(order);
    world.write_owed();
    // Killed between the two writes.
    std::fs::remove_file(world.home.path().join("incidents/index.jsonl")).unwrap();
    world.memory = Memory::default();
    assert_eq!(world.settle().incidents, Vec::<String>::new());
    world.write_owed();
    assert_eq!(world.index(), std::slice::from_ref(&id));
    world.files.remove_folder(&format!("incidents/{id}")).unwrap();
    world.memory = Memory::default();
    assert_eq!(world.settle().incidents, Vec::<String>::new());
    world.write_owed();
    assert_eq!((world.index().len(), world.settle().incidents.len()), (1, 1));
}

#[test]
fn a_torn_line_of_the_index_is_written_again() {
    let mut world = World::new();
    let order = world.simple("a", 0);
    let id = world.take(order);
    world.write_owed();
    let path = world.home.path().join("incidents/index.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    world.write_owed();
    assert_eq!(world.index(), [id]);
}

/// A failed read is unknown, not empty: nothing is written a second time, what is owed stays owed, and it is said.
#[test]
fn what_cannot_be_read_is_not_written_again() {
    #[track_caller]
    fn check(unreadable: fn(&str) -> String, file: fn(&str) -> String) {
        let mut world = World::new();
        let order = world.simple("out of memory", 0);
        let id = world.take(order);
        let row = Attempt { attempt: "train-1".into(), incident: id.clone(), ..Attempt::default() };
        world.unit().rows.push(row);
        let note = FixNote { incident: id.clone(), attempt: "train-1".into(), ..FixNote::default() };
        world.unit().fixes.push(note);
        assert_eq!(world.write_owed(), [""; 0]);
        let before = world.read(&file(&id));
        let (state, path) = (world.unit().clone(), unreadable(&id));
        let mut blind = Unreadable { files: &mut world.files, path: &path };
        let mut memory = Memory::default();
        let said =
            write(&mut Reader, &mut blind, &world.config, &world.state, &mut memory, &now(1), |_| true);
        let mut seen = ProcessSeen::default();
        look(&mut blind, &state, &mut memory, &mut seen);
        assert!(!said.is_empty());
        let all = seen.incidents.len() + seen.attempts.len() + seen.fixes.len();
        assert!(all < 3, "{path} was seen: {seen:?}");
        assert_eq!(world.read(&file(&id)), before, "{path}");
        let seen = world.settle();
        assert_eq!(seen.incidents.len() + seen.attempts.len() + seen.fixes.len(), 3, "{path}");
    }
    let index = |_: &str| table::INCIDENTS_INDEX.to_owned();
    let ledger = |_: &str| table::ATTEMPTS.to_owned();
    check(index, index);
    check(ledger, ledger);
    check(|id| table::in_incident(id, "fix/action.json"), ledger);
}

#[test]
fn repeats_are_counted_in_the_folder_and_not_multiplied() {
    let mut world = World::new();
    let order = world.simple("step 1 failed", 0);
    let id = world.take(order);
    world.write_owed();
    world.settle();
    for n in 2..5 {
        let order = world.simple(&format!("step {n} failed"), n * 60);
        assert_eq!(world.take(order), id);
        assert!(world.write_owed().is_empty());
    }
    assert_eq!(world.index().len(), 1);
    let repeats: Repeats =
        serde_json::from_str(&world.read(&format!("incidents/{id}/repeats.json"))).unwrap();
    assert_eq!((repeats.count, repeats.last), (4, now(240).wall));
    assert!(
        world.read(&format!("incidents/{id}/report.md")).contains("- **How often:** 4 times, the last at ")
    );
}

#[test]
fn a_folder_that_somebody_removed_comes_anew_with_the_next_failure() {
    let mut world = World::new();
    let order = world.simple("a", 0);
    let id = world.take(order);
    world.write_owed();
    world.settle();
    std::fs::remove_dir_all(world.home.path().join("incidents")).unwrap();
    assert_eq!(world.settle().incidents_gone, std::slice::from_ref(&id));
    let order = world.simple("a", 60);
    let again = world.take(order);
    assert_ne!(again, id);
    assert!(world.write_owed().is_empty());
    assert_eq!(world.index(), [again]);
}

#[test]
fn what_can_not_be_written_leaves_nothing_half_and_is_owed() {
    let mut world = World::new();
    // A file where the folder should be.
    world.files.append("incidents", "mine").unwrap();
    let order = world.simple("a", 0);
    let id = world.take(order);
    assert_eq!(world.write_owed().len(), 1);
    assert_eq!((world.unit().owed.len(), world.settle().incidents.len()), (1, 0));
    world.files.remove("incidents").unwrap();
    assert!(world.write_owed().is_empty());
    assert_eq!(world.settle().incidents, [id]);
}

#[test]
fn rows_come_once_and_the_page_shows_them() {
    let mut world = World::new();
    let order = world.simple("a", 0);
    let id = world.take(order);
    world.write_owed();
    let row = Attempt {
        time: now(1).wall,
        incident: id.clone(),
        unit: "train".into(),
        action: "restart".into(),
        source: "default".into(),
        description: "password=hunter2".into(),
        ..Attempt::default()
    };
    let attempt = world.unit().begin(row.clone());
    world.write_owed();
    world.write_owed();
    assert_eq!(world.settle().attempts, ["train-1 pending"]);
    world.unit().conclude(Attempt { attempt, status: Status::Kept, time: now(600).wall, ..row });
    world.write_owed();
    world.write_owed();
    world.settle();
    assert!(world.unit().rows.is_empty());
    let ledger = world.read("attempts.tsv");
    assert_eq!(ledger.lines().count(), 3, "{ledger}");
    assert!(ledger.starts_with("time\tattempt\t") && !ledger.contains("hunter2"), "{ledger}");
    let page = world.read(&format!("incidents/{id}/report.md"));
    assert!(page.contains("restart (default) → **kept**: password=[masked]\n"), "{page}");
}

#[test]
fn a_note_brings_the_answer_and_the_edits_masked_and_once() {
    let mut world = World::new();
    let order = world.simple("a", 0);
    let id = world.take(order);
    world.write_owed();
    let note = FixNote {
        incident: id.clone(),
        attempt: "train-1".into(),
        response: "I set token=abcdef123 \x1b[2J\nACTION: restart\n".into(),
        patch: "--- a\n+++ b\n@@ -1 +1 @@\n-\tx\n+\ty\n".into(),
        branch: Some("watchkeeper/fix-1".into()),
        ..FixNote::default()
    };
    world.unit().note(note.clone());
    assert!(world.write_owed().is_empty());
    assert_eq!(world.settle().fixes, ["train-1"]);
    assert_eq!(
        world.read(&format!("incidents/{id}/fix/response.md")),
        "I set token=[masked] \nACTION: restart\n"
    );
    assert_eq!(world.read(&format!("incidents/{id}/fix/diff.patch")), note.patch);
    assert!(world.read(&format!("incidents/{id}/fix/action.json")).contains("watchkeeper/fix-1"));
    // A later note about the same attempt is written too.
    world.unit().note(FixNote { response: "more".into(), ..note.clone() });
    assert!(world.settle().fixes.is_empty());
    assert!(world.write_owed().is_empty());
    assert_eq!(world.settle().fixes, ["train-1"]);
    assert_eq!(world.read(&format!("incidents/{id}/fix/response.md")), "more");
    // A note for a folder that is gone is let go.
    world.unit().note(FixNote { incident: "gone".into(), attempt: "train-2".into(), ..FixNote::default() });
    assert!(world.write_owed().is_empty());
    assert_eq!(world.settle().fixes, ["train-2"]);
}

#[test]
fn old_incidents_go_but_never_the_newest_of_a_failure() {
    let mut world = World::with("incidents_max = 2");
    let mut ids = Vec::new();
    for (n, message) in ["a", "b", "a", "a", "c"].into_iter().enumerate() {
        let order = world.simple(message, i64::try_from(n).unwrap());
        world.unit().known.clear(); // As if it had been forgotten: the same failure gets another folder.
        ids.push(world.take(order));
        assert!(world.write_at(i64::try_from(n).unwrap()).is_empty());
        world.settle();
    }
    let there: Vec<bool> = ids.iter().map(|id| world.exists(&format!("incidents/{id}"))).collect();
    assert_eq!(there, [false, true, false, true, true]);
}

#[test]
fn the_log_is_found_after_it_was_rotated() {
    let mut world = World::new();
    let text = "boom at step 7";
    world.write("out.log.2", "older\n");
    world.write("out.log.1", &format!("before\n{text}\nafter\n"));
    world.log("fresh\n");
    let finding =
        Finding { detector: "oom".into(), line: 2, at: 7, end: 22, text: text.into(), ..Finding::default() };
    let order = world.order(finding, Remedy::default());
    let id = world.take(order);
    world.write_owed();
    let excerpt = world.read(&format!("incidents/{id}/log_excerpt.txt"));
    assert!(excerpt.contains("  older\n  before\n> boom at step 7\n  after\n"), "{excerpt}");
    assert!(excerpt.contains("# not sure: the log was cut or replaced since"), "{excerpt}");
    let page = world.read(&format!("incidents/{id}/report.md"));
    assert_eq!(page.matches("\nNot sure: the log was cut or replaced since").count(), 2, "{page}");
}

#[test]
fn the_log_is_shown_where_the_finding_stood_and_not_where_the_same_was_said_again() {
    use crate::base::text::digest;
    use crate::model::finding::LogMark;
    use std::os::unix::fs::MetadataExt;
    let mut world = World::new();
    let text = "boom at step 7";
    let path = world.write("out.log", &format!("first\n{text}\nsecond\n{text}\nthird\n"));
    let meta = std::fs::metadata(&path).unwrap();
    std::fs::rename(&path, format!("{path}.1")).unwrap();
    world.log(&format!("fresh\n{text}\nlast\n"));
    let mark = LogMark { file: (meta.dev(), meta.ino()), bytes: digest(text.as_bytes()) };
    let finding = Finding {
        detector: "oom".into(),
        line: 2,
        at: 6,
        end: 20,
        text: text.into(),
        log: Some(mark),
        ..Finding::default()
    };
    let order = world.order(finding, Remedy::default());
    let id = world.take(order);
    world.write_owed();
    let excerpt = world.read(&format!("incidents/{id}/log_excerpt.txt"));
    assert!(excerpt.contains("  first\n> boom at step 7\n  second\n  boom at step 7\n"), "{excerpt}");
    assert!(!excerpt.contains("not sure"), "{excerpt}");
}

#[test]
fn a_trace_can_not_make_us_keep_what_is_no_source() {
    use crate::model::finding::{FindingKind, Frame, Language};
    let mut world = World::new();
    let secret = world.write("id_rsa", "very secret\n");
    let huge = world.write("huge.py", &"x = 1\n".repeat(400_000));
    let frame = |file: &str| Frame { file: file.into(), line: 1, function: "f".into(), library: false };
    let finding = Finding {
        detector: "traceback".into(),
        kind: FindingKind::Traceback,
        language: Some(Language::Python),
        frames: vec![frame(&secret), frame("/dev/zero.py"), frame(&huge), frame("../../../etc/passwd")],
        ..Finding::default()
    };
    let mut order = world.order(finding, Remedy::default());
    order.place.log = "/dev/zero".into();
    let id = world.take(order);
    assert!(world.write_owed().is_empty());
    let all: String = world.all_files(&id).into_iter().map(|(_, text)| text).collect();
    assert!(!all.contains("very secret") && !all.contains("root:") && all.len() < 40_000, "{}", all.len());
    assert!(all.contains("2400000 bytes long") && all.contains("is not a regular file"), "{all}");
}
