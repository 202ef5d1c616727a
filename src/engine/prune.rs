//! Files that only grow: old days of events go, an inbox that was heard begins anew, a long outbox makes room.
//!
//! Deliberately not here: anything that somebody still has to read. What can't be removed is tried again another time.

use crate::base::time::Wall;
use crate::state::table;
use crate::sys::{Files, Sync};

/// Days of events that are kept …
const EVENT_DAYS: f64 = 30.0;
/// … and that many files at least, however old: a fleet that rested has a past too.
const EVENT_FILES_MIN: usize = 7;
/// An inbox that is longer begins anew once all of it was heard, bytes.
const INBOX_BYTES: u64 = 1 << 20;
/// Longest inbox that is looked at, bytes.
const INBOX_BYTES_MAX: u64 = 8 << 20;
/// An outbox that is longer is put aside, bytes.
const OUTBOX_BYTES: u64 = 8 << 20;

/// Removes the events of days long past.
pub fn events<F: Files>(files: &mut F, now: Wall) {
    let mut days = files.list("events").unwrap_or_default();
    days.retain(|name| is_day(name));
    days.sort();
    let first_kept = format!("{}.jsonl", now.plus_s(-EVENT_DAYS * 86_400.0).day());
    let old = days.len().saturating_sub(EVENT_FILES_MIN);
    for name in days.iter().take(old).filter(|name| **name < first_kept) {
        let _ = files.remove(&format!("events/{name}"));
    }
}

/// `2026-11-21.jsonl`: what we made ourselves.
fn is_day(name: &str) -> bool {
    name.strip_suffix(".jsonl").is_some_and(|day| {
        day.len() == 10
            && day
                .bytes()
                .enumerate()
                .all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() })
    })
}

/// Begins a long inbox anew; `done` of its bytes were heard, and that is on record. A request that comes meanwhile makes
/// it another file than the one that was read: then it stays.
pub fn inbox<F: Files>(files: &mut F, done: u64) {
    if done <= INBOX_BYTES {
        return;
    }
    if let Ok(Some(bytes)) = files.read(table::INBOX, INBOX_BYTES_MAX)
        && bytes.len() as u64 == done
    {
        let _ = files.replace(table::INBOX, Some(&bytes), b"", Sync::Durable);
    }
}

/// Puts a long outbox aside; the one before goes.
pub fn outbox<F: Files>(files: &mut F) {
    let _ = files.rotate(table::OUTBOX, table::OUTBOX_OLD, OUTBOX_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::RealFiles;

    fn files() -> (tempfile::TempDir, RealFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = RealFiles::create(dir.path()).unwrap();
        (dir, files)
    }

    #[test]
    fn old_days_go_but_seven_stay_and_nothing_of_others() {
        let (_dir, mut files) = files();
        let now = Wall::parse("2026-11-21T12:00:00Z").unwrap();
        for ago in 25..40 {
            files.append(&table::events(now.plus_s(-86_400.0 * f64::from(ago))), "{}").unwrap();
        }
        files.append("events/notes.jsonl", "{}").unwrap();
        events(&mut files, now);
        let left = files.list("events").unwrap();
        assert_eq!(left.first().map(String::as_str), Some("2026-10-21.jsonl"), "{left:?}");
        assert_eq!(left.len(), 8, "seven days: {left:?}");
        events(&mut files, now.plus_s(86_400.0 * 300.0));
        assert_eq!(files.list("events").unwrap().len(), 8);
    }

    #[test]
    fn a_long_inbox_begins_anew_only_when_all_of_it_was_heard() {
        let (_dir, mut files) = files();
        let line = "x".repeat(1000);
        for _ in 0..1100 {
            files.append(table::INBOX, &line).unwrap();
        }
        let long = 1100 * 1001;
        let length =
            |files: &mut RealFiles| files.read(table::INBOX, u64::MAX).unwrap().map(|bytes| bytes.len());
        inbox(&mut files, long - 1001);
        assert_eq!(length(&mut files), Some(1_101_100));
        inbox(&mut files, long);
        assert_eq!(length(&mut files), Some(0));
        files.append(table::INBOX, "short").unwrap();
        inbox(&mut files, 6);
        assert_eq!(length(&mut files), Some(6));
    }

    #[test]
    fn a_long_outbox_is_put_aside() {
        let (_dir, mut files) = files();
        files.append(table::OUTBOX, "one").unwrap();
        outbox(&mut files);
        assert_eq!(files.stamp(table::OUTBOX_OLD), None);
        files.append(table::OUTBOX, &"x".repeat(9 << 20)).unwrap();
        outbox(&mut files);
        assert!(files.stamp(table::OUTBOX_OLD).is_some() && files.stamp(table::OUTBOX).is_none());
        outbox(&mut files);
        files.append(table::OUTBOX, "two").unwrap();
        assert_eq!(files.tail(table::OUTBOX, 100).unwrap(), b"two\n");
    }
}
