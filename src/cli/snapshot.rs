//! The state directory as a reading command sees it: what is there now, without a lock. What is missing or broken is
//! left out, and said.
//!
//! Deliberately not here: the tick's own reading, which puts broken files aside (engine).

use crate::base::error::Result;
use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::cli::watchdog::Watchdog;
use crate::config::Config;
use crate::engine::ensure;
use crate::engine::observe::markers;
use crate::model::seen::{Markers, ServerSeen};
use crate::policy::summary::{Live, Sight};
use crate::state::clocks::Clocks;
use crate::state::heartbeat::Heartbeat;
use crate::state::json::{self, Broken};
use crate::state::mail::Mail;
use crate::state::phase::PhaseState;
use crate::state::tokens::Tokens;
use crate::state::unit::UnitState;
use crate::state::{State, table};
use crate::sys::clock::Clock;
use crate::sys::files::RealFiles;
use crate::sys::lock::{self, Held};
use crate::sys::proc;
use crate::sys::tmux::Tmux;
use crate::sys::{Files, PaneRow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest state file, bytes.
const FILE_MAX: u64 = 16 << 20;
/// How long tmux may take before a reading command goes on without it.
const TMUX_PATIENCE: Duration = Duration::from_secs(2);

/// What is in the state directory.
#[derive(Debug)]
pub struct Snapshot {
    /// The clocks.
    pub now: Now,
    /// Units, clocks and mail.
    pub state: State,
    /// Markers for the whole fleet.
    pub fleet: Markers,
    /// Markers of units.
    pub markers: BTreeMap<UnitName, Markers>,
    /// The watchdog's last sign of life.
    pub heartbeat: Option<Heartbeat>,
    /// Who holds the lock.
    pub holder: Option<Held>,
    /// Units whose file can't be read.
    pub broken: BTreeMap<UnitName, String>,
    /// What tmux says now; None when it was not asked or did not answer.
    pub live: Option<BTreeMap<UnitName, Live>>,
    /// The watchdog was started into its own session, and tmux says that there is none.
    pub session_lost: bool,
}

impl Snapshot {
    /// Reads the files. An error only when the folder itself can't be read.
    pub fn read(config: &Config) -> Result<Snapshot> {
        let now = Clock::new().now();
        let mut files = RealFiles::new(&config.state_dir);
        files.list("").map_err(|error| error.doing("reading the state directory"))?;
        let mut snapshot = Snapshot {
            state: State::default(),
            fleet: markers(&mut files, None),
            markers: BTreeMap::new(),
            heartbeat: load::<Heartbeat>(&mut files, table::HEARTBEAT, &now).ok().flatten(),
            holder: lock::held(&config.state_dir),
            broken: BTreeMap::new(),
            live: None,
            session_lost: false,
            now,
        };
        let now = &snapshot.now;
        snapshot.state.clocks =
            load::<Clocks>(&mut files, table::CLOCKS, now).ok().flatten().unwrap_or_default();
        snapshot.state.phase =
            load::<PhaseState>(&mut files, table::PHASE, now).ok().flatten().unwrap_or_default();
        snapshot.state.tokens =
            load::<Tokens>(&mut files, table::TOKENS, now).ok().flatten().unwrap_or_default();
        snapshot.state.mail = load::<Mail>(&mut files, table::MAIL, now).ok().flatten().unwrap_or_default();
        for name in config.units.keys() {
            match load::<UnitState>(&mut files, &table::unit(name), now) {
                Ok(Some(state)) => drop(snapshot.state.units.insert(name.clone(), state)),
                Ok(None) => {}
                Err(why) => drop(snapshot.broken.insert(name.clone(), why)),
            }
            let found = markers(&mut files, Some(name));
            snapshot.markers.insert(name.clone(), found);
        }
        Ok(snapshot)
    }

    /// Asks tmux once what lives; without an answer the recorded state stands.
    pub fn look(&mut self, config: &Config) {
        if !config.needs_tmux {
            self.live = Some(BTreeMap::new()); // Nothing of it lives in tmux.
            return;
        }
        let list = Tmux::new(&config.tmux_socket).deadline(TMUX_PATIENCE).list();
        let unknown = matches!(list.server, ServerSeen::Unknown { .. });
        let own = ensure::session(config);
        let stands = matches!(row(config, &own, &list.rows), Some((row, Ownership::Ours)) if !row.dead);
        self.session_lost = !unknown && !stands && self.was_started_into_a_session(config);
        self.live = match list.server {
            ServerSeen::Unknown { .. } => None,
            ServerSeen::Absent | ServerSeen::Alive(_) => Some(live(config, &list.rows)),
        };
    }

    /// The watchdog that acts has what `up` and `ensure` give to one in its environment.
    fn was_started_into_a_session(&self, config: &Config) -> bool {
        let Some(held) = self.holder.as_ref().filter(|held| held.is_awake()) else { return false };
        let ours = config.state_dir.join("units").join(ensure::UNIT);
        proc::environ(held.pid, "WATCHKEEPER_UNIT_DIR").is_some_and(|dir| ours == std::path::Path::new(&dir))
    }

    /// The watchdog, judged.
    pub fn watchdog(&self) -> Watchdog {
        let judged = Watchdog::judge(self.heartbeat.as_ref(), self.holder.as_ref(), &self.now);
        Watchdog { session_lost: self.session_lost, ..judged }
    }

    /// What a summary is made from.
    pub fn sight<'a>(&'a self, config: &'a Config) -> Sight<'a> {
        Sight {
            config,
            now: &self.now,
            units: &self.state.units,
            phase: &self.state.phase,
            fleet: &self.fleet,
            markers: &self.markers,
            live: self.live.as_ref(),
            broken: &self.broken,
        }
    }
}

/// The row of a unit's session, and whether the session is ours.
pub fn row<'r>(config: &Config, session: &str, rows: &'r [PaneRow]) -> Option<(&'r PaneRow, Ownership)> {
    let stamp = config.state_dir.to_string_lossy();
    let row = rows.iter().find(|row| row.session == session)?;
    Some((row, if row.stamp == stamp { Ownership::Ours } else { Ownership::Foreign }))
}

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It carries our stamp.
    Ours,
    /// It carries none, or another fleet's.
    Foreign,
}

fn live(config: &Config, rows: &[PaneRow]) -> BTreeMap<UnitName, Live> {
    let says = |session: &str| match row(config, session, rows) {
        None => Live::Absent,
        Some((_, Ownership::Foreign)) => Live::Foreign,
        Some((row, Ownership::Ours)) if row.dead => Live::Dead,
        Some((_, Ownership::Ours)) => Live::Alive,
    };
    // A process has no session.
    let in_tmux = config.units.iter().filter(|(_, unit)| unit.process().is_none());
    in_tmux.map(|(name, unit)| (name.clone(), says(&unit.session))).collect()
}

/// A state file, None when it is missing. The error is a fragment.
pub fn load<T: Serialize + DeserializeOwned + Default>(
    files: &mut impl Files,
    path: &str,
    now: &Now,
) -> Result<Option<T>, String> {
    let Some(bytes) = files.read(path, FILE_MAX).map_err(|e| e.message())? else { return Ok(None) };
    match json::load::<T>(&bytes, now) {
        Ok(loaded) => Ok(Some(loaded.value)),
        Err(Broken { line: 0, message, .. }) => Err(format!("`{path}`: {message}")),
        Err(Broken { line, column, message }) => Err(format!("`{path}:{line}:{column}`: {message}")),
    }
}
