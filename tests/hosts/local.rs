//! A local process: its exit, its output, its surroundings, what stands in its way.

use crate::place::{Place, UNIT, boot, kill_and_wait, until};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use watchkeeper::model::process::{RunId, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::{local, records};
use watchkeeper::sys::proc;

#[test]
fn the_exit_status_is_known() {
    let mut place = Place::new();
    assert_eq!(place.look(0), RunSeen::Absent);
    let cases = [
        ("exit 0", Some(Exit::Status(0))),
        ("exit 7", Some(Exit::Status(7))),
        ("exit 137", Some(Exit::Status(137))),
        ("kill -9 $$", Some(Exit::Signal(9))),
        ("kill -11 $$", Some(Exit::Signal(11))),
    ];
    for (number, (script, want)) in (1..).zip(cases) {
        place.start(&place.sh(number, script)).unwrap();
        assert_eq!(place.ended(number), (want, None), "{script}");
        until("the loop is told", || place.state().join("poke").exists());
        std::fs::remove_file(place.state().join("poke")).unwrap();
    }
}

#[test]
fn what_can_not_be_started_is_an_exit_with_a_reason() {
    let mut place = Place::new();
    let script = place.work().join("plain");
    std::fs::write(&script, "no program").unwrap();
    let plain = place.launch(3, &[script.to_str().unwrap()]);
    let mut nowhere = place.sh(2, "exit 0");
    nowhere.dir = "/nonexistent/dir".into();
    let cases = [
        (place.launch(1, &["no-such-program", "x"]), "program `no-such-program` is missing"),
        (nowhere, "entering its directory: `/nonexistent/dir`: no such file"),
        (plain, "permission denied"),
        (place.launch(4, &[]), "the process has no command"),
    ];
    for (launch, want) in cases {
        place.start(&launch).unwrap();
        let (exit, note) = place.ended(launch.number);
        let note = note.unwrap_or_default();
        assert!(note.contains(want), "{note}");
        assert!(matches!(exit, None | Some(Exit::Status(127))), "{exit:?}");
        assert_eq!(place.mains(), [0; 0]);
    }
}

#[test]
fn a_start_that_became_no_process_is_carried_out_the_next_time() {
    let mut place = Place::new();
    let launch = place.sh(1, "exec sleep 600");
    let refused = local::start_with(Path::new("/no/such/shim"), &place.state(), &launch).unwrap_err();
    assert!(refused.message().contains("starting the shim"), "{refused}");
    assert!(!place.unit("launch.json").exists());
    assert_eq!(place.look(1), RunSeen::Absent, "nothing was ordered");
    // A shim that is killed at once; and one that could not do it, and wrote so.
    for exit in [None, Some("{\"number\": 1, \"note\": \"no memory\"}")] {
        let mut shim = local::start_with(Path::new("/bin/true"), &place.state(), &launch).unwrap().unwrap();
        shim.wait().unwrap();
        if let Some(text) = exit {
            std::fs::write(place.unit("exit.json"), text).unwrap();
        }
        match place.look(1) {
            RunSeen::Ended { id, exit: None, note: Some(_), .. } => assert_eq!(id.handle, ""),
            seen => panic!("{seen:?}"),
        }
    }
    place.start(&launch).unwrap();
    let child = place.alive(1);
    place.start(&launch).unwrap();
    place.only(child.pid);
}

#[test]
fn output_goes_straight_to_the_log_and_is_appended() {
    let mut place = Place::new();
    place.start(&place.sh(1, "echo out; echo err >&2; printf 'a\\377\\000b'")).unwrap();
    place.ended(1);
    place
        .start(&place.sh(2, "echo; echo again; head -c 300000 /dev/zero | tr '\\0' x; echo needle"))
        .unwrap();
    place.ended(2);
    let log = std::fs::read(place.unit("out.log")).unwrap();
    assert!(log.starts_with(b"out\nerr\na\xff\0b\nagain\n"), "{:?}", &log[..40]);
    assert!(log.ends_with(b"needle\n"), "the tail at exit is there");
    assert_eq!(std::fs::metadata(place.unit("out.log")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_child_knows_where_it_is_and_has_nothing_of_ours() {
    let mut place = Place::new();
    let mut launch = place.sh(
        1,
        "echo $WATCHKEEPER_UNIT $WATCHKEEPER_UNIT_DIR $WATCHKEEPER_RUN $EXTRA $PWD; ls -l /proc/$$/fd; cat; echo end",
    );
    launch.env.insert("EXTRA".into(), "two words".into());
    place.start(&launch).unwrap();
    assert_eq!(place.ended(1), (Some(Exit::Status(0)), None));
    let log = place.text("out.log");
    let dir = place.unit("").to_str().unwrap().trim_end_matches('/').to_owned();
    let run = records::mark(&place.state(), UNIT, 1);
    let work = place.work().to_str().unwrap();
    assert_eq!(log.lines().next().unwrap(), format!("{UNIT} {dir} {run} two words {work}"));
    assert!(log.ends_with("end\n"), "its standard input is empty: {log}");
    let open: Vec<&str> = log.lines().filter(|line| line.contains(" -> ")).collect();
    // (What the test itself inherited is not ours.)
    let ours =
        |line: &&&str| (line.contains("socket:") || line.contains(work)) && !line.ends_with("/out.log");
    assert_eq!(open.iter().filter(ours).collect::<Vec<_>>(), [&""; 0], "{log}");
    // Signals have their default meaning again. (Of a child of the shell: the shell blocks all while it starts one.)
    place.start(&place.sh(2, "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status")).unwrap();
    place.ended(2);
    let log = place.text("out.log");
    for name in ["SigIgn", "SigBlk"] {
        let line = log.lines().find(|line| line.starts_with(name)).unwrap();
        // (The C library's own, 32 and 33, may be inherited from whoever ran this test.)
        let mask = u64::from_str_radix(line.split_whitespace().next_back().unwrap(), 16).unwrap();
        assert_eq!(mask & 0x7fff_ffff, 0, "{line}");
    }
}

#[test]
fn it_leads_a_session_and_what_it_leaves_behind_is_known() {
    let mut place = Place::new();
    place.start(&place.sh(1, "(trap '' HUP; sleep 600) & sleep 600 & echo up; wait")).unwrap();
    let child = place.alive(1);
    let stat = proc::stat(child.pid).unwrap();
    assert_eq!((stat.session, stat.group), (child.pid, child.pid));
    until("it has children", || proc::tree(&proc::all(), child.pid).len() >= 3);
    let id = |place: &mut Place| match place.look(1) {
        RunSeen::Alive { id, .. } | RunSeen::Ended { id, .. } => id,
        seen => panic!("{seen:?}"),
    };
    let run = id(&mut place);
    assert_eq!(local::leftovers(&place.state(), UNIT, &run, &proc::all(), &boot()), [], "it lives");
    kill_and_wait(child.pid);
    assert_eq!(place.ended(1).0, Some(Exit::Signal(9)));
    let left = local::leftovers(&place.state(), UNIT, &run, &proc::all(), &boot());
    assert!(left.len() >= 2, "{left:?}");
    assert_eq!(local::leftovers(&place.state(), UNIT, &run, &proc::all(), "another boot"), []);
    let other = RunId { number: 2, ..run.clone() };
    assert_eq!(local::leftovers(&place.state(), UNIT, &other, &proc::all(), &boot()), [], "not its mark");
    // They are no second run: the next one may start.
    place.start(&place.sh(2, "exit 0")).unwrap();
    place.ended(2);
    for process in left {
        kill_and_wait(process.pid);
    }
    assert_eq!(local::leftovers(&place.state(), UNIT, &run, &proc::all(), &boot()), []);
}

#[test]
fn a_stopped_child_is_suspended_and_not_dead() {
    let mut place = Place::new();
    place.start(&place.sh(1, "exec sleep 600")).unwrap();
    let child = place.alive(1);
    let pid = rustix::process::Pid::from_raw(child.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    place.until(1, "it is suspended", |seen| matches!(seen, RunSeen::Alive { suspended: true, .. }));
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    place.until(1, "it goes on", |seen| matches!(seen, RunSeen::Alive { suspended: false, .. }));
}

#[test]
fn a_restart_of_the_machine_ended_it() {
    let mut place = Place::new();
    place.start(&place.sh(1, "exec sleep 600")).unwrap();
    let child = place.alive(1);
    // As after a boot: the shim is gone, the record is of another boot, and the pid is somebody's.
    kill_and_wait(place.shim(child));
    let mut record: records::Child = records::read(&place.unit(""), "child.json").unwrap();
    record.boot = "an earlier boot".into();
    records::write(&place.unit(""), "child.json", &record).unwrap();
    assert_eq!(place.ended(1), (None, Some("the machine was restarted".into())));
    kill_and_wait(child.pid);
}

#[test]
fn a_pid_that_is_anothers_by_now_is_not_the_child() {
    let mut place = Place::new();
    place.start(&place.sh(1, "exec sleep 600")).unwrap();
    let child = place.alive(1);
    kill_and_wait(place.shim(child));
    let mut record: records::Child = records::read(&place.unit(""), "child.json").unwrap();
    record.start += 1;
    records::write(&place.unit(""), "child.json", &record).unwrap();
    assert_eq!(place.ended(1).0, None);
    kill_and_wait(child.pid);
}

#[test]
fn what_stands_in_the_way_of_its_files_is_put_aside() {
    let mut place = Place::new();
    for (number, name) in (1..).zip(["out.log", "child.json", "exit.json", "launch.json"]) {
        let _ = std::fs::remove_file(place.unit(name));
        std::fs::create_dir_all(place.unit(name)).unwrap();
        std::fs::write(place.unit(name).join("x"), "kept").unwrap();
        place.start(&place.sh(number, "echo hello")).unwrap();
        assert_eq!(place.ended(number), (Some(Exit::Status(0)), None), "{name}");
        assert!(place.text("out.log").ends_with("hello\n"), "{name}");
    }
    assert_eq!(std::fs::read_dir(place.state().join("quarantine")).unwrap().count(), 4);
}

#[test]
fn a_long_log_gets_another_name_before_a_start() {
    let mut place = Place::new();
    for number in 1..=6 {
        let mut launch = place.sh(number, &format!("echo run {number}; head -c 2000 /dev/zero"));
        launch.log_max = 1000;
        place.start(&launch).unwrap();
        place.ended(number);
    }
    for (file, number) in [("out.log", 6), ("out.log.1", 5), ("out.log.2", 4), ("out.log.3", 3)] {
        assert!(place.text(file).starts_with(&format!("run {number}\n")), "{file}");
    }
    assert!(!place.unit("out.log.4").exists());
}
