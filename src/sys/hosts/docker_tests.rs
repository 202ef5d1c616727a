use super::*;

const OVER: fn() -> Ordered = || Ordered::Over { said: String::new() };

fn container(state: &str) -> Container {
    let text = format!(r#"[{{"Id":"0123456789abcdef","Name":"/wk-1-train-1","State":{{{state}}}}}]"#);
    parse(&text).unwrap().remove(0)
}

#[track_caller]
fn ended(state: &str, ordered: &Ordered) -> (Option<Exit>, bool, Option<String>) {
    match stands(&container(state), 1, ordered) {
        RunSeen::Ended { exit, out_of_memory, note, .. } => (exit, out_of_memory, note),
        seen => panic!("{seen:?}"),
    }
}

#[test]
fn exits_and_memory() {
    let check = |state: &str, want: (Option<Exit>, bool)| {
        let (exit, memory, _) = ended(state, &OVER());
        assert_eq!((exit, memory), want, "{state}");
    };
    check(r#""Status":"exited","ExitCode":0"#, (Some(Exit::Status(0)), false));
    check(r#""Status":"exited","ExitCode":42"#, (Some(Exit::Status(42)), false));
    // The kernel's kill: docker says so, podman may not.
    check(r#""Status":"exited","ExitCode":137,"OOMKilled":true"#, (Some(Exit::Status(137)), true));
    check(r#""Status":"exited","ExitCode":137,"OOMKilled":false"#, (Some(Exit::Status(137)), false));
}

#[test]
fn a_status_above_128_is_no_signal_yet() {
    let note = |state: &str| ended(&format!("\"Status\":\"exited\",{state}"), &OVER()).2;
    assert_eq!(note("\"ExitCode\":137"), Some("SIGKILL?".into()));
    assert_eq!(note("\"ExitCode\":130,\"Error\":\"x\""), Some("SIGINT?; x".into()));
    for code in [0, 1, 127, 128, 160, 255, i32::MIN] {
        assert_eq!(note(&format!("\"ExitCode\":{code}")), None, "{code}");
    }
}

#[test]
fn a_start_that_failed() {
    let docker = r#""Status":"created","ExitCode":127,"Error":"exec: \"/no\": no such file""#;
    let (exit, _, note) = ended(docker, &OVER());
    assert_eq!(exit, Some(Exit::Status(127)));
    assert!(note.unwrap().contains("no such file"));
    // podman keeps nothing: what the order said counts.
    let podman = r#""Status":"created","ExitCode":0,"Error":"""#;
    let (exit, _, note) = ended(podman, &Ordered::Over { said: "Error: runc: create failed".into() });
    assert_eq!(exit, None);
    assert!(note.unwrap().contains("create failed"));
    assert!(matches!(stands(&container(podman), 1, &Ordered::Running), RunSeen::Pending { .. }));
}

#[test]
fn alive_and_suspended() {
    let suspended = |state: &str| match stands(&container(state), 1, &OVER()) {
        RunSeen::Alive { suspended, since, id, .. } => {
            assert!(since.is_some() && id.handle.starts_with("0123456789ab."));
            suspended
        }
        seen => panic!("{seen:?}"),
    };
    let at = r#""StartedAt":"2026-11-21T17:51:43.848031273Z""#;
    assert!(!suspended(&format!(r#""Status":"running","Running":true,{at}"#)));
    // docker: Running is true; podman: false.
    assert!(suspended(&format!(r#""Status":"paused","Running":true,"Paused":true,{at}"#)));
    assert!(suspended(&format!(r#""Status":"paused","Running":false,"Paused":true,{at}"#)));
    assert!(matches!(stands(&container(r#""Status":"new""#), 1, &OVER()), RunSeen::Unknown { .. }));
}

#[test]
fn an_inspect_that_misses_some_is_an_answer() {
    let over = |errors: &str| {
        let job = remote::question("x", question("docker", &["wk-1-a-1".to_owned()]), &[]);
        let failed = Some("exit status 1".to_owned());
        Over { job, asked: Wall(1), ended: Wall(2), failed, output: "[]".into(), errors: errors.into() }
    };
    for missing in [
        "Error response from daemon: No such container: wk-nope\nError response from daemon: No such container: wk-b\n",
        "error inspecting object: no such container wk-none\nError: inspecting object: no such container wk-nope\n",
        "time=\"2026-11-21T18:00:00Z\" level=warning msg=\"no systemd session\"\nError: no such container wk-a\n",
    ] {
        assert!(is_answer(&over(missing)), "{missing}");
    }
    for down in [
        "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n",
        "Error response from daemon: No such container: a\nerror during connect: EOF\n",
        "",
    ] {
        assert!(!is_answer(&over(down)), "{down}");
    }
    for hostile in ["", "{}", "[1]", "null", "<html>"] {
        assert!(parse(hostile).is_none_or(|list| list.is_empty()), "{hostile}");
    }
}

#[test]
fn the_latest_run_is_the_one_that_lives_or_the_last_that_did() {
    #[track_caller]
    fn check(text: &str, want: Option<u64>) {
        let dir = Path::new("/state");
        let text =
            text.replace("wk-", &format!("wk-{}-", records::owner(dir).chars().take(8).collect::<String>()));
        assert_eq!(latest(&text, dir, "train"), want, "{text}");
    }
    check("", None);
    check("running wk-train-4\nexited wk-train-5\n", Some(4));
    check("Up 3 minutes ago wk-train-12\nPaused wk-train-9\n", Some(12));
    check("Exited (1) 2 hours ago wk-train-2\nexited wk-train-10\n", Some(10));
    check("running wk-train-1-7\nrunning wk-train-x\nrunning other-train-3\nrunning\n[]\n", None);
}
