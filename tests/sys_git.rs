//! The branch as real git repositories show it: references in all their forms, files of a commit, what came since.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use watchkeeper::model::seen::SinceSeen;
use watchkeeper::sys::git::{BranchQuery, look, tip};

/// An origin, a writer's clone, and the clone that is read.
struct Repos {
    dir: tempfile::TempDir,
}

impl Repos {
    fn new() -> Repos {
        let repos = Repos { dir: tempfile::tempdir().unwrap() };
        repos.git(".", &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        repos.git(".", &["clone", "-q", "origin.git", "writer"]);
        repos.commit("begin", &[("README", "hello\n")]);
        repos.push(&[]);
        repos.git(".", &["clone", "-q", "origin.git", "reader"]);
        repos
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, dir: &str, args: &[&str]) -> String {
        let ran = Command::new("git")
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "init.defaultBranch=main",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(args)
            .current_dir(self.path(dir))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@example.org")])
            .envs([("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@example.org")])
            .output()
            .unwrap();
        assert!(ran.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn commit(&self, subject: &str, files: &[(&str, &str)]) -> String {
        for (file, text) in files {
            let path = self.path("writer").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git("writer", &["add", "-A"]);
        self.git("writer", &["commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m", subject]);
        self.git("writer", &["rev-parse", "HEAD"])
    }

    fn push(&self, more: &[&str]) {
        self.git("writer", &[&["push", "-q", "origin", "main"], more].concat());
    }

    fn fetch(&self) -> String {
        self.git("reader", &["fetch", "-q", "origin", "+refs/heads/main:refs/remotes/origin/main"]);
        self.tip("reader").unwrap().unwrap()
    }

    fn tip(&self, name: &str) -> Result<Option<String>, String> {
        tip(&self.path(name), "origin", "main")
    }

    fn query(&self, head: &str, since: Option<&str>) -> BranchQuery {
        BranchQuery {
            repo: self.path("reader"),
            head: head.to_owned(),
            since: since.map(str::to_owned),
            status: BTreeMap::from([("1".into(), "docs/S1.md".into()), ("2".into(), "docs/S 2.md".into())]),
            inboxes: BTreeMap::from([("IN.md".into(), "docs/IN.md".into()), ("other".into(), "docs".into())]),
            done_marker: "## DONE".into(),
        }
    }

    fn subjects(&self, head: &str, since: &str) -> Vec<String> {
        match look(&self.query(head, Some(since))).unwrap().since {
            SinceSeen::Commits(commits) => commits.into_iter().map(|commit| commit.subject).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_tip_is_found_loose_packed_in_a_worktree_and_in_a_bare_repository() {
    let repos = Repos::new();
    let head = repos.git("writer", &["rev-parse", "HEAD"]);
    assert_eq!(repos.tip("reader"), Ok(Some(head.clone())));
    repos.git("reader", &["pack-refs", "--all"]);
    assert_eq!(repos.tip("reader"), Ok(Some(head.clone())), "packed");
    repos.commit("two", &[]);
    repos.push(&[]);
    let second = repos.fetch();
    assert_ne!(second, head, "a loose reference beside a packed one wins");
    repos.git("reader", &["worktree", "add", "-q", "../tree", "HEAD"]);
    assert_eq!(repos.tip("tree"), Ok(Some(second.clone())), "a worktree");
    repos.git(".", &["clone", "-q", "--bare", "origin.git", "bare.git"]);
    repos.git("bare.git", &["fetch", "-q", "origin", "+refs/heads/main:refs/remotes/origin/main"]);
    assert_eq!(repos.tip("bare.git"), Ok(Some(second.clone())), "a bare one");
    assert_eq!(tip(&repos.path("reader"), "origin", "none"), Ok(None));
    assert_eq!(tip(&repos.path("reader"), "upstream", "main"), Ok(None));
    // A symbolic reference.
    assert_eq!(tip(&repos.path("reader"), "origin", "HEAD"), Ok(Some(second)));
}

#[test]
fn references_in_a_reftable_are_asked_for() {
    let repos = Repos::new();
    let made = Command::new("git")
        .args(["clone", "-q", "--ref-format=reftable", "origin.git", "table"])
        .current_dir(repos.dir.path())
        .output()
        .unwrap();
    if !made.status.success() {
        println!("skipped: this git knows no reftable");
        return;
    }
    assert_eq!(repos.tip("table"), repos.tip("reader"));
    assert_eq!(tip(&repos.path("table"), "origin", "none"), Ok(None));
}

#[test]
fn what_is_no_repository_says_so() {
    let repos = Repos::new();
    std::fs::create_dir(repos.path("empty")).unwrap();
    assert!(repos.tip("empty").unwrap_err().contains("no git repository"));
    assert!(repos.tip("nothing").unwrap_err().contains("no such folder"));
    let reference = repos.path("reader").join(".git/refs/remotes/origin/main");
    for junk in ["", "junk\n", "ref: ../../../etc/passwd\n", "ref: refs/remotes/origin/main\n"] {
        std::fs::write(&reference, junk).unwrap();
        assert!(repos.tip("reader").is_err(), "{junk:?}");
    }
    std::fs::write(&reference, format!("{}\n", "0".repeat(40))).unwrap();
    let gone = look(&repos.query(&"0".repeat(40), None));
    assert!(gone.unwrap_err().contains("can't be read"), "a commit that is missing is not one without files");
}

#[test]
fn done_markers_and_inboxes_are_read_from_the_commit_and_not_from_the_working_tree() {
    let repos = Repos::new();
    repos.commit(
        "status",
        &[
            ("docs/S1.md", "# one\n\n## DONE\n"),
            ("docs/S 2.md", "## DONE, nearly\n"),
            ("docs/IN.md", "\n  \n"),
        ],
    );
    repos.push(&[]);
    let head = repos.fetch();
    std::fs::create_dir_all(repos.path("reader").join("docs")).unwrap();
    std::fs::write(repos.path("reader").join("docs/S 2.md"), "## DONE\n").unwrap();
    let facts = look(&repos.query(&head, None)).unwrap();
    assert_eq!(facts.done, ["1"]);
    assert!(facts.inboxes.is_empty(), "one of blanks is empty, a folder is no file");
    repos.commit("inbox", &[("docs/IN.md", "look at this\n"), ("docs/S 2.md", "## DONE\n")]);
    repos.push(&[]);
    let head = repos.fetch();
    let facts = look(&repos.query(&head, None)).unwrap();
    assert_eq!(facts.done, ["1", "2"], "a name with a blank, too");
    let first = facts.inboxes["IN.md"].clone();
    repos.commit("again", &[("docs/IN.md", "something else\n")]);
    repos.push(&[]);
    let head = repos.fetch();
    assert_ne!(look(&repos.query(&head, None)).unwrap().inboxes["IN.md"], first);
}

#[test]
fn commits_since_come_oldest_first_with_whatever_their_subjects_hold() {
    let repos = Repos::new();
    let old = repos.fetch();
    for subject in ["claim(a): x", "review: \u{1b}[31mred\u{7} \t tab", "übung 🎉", "", "two\nlines\n\nbody"]
    {
        repos.commit(if subject.is_empty() { " " } else { subject }, &[]);
    }
    repos.push(&[]);
    let head = repos.fetch();
    let subjects = repos.subjects(&head, &old);
    assert_eq!(subjects.len(), 5, "{subjects:?}");
    assert_eq!(subjects[0], "claim(a): x");
    assert!(subjects[1].contains('\u{1b}'), "as it is; who quotes it cleans it");
    assert_eq!(subjects[2], "übung 🎉");
    assert!(subjects[4].starts_with("two"));
    assert_eq!(look(&repos.query(&head, Some(&head))).unwrap().since, SinceSeen::Nothing);
    assert_eq!(look(&repos.query(&head, None)).unwrap().since, SinceSeen::Nothing);
}

#[test]
fn a_merge_brings_all_its_commits_once() {
    let repos = Repos::new();
    let old = repos.fetch();
    repos.git("writer", &["checkout", "-q", "-b", "side"]);
    repos.commit("claim(side): s", &[("s", "s")]);
    repos.git("writer", &["checkout", "-q", "main"]);
    repos.commit("claim(main): m", &[("m", "m")]);
    repos.git("writer", &["merge", "-q", "--no-ff", "-m", "merge side", "side"]);
    repos.push(&[]);
    let head = repos.fetch();
    let mut subjects = repos.subjects(&head, &old);
    assert_eq!(subjects.pop().as_deref(), Some("merge side"));
    subjects.sort();
    assert_eq!(subjects, ["claim(main): m", "claim(side): s"]);
}

#[test]
fn a_rewrite_a_shallow_edge_and_an_unknown_head_are_no_history() {
    let repos = Repos::new();
    repos.commit("one", &[]);
    repos.push(&[]);
    let old = repos.fetch();
    repos.git("writer", &["commit", "-q", "--amend", "--allow-empty", "-m", "claim(z): rewritten"]);
    repos.push(&["--force"]);
    let head = repos.fetch();
    let since = |old: &str, head: &str| look(&repos.query(head, Some(old))).unwrap().since;
    assert_eq!(since(&old, &head), SinceSeen::Rewritten, "force-pushed");
    assert_eq!(since(&"1".repeat(40), &head), SinceSeen::Rewritten, "never heard of");
    assert_eq!(since("--output=/tmp/x", &head), SinceSeen::Rewritten, "an edited file");
    let url = format!("file://{}", repos.path("origin.git").display());
    repos.git(".", &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = BranchQuery {
        repo: repos.path("shallow"),
        ..repos.query(&head, Some(&repos.git("writer", &["rev-parse", "HEAD~1"])))
    };
    assert_eq!(look(&shallow).unwrap().since, SinceSeen::Rewritten, "beyond the edge of a shallow clone");
    repos.commit("claim(new): after", &[]);
    repos.push(&[]);
    repos.git(
        "shallow",
        &["fetch", "-q", "--depth", "5", "origin", "+refs/heads/main:refs/remotes/origin/main"],
    );
    let next = repos.tip("shallow").unwrap().unwrap();
    let shallow = BranchQuery { repo: repos.path("shallow"), ..repos.query(&next, Some(&head)) };
    match look(&shallow).unwrap().since {
        SinceSeen::Commits(commits) => assert_eq!(commits.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn very_many_commits_are_bounded_to_the_newest() {
    let repos = Repos::new();
    let old = repos.fetch();
    let mut import = String::new();
    for n in 0..600 {
        import.push_str(&format!(
            "commit refs/heads/main\ncommitter t <t@example.org> {n} +0000\ndata <<E\nc{n}\nE\n\n"
        ));
        if n == 0 {
            import.push_str(&format!("from {old}\n"));
        }
    }
    let file = repos.path("import");
    std::fs::write(&file, import).unwrap();
    let ran = Command::new("git")
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(repos.path("origin.git"))
        .stdin(std::fs::File::open(&file).unwrap())
        .status()
        .unwrap();
    assert!(ran.success());
    let head = repos.fetch();
    let subjects = repos.subjects(&head, &old);
    assert_eq!((subjects.len(), subjects[499].as_str()), (500, "c599"));
}

#[test]
fn a_partial_clone_says_so_instead_of_nothing_is_done() {
    let repos = Repos::new();
    repos.commit("status", &[("docs/S1.md", "## DONE\n")]);
    repos.push(&[]);
    repos.git("origin.git", &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", repos.path("origin.git").display());
    repos.git(".", &["clone", "-q", "--no-checkout", "--filter=blob:none", &url, "partial"]);
    let head = repos.tip("partial").unwrap().unwrap();
    let query = BranchQuery { repo: repos.path("partial"), ..repos.query(&head, None) };
    assert!(look(&query).unwrap_err().contains("partial clone"));
}

#[test]
fn a_large_file_is_left_out_by_name_and_the_others_count() {
    let repos = Repos::new();
    let large = format!("{}\n## DONE\n", "x".repeat(2 << 20));
    repos.commit("status", &[("docs/S1.md", &large), ("docs/S 2.md", "## DONE\n"), ("docs/IN.md", &large)]);
    repos.push(&[]);
    let head = repos.fetch();
    let facts = look(&repos.query(&head, None)).unwrap();
    assert_eq!(facts.done, ["2"]);
    assert!(facts.inboxes.contains_key("IN.md"), "an inbox need not be read to have changed");
    assert_eq!(facts.left_out.len(), 2, "{:?}", facts.left_out);
    assert!(facts.left_out.iter().any(|text| text.contains("docs/S1.md")));
}

#[test]
fn a_folder_inside_another_repository_is_not_that_repository() {
    let repos = Repos::new();
    let head = repos.fetch();
    std::fs::create_dir(repos.path("reader").join("inner")).unwrap();
    assert!(repos.tip("reader/inner").unwrap_err().contains("no git repository"));
    let query = BranchQuery { repo: repos.path("reader").join("inner"), ..repos.query(&head, None) };
    assert!(look(&query).is_err());
}
