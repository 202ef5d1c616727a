//! Fix branches over real repositories: the operator's work is exactly what it was, whatever the agent did.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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

#[test]
fn uncommitted_work_refuses_or_stays_untouched_and_off_the_branch() {
    let world = World::new();
    world.write("train.py", "lr = 1\nmine = 1\n");
    world.refused(Dirty::Refuse, "the tree has uncommitted work (1 files: `train.py`)");
    world.write("staged.py", "staged\n");
    world.git(&["add", "staged.py"]);
    world.write("staged.py", "and changed again\n");
    world.write("notes.txt", "untracked\n");
    world.chmod("notes.txt", 0o600);
    let before = world.all();
    fix::begin(&world.place(), Dirty::Keep).unwrap();
    world.write("train.py", "lr = 2\nmine = 1\n");
    world.write("src/net.py", "def f():\n    return 1\n");
    world.remove("notes.txt");
    world.write("staged.py", "agent\n");
    let edits = fix::collect(&world.place()).unwrap();
    assert_eq!(world.fixed(), "M\tsrc/net.py", "nothing of the operator's");
    assert_eq!(edits.left_out.len(), 3, "{:?}", edits.left_out);
    assert_eq!(fix::restore(&world.place()).unwrap(), Vec::<String>::new());
    assert_eq!(world.all(), before);
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
fn what_can_not_be_answered_for_is_refused() {
    let world = World::new();
    world.write(".git/MERGE_HEAD", "0000000000000000000000000000000000000000\n");
    world.refused(Dirty::Keep, "a merge is under way");
    let empty = tempfile::tempdir().unwrap();
    let place = Place { dir: empty.path().into(), ..world.place() };
    assert!(fix::begin(&place, Dirty::Keep).unwrap_err().contains("is in no git tree"));
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
