use super::*;

const MARK: &str = "0123/train/1";

fn line(job: &str, restarts: u64, state: &str, code: &str, reason: &str) -> String {
    format!("{job}|{restarts}|{state}|{code}|1795283088|1795283090|{reason}|{MARK}|\n")
}

fn look(text: &str) -> Option<RunSeen> {
    let rows: Vec<Row> = parse(text).into_iter().filter(|row| row.comment == MARK).collect();
    stands(&rows, 1)
}

#[track_caller]
fn ended(text: &str) -> (Option<Exit>, bool, Option<String>) {
    match look(text) {
        Some(RunSeen::Ended { exit, out_of_memory, note, .. }) => (exit, out_of_memory, note),
        seen => panic!("{seen:?}"),
    }
}

#[test]
fn states_that_are_over() {
    let check = |state: &str, code: &str, reason: &str, want: (Option<Exit>, bool, Option<&str>)| {
        let (exit, memory, note) = ended(&line("7", 0, state, code, reason));
        assert_eq!((exit, memory, note.as_deref()), want, "{state} {code}");
    };
    let status = |n| Some(Exit::Status(n));
    check("COMPLETED", "0", "None", (status(0), false, None));
    check("FAILED", "768", "NonZeroExitCode", (status(3), false, None));
    check("FAILED", "3:0", "NonZeroExitCode", (status(3), false, None));
    // A death by signal says JobLaunchFailure, `exit 137` does not look like one.
    check("FAILED", "11", "JobLaunchFailure", (Some(Exit::Signal(11)), false, None));
    check("FAILED", "35072", "NonZeroExitCode", (status(137), false, None));
    check("CANCELLED", "0:15", "None", (Some(Exit::Signal(15)), false, Some("CANCELLED")));
    check("TIMEOUT", "0", "TimeLimit", (None, false, Some("TIMEOUT (TimeLimit)")));
    check("NODE_FAIL", "0", "NodeDown", (None, false, Some("NODE_FAIL (NodeDown)")));
    check("OUT_OF_MEMORY", "0:125", "None", (Some(Exit::Signal(125)), true, Some("OUT_OF_MEMORY")));
}

#[test]
fn states_that_are_not() {
    let alive = |text: &str| match look(text) {
        Some(RunSeen::Alive { id, suspended, .. }) => (id.handle, suspended),
        seen => panic!("{seen:?}"),
    };
    assert_eq!(alive(&line("7", 0, "RUNNING", "0", "None")), ("7.0".to_owned(), false));
    assert_eq!(alive(&line("7", 0, "COMPLETING", "0", "None")), ("7.0".to_owned(), false));
    assert_eq!(alive(&line("7", 0, "SUSPENDED", "0", "None")), ("7.0".to_owned(), true));
    // The same job, its next run.
    assert_eq!(alive(&line("7", 2, "RUNNING", "0", "None")).0, "7.2");
    for (state, reason) in [("PENDING", "BeginTime"), ("CONFIGURING", "None"), ("REQUEUE_HOLD", "x")] {
        let Some(RunSeen::Pending { id, why, held: _ }) = look(&line("7", 1, state, "0", reason)) else {
            panic!("{state}")
        };
        assert_eq!(id, RunId { number: 1, handle: "7.1".into() });
        assert!(why.contains(state) && why.contains(reason), "{why}");
    }
    assert!(matches!(look(&line("7", 0, "NEW_WORD", "0", "x")), Some(RunSeen::Unknown { .. })));
    assert_eq!(look(""), None);
}

#[test]
fn an_array_is_one_run() {
    let three = |a: &str, b: &str, c: &str| {
        look(
            &[
                line("6_1", 0, a, "0", "None"),
                line("6_2", 0, b, "256", "None"),
                line("6_[3-9]", 0, c, "0", "None"),
            ]
            .concat(),
        )
    };
    assert!(matches!(three("COMPLETED", "FAILED", "RUNNING"), Some(RunSeen::Alive { .. })));
    assert!(matches!(three("COMPLETED", "FAILED", "PENDING"), Some(RunSeen::Pending { held: None, .. })));
    // Held is it when none of those that wait begins by itself.
    let wait = |a: &str, b: &str| {
        let rows = [line("6_1", 0, "PENDING", "0", a), line("6_2", 0, "PENDING", "0", b)];
        let Some(RunSeen::Pending { held, .. }) = look(&rows.concat()) else { panic!() };
        held.map(|held| held.why)
    };
    assert_eq!(wait("JobHeldUser", "Resources"), None);
    assert_eq!(wait("JobHeldUser", "JobHeldUser").as_deref(), Some("JobHeldUser"));
    let Some(RunSeen::Ended { id, exit, .. }) = three("COMPLETED", "FAILED", "COMPLETED") else { panic!() };
    assert_eq!((id.handle.as_str(), exit), ("6.0", Some(Exit::Status(1))));
    assert_eq!(cancel(&id).unwrap(), ["scancel", "6"]);
}

#[test]
fn hostile_rows_are_left_out() {
    for text in [
        "|",
        "||||||||",
        "x|0|RUNNING|0|1|1|None|0123/train/1|",
        "\u{1b}[2J",
        "7|0|RUNNING",
        "7|-1|R|0|0|0|N|c|",
    ] {
        assert_eq!(look(text), None, "{text:?}");
    }
    // A comment with a newline can't claim to be a run of ours without our mark.
    assert_eq!(look("9|0|RUNNING|0|1|1|None|other\n9|0|COMPLETED|0|1|1|None|0123/train/11|"), None);
}

/// Trap 10.
#[test]
fn sacct_has_suffixes_and_may_be_silent() {
    let id = RunId { number: 1, handle: "7.0".into() };
    let check = |text: &str| match accounted(text, id.clone(), Path::new("/nonexistent")) {
        RunSeen::Ended { exit, note, .. } => (exit, note.unwrap_or_default()),
        seen => panic!("{seen:?}"),
    };
    assert_eq!(check("7|CANCELLED by 0|0:15|1795283090\n"), (Some(Exit::Signal(15)), "CANCELLED".into()));
    assert_eq!(check("7|COMPLETED|0:0|1795283090\n"), (Some(Exit::Status(0)), String::new()));
    // With -D a requeued job has a row for each run: the last one counts.
    assert_eq!(check("7|REQUEUED|0:0|1\n7|FAILED|3:0|2\n"), (Some(Exit::Status(3)), String::new()));
    for silent in ["", "Slurm accounting storage is disabled\n"] {
        assert_eq!(check(silent).0, None);
        assert!(check(silent).1.contains("knows it no more"));
    }
    assert!(matches!(
        accounted("7|RUNNING|0:0|Unknown\n", id.clone(), Path::new("/nonexistent")),
        RunSeen::Unknown { .. }
    ));
}

#[test]
fn an_order_carries_our_words_last() {
    let words = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        order_words("wk-1-train", MARK, &args).join(" ")
    };
    assert_eq!(
        words(&["-p", "gpu"]),
        "sbatch --parsable -p gpu --job-name=wk-1-train --comment=0123/train/1 --open-mode=append --dependency=singleton"
    );
    assert!(!words(&["--dependency=afterok:5"]).contains("singleton"));
    assert!(!words(&["-d", "afterok:5"]).contains("singleton"));
    assert!(cancel(&RunId::default()).is_err());
}
