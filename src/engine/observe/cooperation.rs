//! What a cooperative unit says of itself: heartbeat, version, and the head of the repository that it lies in.
//!
//! Only of a unit whose process lives: a dead one says nothing. What can't be read is not known, and no verdict.

use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::config::Unit;
use crate::model::seen::{Cooperation, RestartMarker, Seen, Trouble, VersionSeen};
use crate::state::table;
use crate::sys::{Files, Host};
use std::collections::BTreeMap;

/// Largest version stamp, bytes: one line with a commit's name.
const VERSION_BYTES: u64 = 4096;
/// Longest text of a stamp that is kept, characters.
const TEXT_MAX: usize = 300;

/// Looks at the unit's files; None for one that is not cooperative.
pub(super) fn look<H: Host, F: Files>(host: &mut H, files: &mut F, unit: &Unit) -> Option<Box<Cooperation>> {
    let promised = unit.cooperative.as_ref()?;
    let heartbeat = table::in_unit(&unit.name, table::UNIT_HEARTBEAT);
    // Without its folder nothing can be touched: that is our trouble, and not its silence. What a link or a directory
    // hides was not seen either.
    let folder = files.stamp(&format!("units/{}", unit.name));
    let mut seen = Cooperation {
        heartbeat: folder.filter(|_| files.irregular(&heartbeat).is_none()).and_then(|_| {
            let is_missing = |files: &mut F| matches!(files.read(&heartbeat, 0), Ok(None));
            files.stamp(&heartbeat).or_else(|| is_missing(files).then(String::new))
        }),
        heartbeat_at: files.modified(&heartbeat),
        ..Cooperation::default()
    };
    if promised.version {
        seen.version = version(files, unit);
        // Without a stamp there is nothing to compare it with. Read at every tick: some twenty calls on small files (git is
        // started only for reftable, a large packed-refs is remembered); a head that lags behind would make old code of new.
        seen.head = seen.version.as_ref().and_then(|_| host.head(&unit.dir).ok());
    }
    Some(Box::new(seen))
}

/// Heartbeats that can't be seen: nobody is judged by them, and that is told.
pub(super) fn troubles<F: Files>(files: &mut F, units: &BTreeMap<UnitName, Seen>) -> Vec<Trouble> {
    let unseen = |seen: &Seen| seen.cooperation.as_ref().is_some_and(|said| said.heartbeat.is_none());
    let trouble = |name: &UnitName| {
        let path = table::in_unit(name, table::UNIT_HEARTBEAT);
        let what = files.irregular(&path)?;
        let text =
            format!("{path} {what}: the heartbeat of `{name}` is not watched until it is a plain file");
        Some(Trouble { key: format!("heartbeat {name}"), text })
    };
    units.iter().filter(|(_, seen)| unseen(seen)).map(|(name, _)| name).filter_map(trouble).collect()
}

fn version<F: Files>(files: &mut F, unit: &Unit) -> Option<VersionSeen> {
    let path = table::in_unit(&unit.name, table::UNIT_VERSION);
    let at = files.modified(&path);
    let bytes = files.read(&path, VERSION_BYTES).ok().flatten()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or("").trim();
    (!line.is_empty()).then(|| VersionSeen { text: one_line(line, TEXT_MAX), at })
}

/// A marker: its first word is a time. One without (made by hand, `touch`) is as old as its file.
pub(super) fn restart_marker(text: &str, modified: Option<Wall>) -> RestartMarker {
    let line = text.lines().next().unwrap_or("").trim();
    let at = line.split_whitespace().next().and_then(Wall::parse).or(modified);
    RestartMarker { text: RestartMarker::first_line(text), at }
}
