//! Records of local runs that can't be read: a second look first, for an editor may be saving; then they are put aside.
//!
//! Deliberately not here: how a run is known without them (`local`).

use super::local::Odd;
use super::records::Damage;
use crate::model::seen::Trouble;
use crate::sys::quarantine::quarantine;
use std::collections::BTreeMap;
use std::path::Path;

/// The second look comes after this time, seconds.
const AGAIN_S: f64 = 0.25;

/// What the last looks found damaged, by path.
#[derive(Debug, Default)]
pub struct Tending {
    before: BTreeMap<String, Damage>,
    now: BTreeMap<String, Damage>,
    /// Units whose records are lost, and which process was taken for their run.
    taken: BTreeMap<String, String>,
}

impl Tending {
    /// A look begins.
    pub fn begin(&mut self) {
        self.now.clear();
        self.taken.clear();
    }

    /// What is odd about the records of a unit.
    pub fn note(&mut self, unit: &str, odd: Odd) {
        self.taken.extend(odd.taken.map(|taken| (unit.to_owned(), taken)));
        for one in odd.damage {
            self.now.insert(format!("units/{unit}/{}", one.name), one);
        }
    }

    /// Puts aside what was damaged at the look before, too; what is to be told, and when a second look is due, seconds.
    pub fn tend(&mut self, root: &Path) -> (Vec<Trouble>, Option<f64>) {
        let mut before = std::mem::take(&mut self.before);
        let (mut troubles, mut due_s) = (Vec::new(), None);
        for (unit, taken) in std::mem::take(&mut self.taken) {
            troubles
                .push(Trouble { key: format!("taken {unit} {taken}"), text: format!("`{unit}`: {taken}") });
        }
        for (path, damage) in std::mem::take(&mut self.now) {
            if before.remove(&path).as_ref() != Some(&damage) {
                due_s = Some(AGAIN_S);
                self.before.insert(path, damage);
                continue;
            }
            // What comes in its place has a second look of its own: it may be half written, too.
            let (line, column) = damage.place;
            let place = if line > 0 { format!("{path}:{line}:{column}") } else { path.clone() };
            let what = match quarantine(root, &path, &root.join(&path)) {
                Ok(kept) => format!("moved to {kept}, its run is known by what is seen of it"),
                Err(error) => format!("it could not be put aside: {}", error.message()),
            };
            let text = format!("{place}: {}; {what}", damage.why);
            troubles.push(Trouble { key: format!("{path} {}", damage.why), text });
        }
        (troubles, due_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_at_two_looks_is_put_aside_and_what_follows_it_is_looked_at_twice_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("units/p/child.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut tending = Tending::default();
        let mut look = |content: Option<&str>| {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => drop(std::fs::remove_file(&path)),
            }
            tending.begin();
            let damage = Damage { name: "child.json", place: (1, 0), why: "EOF".into() };
            let damage = content.map(|_| damage).into_iter().collect();
            tending.note("p", Odd { damage, taken: None });
            let (troubles, due_s) = tending.tend(dir.path());
            (troubles.len(), due_s.is_some(), path.exists())
        };
        assert_eq!(look(Some("")), (0, true, true));
        assert_eq!(look(Some("")), (1, false, false));
        assert_eq!(look(Some("")), (0, true, true), "an editor that has just begun to write");
        assert_eq!(look(None), (0, false, false));
        assert_eq!(look(Some("")), (0, true, true));
    }
}
