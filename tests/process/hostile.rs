//! A child that prints what is meant to harm whoever reads it, and a watchdog that reads it to the end.

use super::{Instant, PATIENCE, Pid, Signal, World, fs, kill_process};
use std::path::Path;

/// A line of 50 MB, then escape sequences, bytes that are no UTF-8, things that look like traces, and one that is one.
const SCRIPT: &str = r#"
while ! test -e go; do sleep 0.02; done
head -c 50000000 /dev/zero | tr '\0' x; echo
printf '\033[2J\033]0;owned\007\033[31mERROR\033[0m \033]52;c;b3duZWQ=\007 needle \033[8m\r\r\b\b\n'
printf '\377\376\200 needle \300\257\n'
head -c 300000 /dev/zero | tr '\0' '\377'; echo
printf 'Traceback (most recent call last):\nand nothing of the kind\n'
printf '{"log": "Traceback (most recent call last):"}\n'
printf 'goroutine 1 of a book\n'
printf '\tat the market\n'
yes 'Traceback (most recent call last):' | head -n 3000
echo all is well
printf 'Traceback (most recent call last):\n  File "train.py", line 7, in <module>\n    step(\377\033[2J)\n'
printf 'ValueError: the real one \033]0;owned\007\n'
touch printed
exit 3
"#;

/// The most memory that a process ever had, MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// All files below a folder with their bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}

#[test]
fn a_hostile_child_is_never_blocked_and_its_reader_neither_grows_nor_is_fooled() {
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\nlifecycle = \"one-shot\"\ndetectors = [ { kind = \"traceback\" }, \
         { kind = \"pattern\", name = \"needle\", regex = \"needle\" }, { kind = \"exit\" } ]\n\
         [process.healing]\nagent = \"off\"",
        &[("train.sh", SCRIPT)],
    );
    world.await_child();
    let dog = &world.dogs[0];
    // Nobody reads while it prints: it comes to its end all the same.
    kill_process(Pid::from_child(dog), Signal::STOP).unwrap();
    fs::write(world.dir.path().join("go"), "").unwrap();
    world.await_that("end of the printing", |world| world.dir.path().join("printed").exists());
    kill_process(Pid::from_child(dog), Signal::CONT).unwrap();
    let began = Instant::now();
    world.await_that("incident of the real trace", |world| {
        world.incidents().iter().any(|id| id.contains("traceback"))
    });
    world.await_that("end on record", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    println!("read in {:?}, peak {} MiB", began.elapsed(), peak_mib(dog.id()));
    assert!(began.elapsed() < PATIENCE);
    assert!(peak_mib(dog.id()) < 64, "{} MiB", peak_mib(dog.id()));
    let log = fs::metadata(world.path("units/p/out.log")).unwrap().len();
    assert!(log > 50_300_000, "{log}");

    let traces: Vec<String> = world.incidents().into_iter().filter(|id| id.contains("traceback")).collect();
    assert_eq!(traces.len(), 1, "{traces:?}");
    let report = world.text(&format!("incidents/{}/report.md", traces[0]));
    assert!(report.contains("ValueError: the real one"), "{report}");
    assert!(world.incidents().iter().any(|id| id.contains("needle")), "{:?}", world.incidents());

    let folders = files(&world.path("incidents"));
    let bytes: usize = folders.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes of incidents");
    let mut shown = folders;
    shown.extend(files(&world.path("events")));
    for command in
        [&["status"][..], &["events"], &["incidents"], &["why", "p"], &["log", "p", "--last", "20"]]
    {
        shown.push((command.join(" "), world.says(command).into_bytes()));
    }
    shown.push(("outbox.jsonl".to_owned(), world.text("outbox.jsonl").into_bytes()));
    shown.push(("status".to_owned(), world.text("status").into_bytes()));
    for (name, bytes) in shown {
        let bad = bytes.iter().find(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t'));
        assert_eq!(bad, None, "{name}: {}", String::from_utf8_lossy(&bytes).escape_debug());
    }
}
