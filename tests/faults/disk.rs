//! Real disks that are full or read-only, in a mount namespace of their own.

use crate::lab::{Ended, Lab};
use crate::scenes::{HEAL, NUDGE, Scene};
use std::ffi::OsString;
use std::process::Command;

/// The ways to a mount namespace of one's own: as root, or in a user namespace.
const WAYS: [&[&str]; 2] = [&["-m"], &["--map-current-user", "--keep-caps", "-m"]];

const PROBE: &str = "set -e; mount -t tmpfs none /mnt; mount --bind /tmp /mnt; mount -o remount,ro,bind /mnt";

/// How file systems may be mounted here, if they may; else says so.
fn way_to_mount() -> Option<&'static [&'static str]> {
    let works = |way: &&&[&str]| {
        let tried = Command::new("unshare").args(**way).args(["sh", "-c", PROBE]).output();
        tried.is_ok_and(|out| out.status.success())
    };
    let way = WAYS.iter().find(works).copied();
    if way.is_none() {
        eprintln!("skipped: no right to mount file systems here (unshare -m)");
    }
    way
}

/// Runs a shell script in a mount namespace; `$1` is the state directory, what follows is `watchkeeper … tick`.
fn namespaced(lab: &Lab, way: &[&str], script: &str) -> Ended {
    let tick = lab.watchkeeper();
    let mut words: Vec<OsString> =
        vec![lab.path().join(".watchkeeper").into(), tick.get_program().to_owned()];
    words.extend(tick.get_args().map(ToOwned::to_owned));
    let mut command = lab.command("unshare");
    command.args(way).args(["sh", "-c", script, "sh"]).args(words).arg("tick");
    lab.finish(command)
}

#[test]
fn a_read_only_state_directory_is_told_and_nothing_is_done() {
    let Some(way) = way_to_mount() else { return };
    let script = "set -e; S=$1; shift; mount --bind $S $S; mount -o remount,ro,bind $S; exec \"$@\"";
    for scene in [NUDGE, HEAL] {
        let lab = scene.lab(1);
        scene.play(&lab, "a read-only disk", |lab| {
            let before = (lab.transcript("a").len(), lab.pid("a"));
            let ended = namespaced(lab, way, script);
            assert_eq!(ended.code, Some(75), "{ended:?}");
            assert!(ended.err.contains("read-only file system"), "{ended:?}");
            assert!(ended.err.contains(lab.state("").to_string_lossy().trim_end_matches('/')), "{ended:?}");
            assert_eq!((lab.transcript("a").len(), lab.pid("a")), before);
        });
    }
}

/// A full disk: what is there already is kept, nothing is done, and when there is space again it goes on.
fn full_disk(scene: Scene) {
    let Some(way) = way_to_mount() else { return };
    // The state is brought onto a small disk, which is filled up to the last byte; then it is brought back.
    let script = "set -e
S=$1; shift
cp -a $S $S.saved
mount -t tmpfs -o size=400k none $S
cp -a $S.saved/. $S
cat /dev/zero > $S/filler 2>/dev/null || true
set +e
\"$@\"
code=$?
rm $S/filler
mkdir $S.full
cp -a $S/. $S.full
exit $code";
    let lab = scene.lab(1);
    scene.play(&lab, "a full disk", |lab| {
        let before = (lab.transcript("a").len(), lab.pid("a"));
        let ended = namespaced(lab, way, script);
        assert_eq!(
            (lab.transcript("a").len(), lab.pid("a")),
            before,
            "done without a record: {ended:?}\n{}",
            lab.dump()
        );
        assert_eq!(ended.code, Some(75), "{ended:?}");
        assert!(ended.err.contains("no space left on device"), "{ended:?}");
        // What was on the full disk is what goes on.
        let (state, full) = (lab.path().join(".watchkeeper"), lab.path().join(".watchkeeper.full"));
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::rename(full, state).unwrap();
    });
}

#[test]
fn a_full_disk_is_told_and_nothing_is_typed_until_there_is_space() {
    full_disk(NUDGE);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_healed_until_there_is_space() {
    full_disk(HEAL);
}
