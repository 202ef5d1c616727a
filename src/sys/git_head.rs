//! What a repository has checked out, read as files: the commit that code in it should be of.
//!
//! No answer while git is at work (rebase, merge, bisect, pull) and none for a detached head: then nobody can say which
//! commit is meant. Nothing here writes, locks or starts git (but for reftable, which is no file that we read).

use super::git::{REF_MAX, is_plain, own_dir, reference, shared_by, text};
use std::path::Path;

/// How many folders up a repository is looked for.
const DEPTH_MAX: usize = 64;
/// What stands in git's folder while something is under way. Source: git-status(1), wt-status.c.
const UNDER_WAY: [&str; 8] = [
    "rebase-merge",
    "rebase-apply",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "sequencer",
    "index.lock",
];

/// The commit at the head of the branch that is checked out where `folder` lies; why not, if it can't be said now.
pub(super) fn head(folder: &Path) -> Result<String, String> {
    let is_repo = |dir: &&Path| dir.join(".git").symlink_metadata().is_ok();
    let repo = folder.ancestors().take(DEPTH_MAX).find(is_repo).ok_or("it lies in no git repository")?;
    let own = own_dir(repo)?;
    if let Some(what) = UNDER_WAY.into_iter().find(|name| own.join(name).symlink_metadata().is_ok()) {
        return Err(format!("git is at work there (`{what}`)"));
    }
    let line = text(&own.join("HEAD"), REF_MAX)?.ok_or("it has no HEAD")?;
    let branch = line.trim().strip_prefix("ref:").map(str::trim).ok_or("its HEAD is detached")?;
    let shared = shared_by(own)?;
    // (With reftable the file HEAD names a branch that is none, so that older readers fail.)
    let name = if shared.join("reftable").is_dir() { "HEAD" } else { branch };
    if name != "HEAD" && !is_plain(name) {
        return Err(format!("its HEAD names `{name}`"));
    }
    reference(repo, &shared, name.to_owned())?.ok_or_else(|| "its branch has no commit yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::head;
    use std::path::Path;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn repo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ".git/HEAD", "ref: refs/heads/main\n");
        write(dir.path(), ".git/refs/heads/main", &format!("{A}\n"));
        dir
    }

    /// What is said of a repository after this was written into it.
    #[track_caller]
    fn check(files: &[(&str, &str)], folder: &str, want: Result<&str, &str>) {
        let dir = repo();
        for (path, text) in files {
            write(dir.path(), path, text);
        }
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        match (head(&dir.path().join(folder)), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => panic!("{files:?}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn a_branch_that_is_checked_out_has_its_commit() {
        check(&[], "", Ok(A));
        check(&[], "deep/below", Ok(A));
        let packed = format!("# pack-refs with: peeled\n{B} refs/heads/other\n");
        check(&[(".git/HEAD", "ref: refs/heads/other\n"), (".git/packed-refs", &packed)], "", Ok(B));
    }

    #[test]
    fn a_worktree_has_its_own_head_and_the_shared_branches() {
        let dir = repo();
        let tree = dir.path().join("tree");
        write(dir.path(), ".git/refs/heads/side", &format!("{B}\n"));
        write(dir.path(), ".git/worktrees/tree/HEAD", "ref: refs/heads/side\n");
        write(dir.path(), ".git/worktrees/tree/commondir", "../..\n");
        write(&tree, ".git", &format!("gitdir: {}/.git/worktrees/tree\n", dir.path().display()));
        assert_eq!(head(&tree).unwrap(), B);
        assert_eq!(head(dir.path()).unwrap(), A);
        write(dir.path(), ".git/worktrees/tree/MERGE_HEAD", B);
        assert!(head(&tree).is_err());
        assert_eq!(head(dir.path()).unwrap(), A, "the other one is at peace");
    }

    #[test]
    fn nobody_can_say_while_git_is_at_work_or_no_branch_is_checked_out() {
        for file in ["rebase-merge/done", "rebase-apply/next", "MERGE_HEAD", "BISECT_LOG", "index.lock"] {
            check(&[(&format!(".git/{file}"), "x")], "", Err("git is at work"));
        }
        check(&[(".git/HEAD", A)], "", Err("detached"));
        check(&[(".git/HEAD", "ref: refs/heads/none\n")], "", Err("no commit yet"));
        check(&[(".git/HEAD", "ref: refs/../../etc/passwd\n")], "", Err("names"));
        check(&[(".git/HEAD", "\0\0")], "", Err("detached"));
        let dir = tempfile::tempdir().unwrap();
        assert!(head(dir.path()).is_err());
        assert!(head(&dir.path().join("missing")).is_err());
    }

    /// Remembered as long as the file is the one that was read.
    #[test]
    fn packed_branches_are_read_again_when_they_change() {
        let dir = repo();
        std::fs::remove_file(dir.path().join(".git/refs/heads/main")).unwrap();
        let path = dir.path().join(".git/packed-refs");
        // As git does it: a new file in its place.
        let pack = |id: &str| {
            let new = dir.path().join(".git/packed-refs.new");
            std::fs::write(&new, format!("{id} refs/heads/main\n")).unwrap();
            std::fs::rename(new, &path).unwrap();
        };
        for id in [A, B, A] {
            pack(id);
            assert_eq!(head(dir.path()).unwrap(), id);
            assert_eq!(head(dir.path()).unwrap(), id);
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !super::super::git::is_remembered(&path) {
            assert!(std::time::Instant::now() < end, "it is never old enough");
            assert_eq!(head(dir.path()).unwrap(), A);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(head(dir.path()).unwrap(), A, "from memory");
        pack(B);
        assert_eq!(head(dir.path()).unwrap(), B);
        std::fs::remove_file(&path).unwrap();
        assert!(head(dir.path()).is_err());
    }
}
