//! The disk is full while an incident is to be written: its folder is complete or absent, and nothing is lost when there is
//! space again. A real file system of a few hundred kilobytes, in a mount namespace of its own.

use super::World;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The ways to a mount namespace of one's own: as root, or in a user namespace.
const WAYS: [&[&str]; 2] = [&["-m"], &["--map-current-user", "--keep-caps", "-m"]];

/// `$1` the state directory, `$2` kilobytes that are left, then `watchkeeper`. The process ends by itself before the disk is
/// full; the state is copied away while it is full, and in the end.
const SCRIPT: &str = "set -e
S=$1; LEFT=$2; shift 2
mkdir -p $S
mount -t tmpfs -o size=900k none $S
\"$@\" tick
N=0; while ! test -e $S/units/p/exit.json; do sleep 0.1; N=$((N+1)); test $N -lt 200; done
dd if=/dev/zero of=$S/room bs=1k count=$LEFT 2>/dev/null
cat /dev/zero > $S/filler 2>/dev/null || true
rm -f $S/room
set +e
for N in 1 2 3 4; do \"$@\" tick > /dev/null 2>&1; done
mkdir $S.full; cp -a $S/. $S.full
rm $S/filler
for N in 1 2 3 4; do \"$@\" tick; done
mkdir $S.after; cp -a $S/. $S.after
exit 0";

#[test]
fn a_full_disk_leaves_whole_incidents_and_loses_none() {
    let probe = "set -e; mount -t tmpfs none /mnt";
    let works = |way: &&&[&str]| {
        let tried = Command::new("unshare").args(**way).args(["sh", "-c", probe]).output();
        tried.is_ok_and(|out| out.status.success())
    };
    let Some(way) = WAYS.iter().find(works).copied() else {
        eprintln!("skipped: no right to mount file systems here (unshare -m)");
        return;
    };
    std::thread::scope(|scope| {
        for half in [[0, 12, 32, 64], [4, 20, 48, 100]] {
            scope.spawn(move || half.map(|left| check(way, left)));
        }
    });
}

fn check(way: &[&str], left: usize) {
    let script = "echo 'Traceback (most recent call last):'\necho '  File \"train.py\", line 7, in <module>'\n\
                  echo 'ZeroDivisionError: division by zero'\nexit 1\n";
    let world = World::new(
        "command = [\"sh\", \"train.sh\"]\nmax_identical = 1\n[process.healing]\nagent = \"off\"",
        &[("train.sh", script)],
    );
    // (A tick does what falls due within seconds: here that would be each tick that the interval brings.)
    let config = world.dir.path().join("agents.toml");
    let text = fs::read_to_string(&config).unwrap().replace("signal_interval = 0.5", "signal_interval = 30");
    fs::write(&config, text).unwrap();
    let wk = world.wk("tick");
    let mut unshare = Command::new("unshare");
    unshare
        .args(way)
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(world.dir.path().join(".watchkeeper"))
        .arg(left.to_string());
    unshare.arg(wk.get_program()).current_dir(world.dir.path()).env("HOME", world.dir.path());
    let out = unshare.output().unwrap();
    let said = format!("{left} kB left: {}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    let at = |name: &str| world.dir.path().join(format!(".watchkeeper.{name}"));
    incidents(&at("full"), &said);
    let found = incidents(&at("after"), &said);
    assert_eq!(found.len(), 1, "{said}: {found:?}");
    let text = |name: &str| fs::read_to_string(at("after").join(name)).unwrap_or_default();
    assert_eq!(
        text("incidents/index.jsonl").matches(&found[0]).count(),
        1,
        "{said}\n{}",
        text("incidents/index.jsonl")
    );
    let unit: serde_json::Value = serde_json::from_str(&text("units/p/unit.json")).unwrap();
    assert!(!unit["process"]["run"]["standing"]["spent"].is_null(), "{said}\n{unit:#}");
    assert_eq!(unit["incident"]["owed"].as_array().map_or(0, Vec::len), 0, "{said}");
    let alerts = text("outbox.jsonl");
    assert_eq!(alerts.matches("is not started again").count(), 1, "{said}\n{alerts}");
    // What could not be recorded is told when that is news, and not at each tick.
    let day = fs::read_dir(at("after").join("events")).unwrap().flatten().next().unwrap().path();
    let events = fs::read_to_string(day).unwrap();
    assert!(events.matches("ZeroDivisionError").count() <= 2, "{said}\n{events}");
}

/// The incidents; each folder there is whole.
#[track_caller]
fn incidents(state: &Path, said: &str) -> Vec<String> {
    let entries = fs::read_dir(state.join("incidents")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| name.contains("-p-") && !name.starts_with('.')).collect();
    for name in &names {
        for file in
            ["report.md", "trace.txt", "log_excerpt.txt", "match.json", "state.json", "fix/action.json"]
        {
            let bytes = fs::read(state.join("incidents").join(name).join(file)).unwrap_or_default();
            assert!(bytes.ends_with(b"\n"), "{said}: {name}/{file} is not whole");
        }
    }
    names
}
