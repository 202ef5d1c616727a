//! Fix branches over real repositories: the operator's work is exactly what it was, whatever the agent did.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use watchkeeper::model::action::{FixJob, FixStep, Job};
use watchkeeper::sys::fix_branch::{self as fix, Dirty, Place};

/// A repository with a commit, and a folder of ours.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.root()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world.write("train.py", "lr = 1\n");
        world.write("src/net.py", "def f():\n    pass\n");
        world.write("run.sh", "#!/bin/sh\n");
        world.chmod("run.sh", 0o755);
        std::os::unix::fs::symlink("train.py", world.root().join("link")).unwrap();
        world.write(".gitignore", "*.ckpt\n");
        world.git(&["add", "-A"]);
        world.git(&["commit", "-q", "-m", "one"]);
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn place(&self) -> Place {
        let state_dir = self.root().join(".watchkeeper");
        Place {
            dir: self.root().join("src"),
            incident: "one".into(),
            store: state_dir.join("fix/one"),
            state_dir,
            files: vec![self.root().join("agents.toml")],
        }
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .arg("-C")
            .arg(self.root())
            .args(["-c", "user.name=op", "-c", "user.email=op@example.org"])
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let full = self.root().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, text).unwrap();
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.root().join(path)).unwrap();
    }

    fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.root().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Everything in the tree but our own folder and git's: kind, mode and bytes; then HEAD, branches and index.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let hidden = |path: &Path| path.ends_with(".git") || path.ends_with(".watchkeeper");
        let walk = walkdir::WalkDir::new(self.root()).into_iter().filter_entry(|entry| !hidden(entry.path()));
        for entry in walk.map(Result::unwrap) {
            let path = entry.path().strip_prefix(self.root()).unwrap().to_string_lossy().into_owned();
            let meta = entry.path().symlink_metadata().unwrap();
            let what = if meta.is_symlink() {
                format!("-> {}", std::fs::read_link(entry.path()).unwrap().display())
            } else if meta.is_dir() {
                "folder".to_owned()
            } else {
                let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                format!("{:o} {text}", meta.permissions().mode() & 0o7777)
            };
            all.insert(path, what);
        }
        all.insert("HEAD".into(), self.git(&["symbolic-ref", "HEAD"]));
        all.insert("main".into(), self.git(&["rev-parse", "main"]));
        all.insert("index".into(), self.git(&["ls-files", "--stage"]));
        all.insert("stash".into(), self.git(&["stash", "list"]));
        all
    }

    /// Names that the fix's commit changes.
    fn fixed(&self) -> String {
        self.git(&["diff", "--name-status", "--no-renames", "main", "watchkeeper/fix-one"])
    }

    fn refused(&self, dirty: Dirty, want: &str) {
        let said = fix::begin(&self.place(), dirty).unwrap_err();
        assert!(said.contains(want), "{said}");
    }
}

/// A tree that differs in one path.
fn same_but(all: &BTreeMap<String, String>, path: &str, what: &str) -> BTreeMap<String, String> {
    let mut all = all.clone();
    all.insert(path.to_owned(), what.to_owned());
    all
}

/// Does all that an agent may do to a tree.
fn wreck(world: &World) {
    world.write("train.py", "lr = 0.1\n");
    world.write("new/deep/file.py", "x\n");
    world.remove("src/net.py");
    world.chmod("run.sh", 0o644);
    world.remove("link");
    world.write("link", "a file now\n");
    world.git(&["add", "train.py"]);
}

#[test]
fn the_edits_go_to_a_branch_and_out_of_the_tree_again_exactly() {
    let world = World::new();
    world.write("model.ckpt", "ignored\n");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    wreck(&world);
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!(edits.branch, "watchkeeper/fix-one");
    assert_eq!(world.fixed(), "T\tlink\nA\tnew/deep/file.py\nM\trun.sh\nD\tsrc/net.py\nM\ttrain.py");
    assert!(edits.diff.contains("+lr = 0.1") && edits.left_out.is_empty(), "{edits:?}");
    // The operator's branch and index are as they were, while the tree has the edits.
    assert_eq!(world.all()["index"], before["index"]);
    assert_eq!(
        world.git(&["log", "-1", "--format=%an %s", "watchkeeper/fix-one"]),
        "watchkeeper Fix for one"
    );
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
    assert_eq!(world.git(&["status", "--porcelain", "--", ".", ":!.watchkeeper"]), "");
    // Again: nothing happens.
    fix::restore(&world.place()).unwrap();
    assert_eq!(world.all(), before);
}

/// Uncommitted work of every sort.
fn busy(world: &World) {
    world.write("train.py", "lr = 1\nmine = 1\n");
    world.write("staged.py", "staged\n");
    world.git(&["add", "staged.py"]);
    world.write("staged.py", "and changed again\n");
    world.write("notes/deep/notes.txt", "untracked\n");
    world.chmod("notes/deep/notes.txt", 0o600);
    world.chmod("notes/deep", 0o750);
    world.chmod("run.sh", 0o600);
    world.remove("link");
    std::os::unix::fs::symlink("nowhere", world.root().join("link")).unwrap();
    std::os::unix::fs::symlink("../train.py", world.root().join("notes/link")).unwrap();
    world.remove("src/net.py");
    world.write("model.ckpt", "ignored\n");
}

#[test]
fn uncommitted_work_refuses_or_is_out_of_the_way_and_comes_back_exactly() {
    let world = World::new();
    let clean = world.all();
    busy(&world);
    world.refused(Dirty::Refuse, "the tree has uncommitted work (5 files: `link`, `run.sh`, `src/net.py`)");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    let mut seen = world.all();
    for (path, what) in [("model.ckpt", "644 ignored\n"), ("notes", "folder"), ("notes/deep", "folder")] {
        assert_eq!(seen.remove(path).as_deref(), Some(what), "{path}");
    }
    assert_eq!(seen, same_but(&clean, "run.sh", "700 #!/bin/sh\n"));
    assert_eq!(world.git(&["status", "--porcelain", "--", ".", ":!.watchkeeper"]), "");
    world.write("new.py", "agent\n");
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!((world.fixed().as_str(), edits.left_out.len()), ("A\tnew.py", 0), "nothing of the operator's");
    let mut with = before.clone();
    with.insert("new.py".into(), "644 agent\n".into());
    assert_eq!(world.all(), with, "its edits, and the operator's work as it was");
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
    fix::forget(&world.place()).unwrap();
    assert_eq!(world.git(&["for-each-ref", "refs/watchkeeper"]), "");
}

#[test]
fn what_both_changed_is_merged_and_taken_back_exactly() {
    let world = World::new();
    let text = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n{last}\n");
    world.write("train.py", &text("1", "6"));
    world.git(&["commit", "-q", "-am", "two"]);
    world.write("train.py", &text("1", "operator"));
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write("train.py", &text("agent", "6"));
    fix::collect(&world.place()).unwrap();
    assert_eq!(world.all()["train.py"], format!("644 {}", text("agent", "operator")));
    assert_eq!(world.git(&["show", "watchkeeper/fix-one:train.py"]) + "\n", text("agent", "6"));
    assert_eq!(fix::unfit(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
}

#[test]
fn work_that_does_not_fit_any_more_is_kept_and_said() {
    let world = World::new();
    world.write("train.py", "lr = operator\n");
    world.write("mine.py", "operator\n");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write("train.py", "lr = agent\n");
    world.write("mine.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    let told = fix::unfit(&world.place()).unwrap();
    let name = world.git(&["for-each-ref", "--format=%(refname)", "refs/watchkeeper/stash"]);
    let stash = &format!("`{name}` (`git stash apply` takes it)");
    assert!(
        told.len() == 2 && told[1].contains("`train.py`: you and the agent") && told[1].contains(stash),
        "{told:?}"
    );
    assert_eq!(world.all()["train.py"], "644 lr = agent\n");
    assert_eq!(fix::keep(&world.place()).unwrap(), told, "it is not forgotten");
    // What is told works.
    let kept = world.git(&["show", &format!("{name}:train.py")]);
    assert_eq!(kept, "lr = operator");
    world.git(&["checkout", "-q", "--", "."]);
    world.remove("mine.py");
    world.git(&["stash", "apply", "-q", &name]);
    assert_eq!(world.all(), before);

    // The attempt did not help: what was there before is there again.
    let world = World::new();
    world.write("train.py", "lr = operator\n");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write("train.py", "lr = agent\n");
    fix::collect(&world.place()).unwrap();
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
}

#[test]
fn a_second_fix_builds_on_one_that_was_kept_and_is_refused_only_for_the_operators_work() {
    let world = World::new();
    let place = |n: &str| {
        let store = world.place().state_dir.join("fix").join(n);
        Place { incident: n.into(), store, ..world.place() }
    };
    fix::begin(&place("one"), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 0.1\n");
    world.write("new.py", "one\n");
    fix::collect(&place("one")).unwrap();
    assert_eq!(fix::keep(&place("one")).unwrap(), Vec::<String>::new());
    fix::forget(&place("one")).unwrap();
    fix::clear(&place("one"));
    let kept = world.all();
    fix::begin(&place("two"), Dirty::Refuse).unwrap();
    world.write("new.py", "two\n");
    world.write("src/net.py", "def f(): return 2\n");
    let edits = fix::collect(&place("two")).unwrap();
    assert!(edits.left_out.is_empty() && !edits.diff.contains("lr = 0.1"), "{edits:?}");
    let log = world.git(&["log", "--format=%s", "watchkeeper/fix-two"]);
    assert_eq!(log, "Fix for two\nFix for one\none");
    fix::restore(&place("two")).unwrap();
    assert_eq!(world.all(), kept, "the first one stays");
    fix::clear(&place("two"));
    // Somebody goes on with a file of it: that is work.
    world.write("train.py", "lr = 0.2\n");
    let said = fix::begin(&place("three"), Dirty::Refuse).unwrap_err();
    assert!(said.contains("(1 file: `train.py`)"), "{said}");
    // Somebody removes the branch: what is in the tree is nowhere else.
    world.write("train.py", "lr = 0.1\n");
    world.git(&["branch", "-D", "watchkeeper/fix-one", "watchkeeper/fix-two"]);
    let said = fix::begin(&place("three"), Dirty::Refuse).unwrap_err();
    assert!(said.contains("(1 file: `train.py`)"), "{said}");
}

#[test]
fn whoever_removes_the_repository_does_not_take_the_operators_work_with_it() {
    let world = World::new();
    busy(&world);
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    std::fs::remove_dir_all(world.root().join(".git")).unwrap();
    assert!(fix::is_gone(&world.place()).unwrap());
    let said = fix::rescued(&world.place());
    assert!(said.contains("is gone") && said.contains("fix/one/work"), "{said}");
    assert!(said.ends_with("not put back from there: `link`, `run.sh`, `train.py`"), "{said}");
    let work = world.place().store.join("work");
    assert!(work.with_file_name("back.json").exists(), "what no repository can bring back is not waited for");
    assert_eq!(std::fs::read_to_string(work.join("train.py")).unwrap(), "lr = 1\nmine = 1\n");
    assert_eq!(std::fs::read_to_string(world.root().join("staged.py")).unwrap(), "and changed again\n");
    assert_eq!(std::fs::read_to_string(world.root().join("notes/deep/notes.txt")).unwrap(), "untracked\n");
}

#[test]
fn what_is_put_back_belongs_to_who_had_it() {
    use std::os::unix::fs::{MetadataExt, chown};
    let world = World::new();
    busy(&world);
    let files = ["train.py", "notes/deep/notes.txt"].map(|path| world.root().join(path));
    let (user, group) = (4711, 4712);
    if files.iter().any(|file| chown(file, Some(user), Some(group)).is_err()) {
        println!("not tested here: only root gives files away");
        return;
    }
    for folder in ["notes", "notes/deep"] {
        chown(world.root().join(folder), Some(user), Some(group)).unwrap();
    }
    let owners =
        || files.clone().map(|file| std::fs::metadata(file).map(|meta| (meta.uid(), meta.gid())).ok());
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write("train.py", "lr = agent\n");
    fix::collect(&world.place()).unwrap();
    fix::restore(&world.place()).unwrap();
    assert_eq!(owners(), [Some((user, group)); 2]);
}

#[test]
fn commits_switches_and_resets_of_the_agent_move_nothing_of_the_operators() {
    let world = World::new();
    world.git(&["branch", "other"]);
    let before = world.all();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 3\n");
    world.git(&["commit", "-q", "-am", "agent's own"]);
    world.git(&["checkout", "-q", "-b", "agents-branch"]);
    world.write("src/net.py", "two\n");
    world.git(&["commit", "-q", "-am", "again"]);
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!((world.all()["HEAD"].as_str(), &world.all()["main"]), ("refs/heads/main", &before["main"]));
    assert_eq!(world.fixed(), "M\tsrc/net.py\nM\ttrain.py");
    assert!(edits.left_out[0].contains("the agent committed to `refs/heads/main` itself"), "{edits:?}");
    fix::restore(&world.place()).unwrap();
    assert_eq!(world.all(), before);
}

#[test]
fn commits_that_somebody_makes_meanwhile_keep_a_name_and_are_told() {
    let name = |n: &str| format!("refs/watchkeeper/moved/one{n}");
    let world = World::new();
    // A name that is taken, by an attempt of the same name.
    world.git(&["update-ref", &name(""), "HEAD"]);
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = operator\n");
    world.git(&["commit", "-q", "-am", "the operator's"]);
    let commit = world.git(&["rev-parse", "HEAD"]);
    world.git(&["checkout", "-q", "--detach"]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "and another"]);
    let detached = world.git(&["rev-parse", "HEAD"]);
    fix::collect(&world.place()).unwrap();
    let told = fix::unfit(&world.place()).unwrap();
    let has = |told: &[String], n: &str| told.iter().any(|text| text.contains(&format!("`{}`", name(n))));
    assert!(told.len() == 2 && has(&told, "-2") && has(&told, "-3"), "{told:?}");
    let left = fix::restore(&world.place()).unwrap();
    assert_eq!(left, told, "what is taken back is said");
    fix::forget(&world.place()).unwrap();
    fix::clear(&world.place());
    assert_eq!(world.git(&["rev-parse", &name("-2"), &name("-3")]), format!("{detached}\n{commit}"));
    assert!(!world.place().store.exists());
    world.git(&["merge", "-q", &name("-3")]);
    assert_eq!(world.all()["train.py"], "644 lr = operator\n");

    // A tree on no branch.
    let world = World::new();
    world.git(&["checkout", "-q", "--detach"]);
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.git(&["commit", "-q", "--allow-empty", "-m", "the operator's"]);
    let commit = world.git(&["rev-parse", "HEAD"]);
    fix::collect(&world.place()).unwrap();
    assert_eq!(fix::unfit(&world.place()).unwrap().len(), 1);
    assert_eq!(world.git(&["rev-parse", &name("")]), commit);
}

#[test]
fn what_the_process_writes_meanwhile_and_later_is_left_alone() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 0.5\n");
    world.write("big.bin", &"x".repeat(5 << 20));
    fix::collect(&world.place()).unwrap();
    assert_eq!(world.fixed(), "M\ttrain.py");
    for n in 0..6 {
        world.write(&format!("checkpoints/{n}.pt"), "weights\n");
    }
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    let all = world.all();
    assert!((0..6).all(|n| all.contains_key(&format!("checkpoints/{n}.pt"))) && all.contains_key("big.bin"));
    assert_eq!(all["train.py"], "644 lr = 1\n");
}

#[test]
fn what_a_program_is_writing_stays_with_it() {
    for dirty in [Dirty::Stash, Dirty::Refuse] {
        let world = World::new();
        world.write("runs/train.log", "step 1\n");
        world.write("notes.txt", "mine\n");
        let mut log =
            std::fs::OpenOptions::new().append(true).open(world.root().join("runs/train.log")).unwrap();
        fix::begin(&world.place(), dirty).unwrap();
        assert_eq!(world.all().contains_key("notes.txt"), dirty == Dirty::Refuse, "{dirty:?}");
        log.write_all(b"step 2\n").unwrap();
        assert_eq!(world.all()["runs/train.log"], "644 step 1\nstep 2\n", "{dirty:?}");
        world.write("train.py", "lr = agent\n");
        // One that was made meanwhile, too.
        let _checkpoint = std::fs::File::create(world.root().join("runs/9.pt")).unwrap();
        let edits = fix::collect(&world.place()).unwrap();
        assert_eq!(world.fixed(), "M\ttrain.py");
        let said =
            |path: &str| edits.left_out.iter().any(|why| why.starts_with(path) && why.contains("(pid "));
        assert!(edits.left_out.len() == 2 && said("`runs/train.log`") && said("`runs/9.pt`"), "{edits:?}");
        drop(log);
        assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
        let all = world.all();
        assert_eq!(
            (&all["runs/train.log"], &all["notes.txt"]),
            (&"644 step 1\nstep 2\n".into(), &"644 mine\n".into())
        );
        assert!(all.contains_key("runs/9.pt") && all["train.py"] == "644 lr = 1\n");
    }
    // One that git knows can't be left where it is.
    let world = World::new();
    world.write("train.py", "lr = mine\n");
    world.write("notes.txt", "mine\n");
    let before = world.all();
    let _open = std::fs::OpenOptions::new().append(true).open(world.root().join("train.py")).unwrap();
    world.refused(Dirty::Stash, "`train.py` has uncommitted work and `");
    assert!(world.all() == before && !world.place().store.exists());
}

/// Somebody is in the midst of a commit: the index is theirs until then.
#[test]
fn an_index_that_is_in_use_is_waited_for_and_work_comes_back_at_the_next_try() {
    let world = World::new();
    world.write("train.py", "lr = mine\n");
    world.write("staged.py", "staged\n");
    world.git(&["add", "staged.py"]);
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write(".git/index.lock", "");
    let said = fix::collect(&world.place()).unwrap_err();
    assert!(said.contains("index"), "{said}");
    world.remove(".git/index.lock");
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
}

#[test]
fn what_git_ignored_before_is_no_edit_whatever_becomes_of_the_rules() {
    const OWN: [&str; 3] = [".env", "data/d1", "out/deep/r1"];
    let with_own = |rules: &str| {
        let world = World::new();
        OWN.iter().for_each(|path| world.write(path, "mine\n"));
        world.write(".gitignore", rules);
        world
    };
    // The rules are a person's work, and put aside.
    let world = with_own("*.ckpt\n.env\ndata/\nout/\n");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    world.write("train.py", "agent\n");
    world.write("new.py", "agent\n");
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!((world.fixed().as_str(), edits.left_out.len()), ("A\tnew.py\nM\ttrain.py", 0), "{edits:?}");
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
    // The agent takes rules away. A folder that only holds ignored files is not ignored itself.
    let world = with_own("*.ckpt\n.env\ndata/\nout/\n");
    world.git(&["commit", "-q", "-am", "two"]);
    world.write("runs/a.ckpt", "mine\n");
    let before = world.all();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write(".gitignore", "\n");
    world.write("runs/new.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    assert_eq!(world.fixed(), "M\t.gitignore\nA\truns/new.py");
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
}

#[test]
fn what_an_agent_makes_git_ignore_is_told() {
    for rules in [".gitignore", ".git/info/exclude"] {
        let world = World::new();
        world.write("model.ckpt", "ignored\n");
        fix::begin(&world.place(), Dirty::Refuse).unwrap();
        world.write("train.py", "agent\n");
        world.write("new.py", "agent\n");
        world.write(rules, "*.ckpt\nnew.py\n");
        let edits = fix::collect(&world.place()).unwrap();
        let told = "`new.py`: git ignores it by rules that changed meanwhile, so it is left alone";
        assert_eq!(edits.left_out, [told], "{rules}");
    }
}

#[test]
fn a_large_file_that_the_agent_changed_is_told_of() {
    let world = World::new();
    world.write("data.bin", &"x".repeat(5 << 20));
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("data.bin", "short\n");
    fix::collect(&world.place()).unwrap();
    let left = fix::restore(&world.place()).unwrap();
    assert!(left.len() == 1 && left[0].starts_with("`data.bin` was 5242880 bytes"), "{left:?}");
}

#[test]
fn work_that_is_too_large_to_be_put_aside_refuses() {
    let world = World::new();
    world.write("train.py", &"x".repeat(5 << 20));
    world.refused(Dirty::Stash, "`train.py` has uncommitted work that can't be put aside (5242880 bytes: ");
    assert!(!world.place().store.exists());
    // One that git does not know stays where it is.
    world.git(&["checkout", "-q", "--", "."]);
    world.write("big.bin", &"x".repeat(5 << 20));
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    assert!(world.all().contains_key("big.bin"));
}

#[test]
fn what_the_watchdog_reads_is_not_put_aside() {
    const SAID: &str =
        "`agents.toml` would be put aside, but it is read while the agent is at work: commit it";
    // Known to git or not; ours by another name, too.
    let world = World::new();
    world.write("agents.toml", "one\n");
    world.refused(Dirty::Stash, SAID);
    world.git(&["add", "agents.toml"]);
    world.git(&["commit", "-q", "-m", "two"]);
    world.write("agents.toml", "two\n");
    world.refused(Dirty::Stash, SAID);
    let alias = world.dir.path().join("alias");
    std::os::unix::fs::symlink(world.root(), &alias).unwrap();
    let place = Place { files: vec![alias.join("agents.toml")], ..world.place() };
    assert!(fix::begin(&place, Dirty::Stash).unwrap_err().contains(SAID));
    assert!(!world.place().store.exists());
    // As the commit has it, it is in nobody's way.
    world.git(&["commit", "-q", "-am", "three"]);
    world.write("train.py", "mine\n");
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    assert_eq!(world.all()["agents.toml"], "644 two\n");
}

#[test]
fn an_edit_of_the_operators_after_the_agent_is_not_undone() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    world.write("src/net.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    world.write("train.py", "operator\n");
    let left = fix::restore(&world.place()).unwrap();
    assert_eq!(left, ["`train.py` was changed since the agent: it is left as it is"]);
    assert_eq!(world.all()["train.py"], "644 operator\n");
    assert_eq!(world.all()["src/net.py"], "644 def f():\n    pass\n");
}

#[test]
fn a_merge_is_a_fast_forward_or_none() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 0.5\n");
    world.write("new.py", "x\n");
    let edits = fix::collect(&world.place()).unwrap();
    world.write("mine.py", "staged meanwhile\n");
    world.git(&["add", "mine.py"]);
    assert_eq!(fix::merge(&world.place()).unwrap(), Vec::<String>::new());
    // A crash in between: again.
    assert_eq!(fix::merge(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.git(&["rev-parse", "main"]), edits.commit);
    assert_eq!(world.git(&["branch", "--list", "watchkeeper/*"]), "");
    assert_eq!(world.git(&["status", "--porcelain", "--", ".", ":!.watchkeeper"]), "A  mine.py");

    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 0.5\n");
    fix::collect(&world.place()).unwrap();
    world.git(&["commit", "-q", "--allow-empty", "-m", "operator's"]);
    let left = fix::merge(&world.place()).unwrap();
    assert_eq!(left, ["the branch moved on: `watchkeeper/fix-one` is left for you to merge"]);
    assert_eq!(world.git(&["branch", "--list", "watchkeeper/*"]), "  watchkeeper/fix-one");
}

#[test]
fn hooks_signing_and_filters_of_the_operator_do_not_get_in_the_way() {
    let world = World::new();
    // Lines end in CR LF in the tree, as a checkout writes them, and in LF in the repository.
    world.git(&["config", "core.autocrlf", "true"]);
    world.remove("train.py");
    world.git(&["checkout", "--", "train.py"]);
    let before = world.all();
    for hook in ["pre-commit", "post-commit", "reference-transaction", "post-checkout", "commit-msg"] {
        let path = format!(".git/hooks/{hook}");
        world.write(&path, "#!/bin/sh\ntouch \"$(git rev-parse --show-toplevel)/hooked\"\nexit 1\n");
        world.chmod(&path, 0o755);
    }
    world.git(&["config", "commit.gpgsign", "true"]);
    world.git(&["config", "gpg.program", "false"]);
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = 0.5\r\n");
    fix::collect(&world.place()).unwrap();
    assert_eq!(
        world.git(&["cat-file", "-s", "watchkeeper/fix-one:train.py"]),
        "9",
        "line ends as the repository has them"
    );
    fix::restore(&world.place()).unwrap();
    assert!(!world.root().join("hooked").exists());
    assert_eq!(world.all(), before);
    assert_eq!(world.git(&["status", "--porcelain", "--", ".", ":!.watchkeeper"]), "");
}

#[test]
fn submodules_and_nested_repositories_are_left_alone() {
    let world = World::new();
    let other = World::new();
    world.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        &other.root().to_string_lossy(),
        "sub",
    ]);
    world.git(&["commit", "-q", "-m", "sub"]);
    world.git(&["init", "-q", "nested"]);
    world.write("nested/file", "theirs\n");
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("sub/train.py", "agent\n");
    world.write("nested/file", "agent\n");
    world.write("train.py", "agent\n");
    fix::collect(&world.place()).unwrap();
    assert_eq!(world.fixed(), "M\ttrain.py");
    fix::restore(&world.place()).unwrap();
    assert_eq!(world.all()["sub/train.py"], "644 agent\n");
    assert_eq!(world.all()["nested/file"], "644 agent\n");
    assert_eq!(world.all()["train.py"], "644 lr = 1\n");
}

#[test]
fn links_never_lead_out_of_the_tree() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("net.py"), "not ours\n").unwrap();
    let before = world.all();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    std::fs::remove_dir_all(world.root().join("src")).unwrap();
    std::os::unix::fs::symlink(&outside, world.root().join("src")).unwrap();
    let place = Place { dir: world.root(), ..world.place() };
    fix::collect(&place).unwrap();
    assert_eq!(world.fixed(), "A\tsrc\nD\tsrc/net.py");
    fix::restore(&place).unwrap();
    assert_eq!(world.all(), before);
    assert_eq!(std::fs::read_to_string(outside.join("net.py")).unwrap(), "not ours\n");
}

#[test]
fn one_healing_at_a_time_has_a_tree() {
    const HELD: &str = "another healing is at work in this tree";
    let world = World::new();
    let other = {
        let store = world.dir.path().join("elsewhere/fixes/two");
        Place { incident: "two".into(), store, ..world.place() }
    };
    let refused = |place: &Place| {
        let said = fix::begin(place, Dirty::Stash).unwrap_err();
        assert!(said.contains(HELD) && !place.store.exists(), "{said}");
    };
    let free = || std::fs::read_link(world.root().join(".git/watchkeeper-healing")).is_err();
    type End = fn(&Place) -> Result<Vec<String>, String>;
    let ends: [End; 3] = [fix::restore, fix::keep, fix::merge];
    for (n, end) in ends.iter().enumerate() {
        let before = world.all();
        fix::begin(&world.place(), Dirty::Refuse).unwrap();
        refused(&other);
        fix::begin(&world.place(), Dirty::Refuse).unwrap();
        world.write("train.py", &format!("lr = agent {n}\n"));
        fix::collect(&world.place()).unwrap();
        refused(&other);
        assert!(!free());
        assert_eq!(end(&world.place()).unwrap(), Vec::<String>::new());
        assert!(free(), "{n}");
        if n == 0 {
            assert_eq!(world.all(), before);
        }
        fix::forget(&world.place()).unwrap();
        fix::clear(&world.place());
    }
    // An agent that edits nothing; a beginning that is refused; one that was killed before its end.
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    fix::collect(&world.place()).unwrap();
    assert!(free());
    fix::clear(&world.place());
    world.write("train.py", "lr = operator\n");
    world.refused(Dirty::Refuse, "uncommitted work");
    assert!(free() && !world.place().store.exists());
    // Whose records are gone is over.
    let marker = world.root().join(".git/watchkeeper-healing");
    std::os::unix::fs::symlink(&other.store, &marker).unwrap();
    fix::begin(&world.place(), Dirty::Stash).unwrap();
    refused(&other);
    // Another tree of the same repository is another tree.
    let second = world.dir.path().join("second");
    world.git(&["worktree", "add", "-q", "-b", "second", &second.to_string_lossy()]);
    fix::begin(&Place { dir: second, ..other.clone() }, Dirty::Refuse).unwrap();
    fix::restore(&world.place()).unwrap();
    assert!(free());
    assert_eq!(world.all()["train.py"], "644 lr = operator\n");
    let place = Place { store: world.dir.path().join("three"), ..other };
    std::fs::create_dir(&place.store).unwrap();
    std::os::unix::fs::symlink(&place.store, &marker).unwrap();
    fix::clear_unbegun(&place);
    assert!(free());
}

#[test]
fn files_that_git_does_not_look_at_are_not_answered_for() {
    const SAID: &str = "git is told not to look at";
    for flag in ["--skip-worktree", "--assume-unchanged"] {
        let world = World::new();
        world.git(&["update-index", flag, "train.py"]);
        world.write("train.py", "lr = mine and hidden\n");
        world.refused(Dirty::Refuse, SAID);
        world.write("run.sh", "work\n");
        let flags = world.git(&["ls-files", "-v"]);
        let before = world.all();
        world.refused(Dirty::Stash, SAID);
        assert_eq!((world.all(), world.git(&["ls-files", "-v"])), (before, flags));
    }
    let world = World::new();
    world.git(&["sparse-checkout", "set", "--no-cone", "/*", "!/run.sh"]);
    let (before, flags) = (world.all(), world.git(&["ls-files", "-v"]));
    assert!(flags.contains("S run.sh") && !before.contains_key("run.sh"), "{flags}");
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "lr = agent\n");
    fix::collect(&world.place()).unwrap();
    assert_eq!(world.fixed(), "M\ttrain.py");
    fix::restore(&world.place()).unwrap();
    assert_eq!((world.all(), world.git(&["ls-files", "-v"])), (before, flags));
    fix::clear(&world.place());
    world.write("train.py", "lr = operator\n");
    world.refused(Dirty::Stash, SAID);
}

#[test]
fn what_can_not_be_answered_for_is_refused() {
    let world = World::new();
    world.write(".git/MERGE_HEAD", "0000000000000000000000000000000000000000\n");
    world.refused(Dirty::Stash, "a merge is under way");
    let empty = tempfile::tempdir().unwrap();
    let place = Place { dir: empty.path().into(), ..world.place() };
    assert!(fix::begin(&place, Dirty::Stash).unwrap_err().contains("is in no git tree"));
    let said = fix::collect(&World::new().place()).unwrap_err();
    assert_eq!(said, "nothing is known of the tree before the agent");
}

#[test]
fn a_second_beginning_keeps_what_the_first_one_saw() {
    let world = World::new();
    let before = world.all();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    world.write("train.py", "agent\n");
    // The watchdog was killed, and begins again while the agent is at work.
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    fix::restore(&world.place()).unwrap();
    assert_eq!(world.all(), before);
    fix::forget(&world.place()).unwrap();
    assert_eq!(world.git(&["for-each-ref", "refs/watchkeeper"]), "");
}

#[test]
fn an_agent_that_edits_nothing_leaves_no_branch() {
    let world = World::new();
    fix::begin(&world.place(), Dirty::Refuse).unwrap();
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!((edits.branch.as_str(), edits.paths.len()), ("", 0));
    assert_eq!(world.git(&["branch", "--list", "watchkeeper/*"]), "");
}

/// Before the tree is touched, all that protects the operator's work has reached the disk.
#[test]
fn what_protects_the_work_would_outlast_a_power_cut() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("not tested here: no strace");
        return;
    }
    let world = World::new();
    world.write("train.py", "lr = operator\n");
    world.write("notes/deep.txt", "untracked\n");
    let trace = world.dir.path().join("trace");
    let traced = |command: &mut Command| {
        let mut strace = Command::new("strace");
        let calls = "trace=fsync,fdatasync,rename,renameat,renameat2";
        strace.args(["-f", "-y", "-s", "4096", "-e", calls, "-o"]).arg(&trace).arg(command.get_program());
        strace.args(command.get_args());
        strace
    };
    assert!(!job_by(&world, FixStep::Dirty, "true", 0, traced));
    let trace = std::fs::read_to_string(&trace).unwrap();
    let root = world.root().canonicalize().unwrap();
    let touched = format!("\"{}\"", root.join("train.py").display());
    let before = trace.split_once(&touched).expect("the tree is touched").0;
    let store = root.join(".watchkeeper/fixes/p-1");
    let synced = |path: &str| before.lines().any(|line| line.contains("sync(") && line.contains(path));
    for dir in ["", "/work", "/work/notes"] {
        assert!(synced(&format!("{}{dir}>", store.display())), "{dir}: {before}");
    }
    for name in ["p-1", "one"] {
        assert!(synced(&format!("/{name}.lock>")), "{name}: {before}");
    }
    // Each record's bytes, before it got its name.
    for (n, line) in before.lines().enumerate().filter(|(_, line)| line.contains("rename")) {
        let Some(from) = line.split('"').nth(1).filter(|from| from.starts_with(&*store.to_string_lossy()))
        else {
            continue;
        };
        let earlier = before.lines().take(n);
        // (Git's own, for an index of a moment.)
        let is_lock = from.ends_with(".lock");
        let is_synced = earlier.into_iter().any(|line| line.contains("sync(") && line.contains(from));
        assert!(is_lock || is_synced, "{from}");
    }
    let objects = before.lines().filter(|line| line.contains("sync(") && line.contains("/objects/")).count();
    assert!(objects >= 5, "{objects}");
}

/// Runs a step of a fix as the watchdog does, beside a git that kills it at the call of that number; true = it was killed.
fn job(world: &World, step: FixStep, script: &str, killed_at: usize) -> bool {
    job_by(world, step, script, killed_at, |command| std::mem::replace(command, Command::new("true")))
}

/// The same, with its command made into another one.
fn job_by(
    world: &World,
    step: FixStep,
    script: &str,
    killed_at: usize,
    by: impl Fn(&mut Command) -> Command,
) -> bool {
    let place = world.place();
    let dir = place.state_dir.join("jobs/p.heal.1");
    std::fs::create_dir_all(&dir).unwrap();
    let job = Job {
        id: "p.heal.1".into(),
        argv: vec!["sh".into(), "-c".into(), script.into()],
        env: BTreeMap::new(),
        dir: world.root().to_string_lossy().into_owned(),
        deadline_s: 60,
        env_remove: Vec::new(),
        stdin: None,
        awaited: true,
        fix: Some(FixJob { incident: "one".into(), attempt: "p-1".into(), step, files: Vec::new() }),
    };
    std::fs::write(dir.join("job.json"), serde_json::to_string(&job).unwrap()).unwrap();
    for file in ["output", "errors"] {
        std::fs::write(dir.join(file), "").unwrap();
    }
    let bin = world.dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let stumbles = std::fs::read_to_string(bin.join("stumbles")).unwrap_or_default();
    let script = format!(
        "#!/bin/sh\n{stumbles}\nN=$(($(cat '{0}/count') + 1)); echo $N > '{0}/count'\nif [ $N = {killed_at} ]; then kill -9 $PPID; exit 1; fi\n\
         PATH='{path}'; exec git \"$@\"\n",
        bin.display()
    );
    std::fs::write(bin.join("git"), script).unwrap();
    std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(bin.join("count"), "0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
    let ended = by(command.args(["job".as_ref(), dir.as_os_str()]))
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status()
        .unwrap();
    !ended.success()
}

/// What git does at its next call with such arguments.
fn stumble(world: &World, args: &str, what: &str) {
    let bin = world.dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let once = bin.join("once");
    let _ = std::fs::remove_file(&once);
    let script =
        format!("case \"$*\" in *{args}*) [ -e '{0}' ] || {{ : > '{0}'; {what}; }};; esac", once.display());
    std::fs::write(bin.join("stumbles"), script).unwrap();
}

/// What the job's end says.
fn ended(world: &World) -> String {
    let dir = world.place().state_dir.join("jobs/p.heal.1");
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    read("exit.json") + &read("fix.json")
}

#[test]
fn a_git_that_fails_is_no_proof_that_there_is_no_tree() {
    let check = |spoil: &dyn Fn(&World)| {
        let world = World::new();
        world.write("train.py", "lr = operator\n");
        spoil(&world);
        job(&world, FixStep::Clean, "echo agent > train.py", 0);
        assert!(ended(&world).contains("git can't answer for"), "{}", ended(&world));
        let now = std::fs::read_to_string(world.root().join("train.py")).unwrap();
        assert_eq!(now, "lr = operator\n");
    };
    check(&|world| {
        let config = std::fs::OpenOptions::new().append(true).open(world.root().join(".git/config"));
        config.unwrap().write_all(b"[broken\n").unwrap();
    });
    check(&|world| stumble(world, "--show-toplevel", "echo 'fatal: out of memory' >&2; exit 128"));
    check(&|world| stumble(world, "--show-toplevel", "kill -9 $$"));
    // There is none.
    let world = World::new();
    std::fs::remove_dir_all(world.root().join(".git")).unwrap();
    job(&world, FixStep::Clean, "echo agent > train.py", 0);
    assert!(ended(&world).contains("is in no git tree"), "{}", ended(&world));
}

#[test]
fn a_git_that_fails_is_no_proof_that_the_repository_is_gone() {
    for what in ["kill -9 $$", "echo 'fatal: out of memory' >&2; exit 128"] {
        let world = World::new();
        world.write("train.py", "lr = operator\n");
        let before = world.all();
        stumble(&world, "cat-file*-e\\ *|*cat-file*--batch-check", what);
        job(&world, FixStep::Dirty, "echo agent > new.py", 0);
        assert!(!ended(&world).contains("is gone"), "{}", ended(&world));
        assert!(ended(&world).contains("\"open\": true"), "{}", ended(&world));
        assert!(!job(&world, FixStep::Restore, "", 0), "{}", ended(&world));
        assert_eq!(world.all(), before, "{}", ended(&world));
    }
    // Another one is not the one that it began in; a part of one is none.
    let gone = |spoil: &dyn Fn(&World)| {
        let world = World::new();
        fix::begin(&world.place(), Dirty::Refuse).unwrap();
        assert!(!fix::is_gone(&world.place()).unwrap());
        spoil(&world);
        assert!(fix::is_gone(&world.place()).unwrap());
    };
    gone(&|world| {
        std::fs::remove_dir_all(world.root().join(".git")).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
    });
    gone(&|world| std::fs::remove_dir_all(world.root().join(".git/objects")).unwrap());
}

#[test]
fn a_call_of_git_that_fails_forgets_no_kept_fix_and_no_marker() {
    let world = World::new();
    job(&world, FixStep::Clean, "echo 'lr = agent' > train.py", 0);
    stumble(&world, "--absolute-git-dir", "exit 128");
    assert!(!job(&world, FixStep::Keep, "", 0), "{}", ended(&world));
    assert!(std::fs::read_link(world.root().join(".git/watchkeeper-healing")).is_err());
    let kept = world.place().state_dir.join("fixes/p-1/kept.json");
    assert!(kept.exists());
    for what in ["kill -9 $$", "exit 128"] {
        stumble(&world, "merge-base", what);
        job(&world, FixStep::Clean, "echo never", 0);
        assert!(kept.exists(), "{what}: {}", ended(&world));
    }
}

#[test]
fn an_agent_that_removes_the_records_is_told_of_with_the_command_that_brings_work_back() {
    let world = World::new();
    world.write("train.py", "lr = operator\n");
    job(&world, FixStep::Dirty, "rm -r .watchkeeper/fixes", 0);
    let said = ended(&world);
    let name = world.git(&["for-each-ref", "--format=%(refname)", "refs/watchkeeper/stash"]);
    assert!(
        said.contains("records of the healing") && said.contains(&format!("stash apply {name}`")),
        "{said}"
    );
    world.git(&["stash", "apply", "-q", &name]);
    assert_eq!(world.all()["train.py"], "644 lr = operator\n");
}

/// Two trees of a repository, and an attempt whose records were lost: each one's work keeps its name.
#[test]
fn no_work_takes_the_name_of_other_work() {
    let world = World::new();
    let (one, two) = (world.place(), world.dir.path().join("two"));
    world.git(&["worktree", "add", "-q", "-b", "two", &two.to_string_lossy()]);
    let state_dir = two.join(".watchkeeper");
    let two = Place { dir: two.clone(), store: state_dir.join("fix/one"), state_dir, ..one.clone() };
    let stashes = || world.git(&["for-each-ref", "--format=%(refname)", "refs/watchkeeper/stash"]);
    let work = |name: &str| world.git(&["show", &format!("{name}:train.py")]);
    world.write("train.py", "a week of work\n");
    std::fs::write(two.dir.join("train.py"), "work of two\n").unwrap();
    fix::begin(&one, Dirty::Stash).unwrap();
    let first = stashes();
    fix::begin(&two, Dirty::Stash).unwrap();
    assert_eq!((stashes().lines().count(), work(&first)), (2, "a week of work".into()));
    assert_eq!(fix::keep(&two).unwrap(), Vec::<String>::new());
    fix::forget(&two).unwrap();
    fix::clear(&two);
    assert_eq!(stashes(), first);
    // Its records are lost, and there is one of that name again.
    std::fs::remove_dir_all(&one.store).unwrap();
    world.write("train.py", "a little more\n");
    let said = fix::begin(&one, Dirty::Stash).unwrap_err();
    assert!(said.contains(&format!("git stash apply {first}")), "{said}");
    fix::begin(&one, Dirty::Stash).unwrap();
    assert_eq!((stashes(), work(&first)), (format!("{first}\n{first}.2"), "a week of work".into()));
    assert_eq!(work(&format!("{first}.2")), "a little more");
    assert_eq!(fix::keep(&one).unwrap(), Vec::<String>::new());
    fix::forget(&one).unwrap();
    assert_eq!(stashes(), first);
    assert_eq!(world.git(&["for-each-ref", "refs/watchkeeper/guard"]).lines().count(), 1, "the lost one's");
}

/// Killed at each call of git, before, during and after the agent: the operator's work comes back exactly.
#[test]
fn whoever_is_killed_while_work_is_put_aside_or_back_loses_none_of_it() {
    const AGENT: &str = "echo 'lr = agent' > train.py; echo agent > new.py; rm run.sh";
    let run = |killed_at: usize| {
        let world = World::new();
        world.write("train.py", "lr = operator\n");
        world.write("notes.txt", "untracked\n");
        world.remove("src/net.py");
        world.git(&["add", "notes.txt"]);
        let before = world.all();
        let killed = job(&world, FixStep::Dirty, AGENT, killed_at);
        if killed {
            // A git that the killed one left behind may hold a lock for a moment: it is tried again, as by the watchdog.
            for _ in 0..4 {
                assert!(!job(&world, FixStep::Restore, "", 0), "call {killed_at}");
                if world.all() == before {
                    break;
                }
            }
        } else {
            assert_eq!(world.all()["train.py"], "644 lr = agent\n", "call {killed_at}");
            // Killed while it is taken back, too.
            for at in (2..200).step_by(7) {
                if !job(&world, FixStep::Restore, "", at) {
                    break;
                }
            }
        }
        assert_eq!(world.all(), before, "killed at call {killed_at} of git");
        killed
    };
    // Two at once, each some calls apart; all of them with EVERY=1.
    let apart = if std::env::var_os("EVERY").is_some() { 2 } else { 13 };
    let last = std::thread::scope(|scope| {
        let runs = [3, 4].map(|first| {
            scope.spawn(move || (first..).step_by(apart).take(100).find(|at| !run(*at)).unwrap())
        });
        runs.map(|run| run.join().unwrap())
    });
    assert!(last.iter().all(|calls| (30..150).contains(calls)), "{last:?} calls of git");
}
