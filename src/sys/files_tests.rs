use super::*;
use std::os::unix::fs::PermissionsExt;

fn files() -> (tempfile::TempDir, RealFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = RealFiles::create(dir.path().join("state")).unwrap();
    (dir, files)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const UNIT: &str = "units/a/unit.json";

#[test]
fn a_file_is_replaced_whole_private_and_without_a_trace() {
    let (_dir, mut files) = files();
    assert_eq!(files.read(UNIT, 99).unwrap(), None);
    for (old, new) in [(None, "one"), (Some("one"), "two two"), (Some("two two"), "")] {
        let old = old.map(str::as_bytes);
        for sync in [Sync::Durable, Sync::Cheap] {
            // The second time it holds the new bytes already: done is done.
            assert_eq!(files.replace(UNIT, old, new.as_bytes(), sync).unwrap(), Replaced::Written);
        }
        assert_eq!(files.read(UNIT, 99).unwrap().unwrap(), new.as_bytes());
    }
    assert_eq!(names(&files.root().join("units/a")), ["unit.json"]);
    assert_eq!(mode(&files.root().join(UNIT)), 0o600);
    assert_eq!(mode(&files.root().join("units/a")), 0o700);
    assert_eq!(mode(files.root()), 0o700);
}

#[test]
fn unchanged_bytes_are_not_written() {
    let (_dir, mut files) = files();
    files.replace(UNIT, None, b"same", Sync::Durable).unwrap();
    let before = std::fs::metadata(files.root().join(UNIT)).unwrap();
    assert_eq!(files.replace(UNIT, Some(b"same"), b"same", Sync::Durable).unwrap(), Replaced::Written);
    let after = std::fs::metadata(files.root().join(UNIT)).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&before), std::os::unix::fs::MetadataExt::ino(&after));
}

#[test]
fn an_edit_always_wins() {
    #[track_caller]
    fn check(on_disk: Option<&str>, expected: Option<&str>) {
        let (_dir, mut files) = files();
        let full = files.root().join(UNIT);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        if let Some(text) = on_disk {
            std::fs::write(&full, text).unwrap();
        }
        let replaced = files.replace(UNIT, expected.map(str::as_bytes), b"ours", Sync::Durable).unwrap();
        assert_eq!(replaced, Replaced::Yielded);
        assert_eq!(std::fs::read_to_string(&full).ok().as_deref(), on_disk);
        assert!(names(full.parent().unwrap()).iter().all(|n| n == "unit.json"));
    }
    check(Some("edited"), Some("as read"));
    check(Some("edited to be longer"), Some("as read"));
    check(Some(""), Some("as read"));
    check(Some("made meanwhile"), None);
    check(None, Some("deleted meanwhile"));
}

#[test]
fn the_exchange_itself_gives_an_edit_back() {
    // The look before the exchange is skipped here: this is the race that only the exchange can see.
    let dir = tempfile::tempdir().unwrap();
    let (path, temp) = (dir.path().join("f"), dir.path().join("t"));
    let set = |edit: &str| {
        std::fs::write(&path, edit).unwrap();
        std::fs::write(&temp, "ours").unwrap();
    };
    set("edit");
    assert_eq!(exchange(&temp, &path, b"as read", b"ours").unwrap(), Replaced::Yielded);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edit");
    set("as read");
    assert_eq!(exchange(&temp, &path, b"as read", b"ours").unwrap(), Replaced::Written);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&temp, "ours").unwrap();
    assert_eq!(exchange(&temp, &path, b"as read", b"ours").unwrap(), Replaced::Yielded);
    assert!(!path.exists());
    std::fs::write(&path, "made meanwhile").unwrap();
    assert_eq!(put_new(&temp, &path).unwrap(), Replaced::Yielded);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "made meanwhile");
}

#[test]
fn an_edit_that_races_with_our_writes_is_always_seen() {
    let (_dir, mut files) = files();
    let path = files.root().join("unit.json");
    files.replace("unit.json", None, b"0", Sync::Cheap).unwrap();
    let (target, swap_file) = (path.clone(), files.root().join("unit.json.swp"));
    let (tell, seen) = std::sync::mpsc::channel::<String>();
    // Saves as an editor does, and goes on only when the watchdog has read the edit: one that was overwritten
    // unread would never be.
    let operator = std::thread::spawn(move || {
        for n in 0..300 {
            let edit = format!("edit {n}");
            std::fs::write(&swap_file, &edit).unwrap();
            std::fs::rename(&swap_file, &target).unwrap();
            while seen.recv_timeout(std::time::Duration::from_secs(10)).expect("an edit was lost") != edit {}
        }
    });
    let mut written = 0;
    while !operator.is_finished() {
        let old = files.read("unit.json", 99).unwrap();
        let text = String::from_utf8(old.clone().unwrap_or_default()).unwrap();
        if text.starts_with("edit") {
            let _ = tell.send(text);
        }
        let new = format!("ours {written}");
        if files.replace("unit.json", old.as_deref(), new.as_bytes(), Sync::Cheap).unwrap()
            == Replaced::Written
        {
            written += 1;
        }
    }
    operator.join().unwrap();
    assert!(written > 0);
    assert_eq!(names(files.root()), ["unit.json"]);
}

#[test]
fn what_is_no_regular_file_is_an_error_that_says_so() {
    let (_dir, mut files) = files();
    let root = files.root().to_owned();
    std::fs::write(root.join("target"), "secret").unwrap();
    std::os::unix::fs::symlink("target", root.join("link")).unwrap();
    std::fs::create_dir(root.join("dir")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    std::fs::write(root.join("big"), [b'x'; 100]).unwrap();
    for (name, want) in [
        ("link", "is a symbolic link"),
        ("dir", "is a directory"),
        ("fifo", "is a special file"),
        ("big", "is 100 bytes long, at most 99 are read"),
    ] {
        let error = files.read(name, 99).unwrap_err();
        assert!(error.message().ends_with(want), "{name}: {error}");
        assert_eq!(
            files.replace(name, Some(b"old"), b"new", Sync::Cheap).unwrap(),
            Replaced::Yielded,
            "{name}"
        );
        assert_eq!(files.replace(name, None, b"new", Sync::Cheap).unwrap(), Replaced::Yielded, "{name}");
    }
    for name in ["link", "dir", "fifo"] {
        assert!(files.append(name, "x").is_err(), "{name}");
    }
    assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "secret");
}

#[test]
fn no_path_leads_out() {
    let (_dir, mut files) = files();
    for path in ["", "/etc/passwd", "../x", "units/../../x", "a\0b", "."] {
        assert_eq!(files.read(path, 9).unwrap_err().kind(), crate::base::error::Kind::Usage, "{path:?}");
        assert!(files.replace(path, None, b"x", Sync::Cheap).is_err());
        assert!(
            files.append(path, "x").is_err()
                && files.remove(path).is_err()
                && files.quarantine(path).is_err()
        );
    }
}

#[test]
fn a_record_after_a_torn_one_starts_on_its_own_line() {
    let (_dir, mut files) = files();
    files.append("events/d.jsonl", "{1}").unwrap();
    let path = files.root().join("events/d.jsonl");
    std::fs::write(&path, "{1}\n{2").unwrap();
    files.append("events/d.jsonl", "{3}").unwrap();
    files.append("events/d.jsonl", "{4}").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n{2\n{3}\n{4}\n");
    assert!(files.append("events/d.jsonl", "two\nlines").is_err());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_missing_file_is_removed_and_a_missing_folder_is_empty() {
    let (_dir, mut files) = files();
    files.remove("units/a/down").unwrap();
    assert_eq!(files.list("units").unwrap(), [""; 0]);
    files.replace("units/b/down", None, b"", Sync::Durable).unwrap();
    files.replace("units/a/down", None, b"", Sync::Durable).unwrap();
    assert_eq!(files.list("units").unwrap(), ["a", "b"]);
    files.remove("units/a/down").unwrap();
    assert_eq!(files.read("units/a/down", 9).unwrap(), None);
}

#[test]
fn quarantine_keeps_every_byte_once() {
    let (_dir, mut files) = files();
    let root = files.root().to_owned();
    let put = |text: &str| {
        std::fs::create_dir_all(root.join("units/a")).unwrap();
        std::fs::write(root.join(UNIT), text).unwrap();
    };
    put("{broken");
    let first = files.quarantine(UNIT).unwrap();
    assert_eq!(std::fs::read_to_string(root.join(&first)).unwrap(), "{broken");
    assert!(!root.join(UNIT).exists());
    put("{broken");
    assert_eq!(files.quarantine(UNIT).unwrap(), first, "identical bytes once");
    assert!(!root.join(UNIT).exists());
    put("other");
    assert_ne!(files.quarantine(UNIT).unwrap(), first);
    // Another file behind the same name (a digest that collides) is not overwritten either.
    std::fs::write(root.join(&first), "changed").unwrap();
    put("{broken");
    assert_eq!(files.quarantine(UNIT).unwrap(), format!("{first}.1"));
    // Folders and links go as they are.
    std::fs::create_dir(root.join("phase.json")).unwrap();
    assert!(root.join(files.quarantine("phase.json").unwrap()).is_dir());
    std::os::unix::fs::symlink("/etc/passwd", root.join("git.json")).unwrap();
    assert!(root.join(files.quarantine("git.json").unwrap()).is_symlink());
    assert!(files.quarantine("gone").is_err());
}

#[test]
fn a_full_quarantine_takes_nothing_more_and_loses_nothing() {
    let (_dir, mut files) = files();
    let root = files.root().to_owned();
    for n in 0..100 {
        std::fs::write(root.join("f"), n.to_string()).unwrap();
        files.quarantine("f").unwrap();
    }
    std::fs::write(root.join("f"), "one more").unwrap();
    assert!(files.quarantine("f").unwrap_err().to_string().contains("hint:"));
    assert_eq!(std::fs::read_to_string(root.join("f")).unwrap(), "one more");
    std::fs::write(root.join("f"), "7").unwrap();
    files.quarantine("f").unwrap();
}

#[test]
fn leftovers_of_dead_runs_go_but_an_edit_among_them_is_kept() {
    let (_dir, mut files) = files();
    let root = files.root().to_owned();
    std::fs::create_dir_all(root.join("units/a")).unwrap();
    let dead = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let name = |pid: u32, n: u32| format!(".wk-{pid}-{n}-{}-{}.tmp", digest(b"old"), digest(b"new"));
    std::fs::write(root.join(name(dead, 1)), "old").unwrap();
    std::fs::write(root.join("units/a").join(name(dead, 2)), "new").unwrap();
    std::fs::write(root.join("units/a").join(name(dead, 3)), "an operator's edit").unwrap();
    std::fs::write(root.join(name(dead, 4)), "").unwrap();
    // pid 1 lives: its file is in use.
    std::fs::write(root.join(name(1, 5)), "new").unwrap();
    std::fs::write(root.join(".wk-notes"), "not ours").unwrap();
    assert_eq!(files.clean_leftovers().unwrap(), 4);
    assert_eq!(names(&root), [&name(1, 5), ".wk-notes", "quarantine", "units"]);
    assert_eq!(names(&root.join("units/a")), [""; 0]);
    let kept = names(&root.join("quarantine"));
    assert_eq!(kept.len(), 1);
    assert_eq!(
        std::fs::read_to_string(root.join("quarantine").join(&kept[0])).unwrap(),
        "an operator's edit"
    );
}
