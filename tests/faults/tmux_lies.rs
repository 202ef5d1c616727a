//! tmux' answers get lost: its client dies before it did what it was told, or did it and says that it failed.

use crate::lab::Lab;
use crate::scenes::{FIRST, HEAL, NUDGE, RESTART, Scene, WORKERS, play_all};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands in for tmux: counts its calls, and lies at one of them.
const LIAR: &str = r#"#!/bin/sh
PATH=${PATH#*:}
n=$(cat "$LIES/count"); n=$((n+1)); echo $n > "$LIES/count"
[ $n = "$LIE_AT" ] || exec tmux "$@"
echo "$LIE $*" > "$LIES/told"
case $LIE in
    before) kill -9 $$ ;;
    after) tmux "$@" > /dev/null 2>&1; echo "lost server" >&2; exit 1 ;;
esac
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It did nothing.
    Before,
    /// It did it, and nobody knows.
    After,
}

/// A tick whose Nth call of tmux is a lie; false when there were fewer calls.
fn lie_at(lab: &Lab, nth: usize, lie: Lie) -> bool {
    let dir = lab.path().join("lies");
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("tmux"), LIAR).unwrap();
    std::fs::set_permissions(bin.join("tmux"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("count"), "0\n").unwrap();
    let _ = std::fs::remove_file(dir.join("told"));
    let path = std::env::var("PATH").unwrap();
    let mut command = lab.watchkeeper();
    command.arg("tick").env("PATH", format!("{}:{path}", bin.display())).env("LIES", &dir);
    command.env("LIE_AT", nth.to_string()).env("LIE", format!("{lie:?}").to_lowercase());
    let ended = lab.finish(command);
    // Only the question for its version may end it: without tmux there is nothing to do.
    let is_first = nth == 1 && matches!(ended.code, Some(69 | 75)) && !ended.err.is_empty();
    assert!(ended.code == Some(0) || is_first, "{ended:?}");
    dir.join("told").exists()
}

#[track_caller]
fn lie_everywhere(scene: Scene) {
    let both = crate::strace::all_are_wanted();
    // Else each call gets one of the two: in pairs, since looks and acts take turns.
    let is_tried = |nth: usize, lie| both || (nth / 2).is_multiple_of(2) == (lie == Lie::Before);
    let all = (1..60).flat_map(|nth| [(nth, Lie::Before), (nth, Lie::After)]);
    let turns: Vec<(usize, Lie)> = all.filter(|(nth, lie)| is_tried(*nth, *lie)).collect();
    let lies = AtomicUsize::new(0);
    play_all(&scene, scene.lab(WORKERS), turns, |lab, (nth, lie)| {
        let mut has_lied = false;
        scene.play(lab, &format!("call {nth} of tmux ({lie:?})"), |lab| has_lied = lie_at(lab, *nth, *lie));
        lies.fetch_add(usize::from(has_lied), Ordering::Relaxed);
        // No tick calls it so often.
        if has_lied { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let lies = lies.into_inner();
    assert!(lies >= 5, "only {lies} lies");
}

#[test]
fn answers_are_lost_at_the_first_start() {
    lie_everywhere(FIRST);
}

#[test]
fn answers_are_lost_while_it_heals() {
    lie_everywhere(HEAL);
}

#[test]
fn answers_are_lost_while_it_delivers_a_text() {
    lie_everywhere(NUDGE);
}

#[test]
fn answers_are_lost_while_it_restarts() {
    lie_everywhere(RESTART);
}
