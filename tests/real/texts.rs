//! Texts that are hard to type: every kind that some CLI takes as something else.

use watchkeeper::policy::guard_text::guarded;

/// What only the nth text of a scene has.
pub fn mark(scene: &str, n: usize) -> String {
    format!("[{scene} {n}]")
}

/// The nth text of a scene, as a person asks for it.
pub fn text(scene: &str, n: usize) -> String {
    let mark = mark(scene, n);
    match n % 10 {
        0 => format!("{mark} please go on"),
        1 => format!("{mark} first line\n\n  third line, indented\n- fourth {mark}"),
        2 => long(&mark),
        3 => format!("/tmp/foo {mark} is a path"),
        4 => format!("!ls {mark}"),
        5 => format!("# Plan {mark}\n1. one\n2. two"),
        6 => format!("{mark} read @README.md"),
        7 => format!("{mark} the folder C:\\"),
        8 => format!("{mark} \"quotes\" 'and' `ticks` $HOME <b>html</b> ü € 🙂 ; && | done"),
        _ => format!("/notacommand {mark} @a/b?"),
    }
}

/// What the model must be given.
pub fn expected(text: &str) -> String {
    guarded(text)
}

/// 5 KB in 64 lines.
fn long(mark: &str) -> String {
    let lines: Vec<String> =
        (0..64).map(|n| format!("{mark} line {n:02} {}", "of a long text with words ".repeat(2))).collect();
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
