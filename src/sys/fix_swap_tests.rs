//! Somebody saves a file in the very moment between our comparison and our replacement.

use super::super::fix_branch::{self as fix, Dirty, Place};
use super::{ASIDE, BETWEEN, CANT_TRADE};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A repository with a commit, and a place of ours.
struct World {
    dir: tempfile::TempDir,
    store: PathBuf,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let world = World { store: dir.path().join("fixes/p-1"), dir };
        std::fs::create_dir(world.root()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world.write("train.py", "committed\n");
        world.write("gone.py", "committed\n");
        world.git(&["add", "-A"]);
        world.git(&["commit", "-q", "-m", "one"]);
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn place(&self) -> Place {
        let (dir, store) = (self.root(), self.store.clone());
        Place {
            dir,
            incident: "one".into(),
            store,
            state_dir: self.dir.path().join("state"),
            files: Vec::new(),
        }
    }

    fn git(&self, args: &[&str]) -> String {
        let name = ["-c", "user.name=op", "-c", "user.email=op@example.org"];
        let out = Command::new("git").arg("-C").arg(self.root()).args(name).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.root().join(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap_or_else(|_| "none".into())
    }

    /// What is kept of saves that something newer replaced.
    fn kept(&self) -> Vec<String> {
        let files = walkdir::WalkDir::new(self.store.join("replaced")).into_iter().flatten();
        let files = files.filter(|file| file.file_type().is_file());
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
    }
}

/// How somebody saves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    /// As most editors: a new file that takes the old one's name.
    Renamed,
    /// Into the file that is there.
    InPlace,
    /// As one that had it open all the while.
    OpenBefore,
    /// Removed.
    Removed,
}

const ALL: [Save; 4] = [Save::Renamed, Save::InPlace, Save::OpenBefore, Save::Removed];

thread_local! {
    /// Programs that write later.
    static WRITERS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

/// What is saved.
const SAVED: &str = "saved\n";

fn save(how: Save, path: &Path) {
    match how {
        Save::Renamed => {
            let new = path.with_extension("new");
            std::fs::write(&new, SAVED).unwrap();
            std::fs::rename(new, path).unwrap();
        }
        Save::InPlace => std::fs::write(path, SAVED).unwrap(),
        // It writes when the file has been replaced, and closes it then.
        Save::OpenBefore => {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            let (path, own) = (path.to_owned(), file.metadata().unwrap().ino());
            let writer = std::thread::spawn(move || {
                let until = Instant::now() + Duration::from_secs(10);
                while path.metadata().is_ok_and(|meta| meta.ino() == own) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                file.set_len(0).and_then(|()| file.write_all(SAVED.as_bytes())).unwrap();
            });
            WRITERS.with_borrow_mut(|writers| writers.push(writer));
        }
        Save::Removed => std::fs::remove_file(path).unwrap(),
    }
}

/// Each time that this path is about to be replaced, something happens to it.
fn while_replaced<T>(
    world: &World,
    path: &'static str,
    happens: impl Fn(usize, &Path) + 'static,
    act: impl FnOnce() -> T,
) -> T {
    let (full, mut times) = (world.root().join(path), 0);
    BETWEEN.set(Some(Box::new(move |now: &str| {
        if now == path {
            times += 1;
            happens(times, &full);
        }
    })));
    let result = act();
    BETWEEN.set(None);
    WRITERS.take().into_iter().for_each(|writer| writer.join().unwrap());
    result
}

/// The first time it is saved.
fn once(how: Save) -> impl Fn(usize, &Path) {
    move |times, path| {
        if times == 1 {
            save(how, path);
        }
    }
}

fn stands(how: Save) -> &'static str {
    if how == Save::Removed { "none" } else { SAVED }
}

/// Uncommitted work: a changed file, and one that git does not know.
fn busy(world: &World) {
    world.write("train.py", "work\n");
    world.write("notes.txt", "work\n");
}

#[test]
fn a_save_while_work_is_put_aside_stands_and_nothing_is_asked() {
    for (how, path) in ALL.into_iter().flat_map(|how| [(how, "train.py"), (how, "notes.txt")]) {
        let world = World::new();
        busy(&world);
        let said =
            while_replaced(&world, path, once(how), || fix::begin(&world.place(), Dirty::Stash).unwrap_err());
        let other = if path == "train.py" { "notes.txt" } else { "train.py" };
        // (A removal is no work: what git does not know comes back.)
        let stands = if (how, path) == (Save::Removed, "notes.txt") { "work\n" } else { stands(how) };
        assert_eq!((world.read(path), world.read(other)), (stands.into(), "work\n".into()), "{how:?}");
        assert!(said.contains("could not be put aside"), "{said}");
        if how != Save::Removed {
            assert!(said.contains(&format!("`{path}`")), "{how:?}: {said}");
        }
    }
}

#[test]
fn a_save_while_work_is_put_back_stands_and_the_older_work_is_named() {
    for (how, path) in ALL.into_iter().map(|how| (how, "train.py")) {
        let world = World::new();
        busy(&world);
        fix::begin(&world.place(), Dirty::Stash).unwrap();
        while_replaced(&world, path, once(how), || fix::collect(&world.place()).unwrap());
        assert_eq!((world.read(path), world.read("notes.txt")), (stands(how).into(), "work\n".into()));
        let told = fix::unfit(&world.place()).unwrap().join("; ");
        let named =
            told.contains("`train.py`") && told.contains(&crate::sys::fix_stash::name(&world.place()));
        assert!(named, "{how:?}: {told}");
        assert_eq!(
            world.git(&["show", &format!("{}:train.py", crate::sys::fix_stash::name(&world.place()))]),
            "work"
        );
    }
}

#[test]
fn a_save_while_edits_are_taken_back_stands_and_is_said() {
    saved_while_taken_back();
}

/// Where names can't be exchanged (NFS, some FUSE), too.
#[test]
fn without_an_exchange_nothing_is_lost_either() {
    CANT_TRADE.set(true);
    saved_while_taken_back();
    // Made anew in the instant in which nothing stands there.
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let full = world.root().join("train.py");
    BETWEEN.set(Some(Box::new(move |now: &str| {
        if now == ASIDE {
            std::fs::write(&full, SAVED).unwrap();
        }
    })));
    let left = fix::restore(&world.place()).unwrap();
    BETWEEN.set(None);
    CANT_TRADE.set(false);
    assert_eq!((world.read("train.py"), world.kept()), (SAVED.into(), Vec::new()));
    assert_eq!(left, ["`train.py` was changed meanwhile, and is left as it is"]);
    assert_eq!(world.git(&["status", "--porcelain"]), " M train.py", "nothing of ours");
}

fn saved_while_taken_back() {
    let edited = ["train.py", "new.py", "gone.py"];
    // (Nothing that stands where something is put can be open.)
    let all = ALL.into_iter().flat_map(|how| edited.map(|path| (how, path)));
    for (how, path) in all.filter(|(how, path)| *path != "gone.py" || *how == Save::Renamed) {
        let world = World::new();
        fix::begin(&world.place(), Dirty::Refuse).unwrap();
        world.write("train.py", "agent\n");
        world.write("new.py", "agent\n");
        std::fs::remove_file(world.root().join("gone.py")).unwrap();
        fix::collect(&world.place()).unwrap();
        let left = while_replaced(&world, path, once(how), || fix::restore(&world.place()).unwrap());
        let mut want = [("train.py", "committed\n"), ("new.py", "none"), ("gone.py", "committed\n")];
        want.iter_mut().filter(|(name, _)| *name == path).for_each(|(_, text)| *text = stands(how));
        assert_eq!(want.map(|(path, _)| world.read(path)), want.map(|(_, text)| text.to_owned()), "{how:?}");
        assert!(left.len() == 1 && left[0].contains(&format!("`{path}`")), "{how:?} {path}: {left:?}");
        assert_eq!(world.kept(), Vec::<String>::new());
    }
}

/// Saved between the comparison and the replacement, and again before that was noticed.
#[test]
fn of_two_saves_the_newest_stands_and_the_other_is_kept_under_a_name_that_is_told() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let twice = |times: usize, path: &Path| match times {
        1 => save(Save::Renamed, path),
        _ => std::fs::write(path, "newest\n").unwrap(),
    };
    let left = while_replaced(&world, "train.py", twice, || fix::restore(&world.place()).unwrap());
    assert_eq!((world.read("train.py"), world.kept()), ("newest\n".into(), vec![SAVED.to_owned()]));
    let name = left[0].split('`').find(|part| part.contains("/replaced/")).unwrap();
    assert_eq!(std::fs::read_to_string(name).unwrap(), SAVED, "{left:?}");
    // The records of the fix go; it does not.
    fix::clear(&world.place());
    assert_eq!(world.kept(), [SAVED]);
}

/// A program that goes on writing keeps its file.
#[test]
fn what_is_open_for_writing_is_not_taken_from_its_writer() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    world.write("new.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let mut open = ["train.py", "new.py"]
        .map(|path| OpenOptions::new().append(true).open(world.root().join(path)).unwrap());
    let left = fix::restore(&world.place()).unwrap();
    let said =
        |path: &str| left.iter().any(|why| why.contains(path) && why.contains("has it open for writing"));
    assert!(left.len() == 2 && said("train.py") && said("new.py"), "{left:?}");
    open.iter_mut().for_each(|file| file.write_all(b"more\n").unwrap());
    assert_eq!(["train.py", "new.py"].map(|path| world.read(path)), ["agent\nmore\n"; 2].map(str::to_owned));
}

#[test]
fn another_file_system_is_no_hindrance() {
    let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { return println!("not tested here: no /dev/shm") };
    let mut world = World::new();
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(shm.path()) == device(world.dir.path()) {
        return println!("not tested here: one file system");
    }
    world.store = shm.path().join("fixes/p-1");
    busy(&world);
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    assert_eq!((world.read("train.py"), world.read("notes.txt")), ("committed\n".into(), "none".into()));
    world.write("train.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let twice = |times: usize, path: &Path| match times {
        // (The first attempt finds out.)
        1 => {}
        2 => save(Save::Renamed, path),
        _ => std::fs::write(path, "newest\n").unwrap(),
    };
    let left = while_replaced(&world, "train.py", twice, || fix::restore(&world.place()).unwrap());
    assert_eq!((world.read("train.py"), world.read("notes.txt")), ("newest\n".into(), "work\n".into()));
    assert!(left[0].contains("/replaced/"), "{left:?}");
    assert_eq!(world.kept(), [SAVED]);
    assert_eq!(world.git(&["status", "--porcelain"]), " M train.py\n?? notes.txt", "nothing of ours");
}

/// Killed while it was replaced: what lies there is told by its name.
#[test]
fn what_a_kill_left_of_a_replacement_is_kept_when_nobody_else_has_it() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let id = |text: &str| {
        world.write("hashed", text);
        let id = world.git(&["hash-object", "hashed"]);
        std::fs::remove_file(world.root().join("hashed")).unwrap();
        id
    };
    for (n, text) in ["agent\n", "committed\n", SAVED].into_iter().enumerate() {
        let dir = world.store.join(format!("replaced/{n}-{}-{}/deep", id("agent\n"), id("committed\n")));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("train.py"), text).unwrap();
    }
    let left = fix::restore(&world.place()).unwrap();
    assert!(left.len() == 1 && left[0].contains("`deep/train.py` was saved meanwhile"), "{left:?}");
    assert_eq!((world.read("train.py"), world.kept()), ("committed\n".into(), vec![SAVED.to_owned()]));
}
