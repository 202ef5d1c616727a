use super::*;
use crate::base::time::Wall;
use crate::model::seen::Ask;
use crate::state::mail::{Handled, Taken};
use crate::sys::files::RealFiles;

const NOW: Wall = Wall(1_795_255_200_000);

/// A state directory whose inbox holds these bytes.
fn inbox(bytes: &[u8]) -> (tempfile::TempDir, RealFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = RealFiles::create(dir.path()).unwrap();
    std::fs::write(dir.path().join(table::INBOX), bytes).unwrap();
    (dir, files)
}

fn line(id: usize, age_s: f64) -> String {
    let ask = Ask::Resume { unit: None };
    let request = Request { id: format!("r{id}"), at: NOW.plus_s(-age_s), from: "cli".into(), ask };
    serde_json::to_string(&request).unwrap() + "\n"
}

fn read(files: &mut RealFiles, state: &State) -> (Vec<String>, Option<u64>, usize) {
    let now = Now { wall: NOW, awake_s: Default::default(), boot: "b".into(), zone: "UTC".into() };
    let mut troubles = Vec::new();
    let (requests, end) = requests(files, state, &now, &mut troubles);
    (requests.into_iter().map(|request| request.id).collect(), end, troubles.len())
}

#[test]
fn the_inbox_is_read_from_where_it_was_left() {
    let (one, two) = (line(1, 5.0), line(2, 5.0));
    let (dir, mut files) = inbox(format!("{one}{two}{{\"id\": \"torn").as_bytes());
    let mut state = State::default();
    let whole = (one.len() + two.len()) as u64;
    assert_eq!(read(&mut files, &state), (vec!["r1".into(), "r2".into()], Some(whole), 0));
    state.mail.inbox_done = one.len() as u64;
    assert_eq!(read(&mut files, &state).0, ["r2"]);
    state.mail.inbox_done = whole;
    assert_eq!(read(&mut files, &state), (vec![], Some(whole), 0));
    // Another, shorter file: it is read from its beginning.
    std::fs::write(dir.path().join(table::INBOX), &one).unwrap();
    assert_eq!(read(&mut files, &state).0, ["r1"]);
    // And one whose place is no line's end.
    state.mail.inbox_done = 3;
    assert_eq!(read(&mut files, &state).0, ["r1"]);
    std::fs::remove_file(dir.path().join(table::INBOX)).unwrap();
    assert_eq!(read(&mut files, &state), (vec![], Some(0), 0));
}

#[test]
fn handled_requests_and_what_is_no_request_are_skipped() {
    let (_dir, mut files) = inbox(format!("{}\n\u{0}\u{1}\n[]\n{}", line(1, 5.0), line(2, 5.0)).as_bytes());
    let mut state = State::default();
    let (at, said) = (NOW, String::new());
    state.mail.handled.push(Handled { id: "r1".into(), at, taken: Taken::Accepted, said });
    let (ids, _, troubles) = read(&mut files, &state);
    assert_eq!((ids, troubles), (vec!["r2".to_owned()], 2));
}

#[test]
fn of_an_inbox_that_is_too_long_the_young_requests_are_heard() {
    let old = line(0, 7200.0);
    let mut text = old.repeat(usize::try_from(INBOX_BYTES).unwrap() / old.len() + 1);
    text.push_str(&line(1, 5.0));
    let (_dir, mut files) = inbox(text.as_bytes());
    let (ids, end, troubles) = read(&mut files, &State::default());
    assert_eq!((ids, end, troubles), (vec!["r1".to_owned()], None, 1));
}
