//! Records of local runs that can't be read: a second look first, for an editor may be saving; then they are put aside.
//!
//! Deliberately not here: how a run is known without them (`local`).

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
}

impl Tending {
    /// A look begins.
    pub fn begin(&mut self) {
        self.now.clear();
    }

    /// Of a unit these can't be read.
    pub fn note(&mut self, unit: &str, damage: Vec<Damage>) {
        for one in damage {
            self.now.insert(format!("units/{unit}/{}", one.name), one);
        }
    }

    /// Puts aside what was damaged at the look before, too; what is to be told, and when a second look is due, seconds.
    pub fn tend(&mut self, root: &Path) -> (Vec<Trouble>, Option<f64>) {
        let before = std::mem::replace(&mut self.before, std::mem::take(&mut self.now));
        let (mut troubles, mut due_s) = (Vec::new(), None);
        for (path, damage) in &self.before {
            if before.get(path) != Some(damage) {
                due_s = Some(AGAIN_S);
                continue;
            }
            let (line, column) = damage.place;
            let place = if line > 0 { format!("{path}:{line}:{column}") } else { path.clone() };
            let what = match quarantine(root, path, &root.join(path)) {
                Ok(kept) => format!("moved to {kept}, its run is known by what is seen of it"),
                Err(error) => format!("it could not be put aside: {}", error.message()),
            };
            let text = format!("{place}: {}; {what}", damage.why);
            troubles.push(Trouble { key: format!("{path} {}", damage.why), text });
        }
        (troubles, due_s)
    }
}
