//! Many screens in one tmux call: commands for `source-file -`, and the parser that gives each its own text.
//!
//! Each capture follows a line with a nonce that is new in each call: no screen can play another one's. (tmux 3.3a
//! runs every line of `source-file -` though one before it failed; the capture of a pane that vanished prints
//! nothing, while even an empty screen prints a newline.)

use super::tmux_list::is_pane_id;
use std::collections::BTreeMap;

/// Most bytes kept of one screen, from its bottom.
pub(super) const SCREEN_MAX: usize = 64 << 10;

/// The commands.
pub(super) fn script(nonce: &str, panes: &[String]) -> String {
    let mut script = String::new();
    for (n, pane) in panes.iter().enumerate().filter(|(_, pane)| is_pane_id(pane)) {
        // `%5` in the text would be read as a time format; the position stands for the pane.
        script.push_str(&format!("display-message -p {nonce}{n}\ncapture-pane -p -e -J -t {pane}\n"));
    }
    script.push_str(&format!("display-message -p {nonce}end\n"));
    script
}

/// Each pane's screen. A section counts only when the next nonce follows it: one that was cut off is left out.
pub(super) fn parse(nonce: &str, stdout: &[u8], panes: &[String]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(stdout);
    let mut screens = BTreeMap::new();
    let mut sections: Vec<&str> = text.split(nonce).skip(1).collect();
    if sections.pop().is_none() {
        return screens;
    }
    for section in sections {
        let Some((number, screen)) = section.split_once('\n') else { continue };
        let Some(pane) = number.parse::<usize>().ok().and_then(|n| panes.get(n)) else { continue };
        if !screen.is_empty() {
            screens.insert(pane.clone(), bottom(screen).to_owned());
        }
    }
    screens
}

/// The last [`SCREEN_MAX`] bytes, from the start of a line where there is one.
fn bottom(screen: &str) -> &str {
    let Some(mut from) = screen.len().checked_sub(SCREEN_MAX) else { return screen };
    while !screen.is_char_boundary(from) {
        from += 1;
    }
    let tail = &screen[from..];
    match tail.find('\n') {
        Some(end) if end + 1 < tail.len() => &tail[end + 1..],
        Some(_) | None => tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panes() -> Vec<String> {
        ["%1", "%2", "bad", "%3"].map(str::to_owned).to_vec()
    }

    #[test]
    fn each_screen_goes_to_its_pane() {
        assert_eq!(
            script("N-", &panes()[1..]),
            "display-message -p N-0\ncapture-pane -p -e -J -t %2\n\
             display-message -p N-2\ncapture-pane -p -e -J -t %3\ndisplay-message -p N-end\n"
        );
        let screens = parse("N-", b"N-0\none\n\nN-1\nN-3\n\nN-end\n", &panes());
        let want = [("%1", "one\n\n"), ("%3", "\n")].map(|(p, s)| (p.to_owned(), s.to_owned()));
        assert_eq!(screens, BTreeMap::from(want), "%2 vanished");
    }

    #[test]
    fn what_was_cut_off_is_left_out() {
        assert_eq!(parse("N-", b"N-0\none\nN-1\ntwo", &panes()).len(), 1);
        assert_eq!(parse("N-", b"N-0\none\n", &panes()).len(), 0);
        assert_eq!(parse("N-", b"", &panes()).len(), 0);
        assert_eq!(parse("N-", b"N-9\nx\nN-y\nx\nN-end\n", &panes()).len(), 0);
    }

    #[test]
    fn a_screen_is_kept_from_its_bottom() {
        let long = format!("{}\nlast line\n", "ü".repeat(SCREEN_MAX));
        assert_eq!(bottom(&long), "last line\n");
        let one = "ü".repeat(SCREEN_MAX);
        assert!(bottom(&one).len() <= SCREEN_MAX && bottom(&one).ends_with('ü'));
        assert_eq!(bottom("short\n"), "short\n");
    }
}
