//! Scenes: a few troubles at a high rate each, in which a planted bug shows soon. The swarm has them all, but rarely.

use super::cli::Temper;
use super::faults::Swarm;

/// A scene: its name and its troubles.
pub type Scene = (&'static str, fn() -> Swarm);

/// All of them.
pub const ALL: &[Scene] = &[
    ("work", work),
    ("deaths", deaths),
    ("crashes", crashes),
    ("short lives", short_lives),
    ("limits", limits),
    ("silence", silence),
    ("servers", servers),
    ("markers", markers),
    ("waits", waits),
    ("tools", tools),
    ("compaction", compaction),
    ("people", people),
    ("dialogs", dialogs),
    ("edits", edits),
    ("requests", requests),
    ("records", records),
    ("clocks", clocks),
    ("pauses", pauses),
];

/// Turns of some minutes, and nothing goes wrong.
pub fn work() -> Swarm {
    Swarm::calm()
}

/// Processes die now and then, some many at once.
pub fn deaths() -> Swarm {
    Swarm { deaths: 250, mass_deaths: 40, ..work() }
}

/// The watchdog is killed often.
pub fn crashes() -> Swarm {
    Swarm { kills: 400, ..work() }
}

/// What is started dies within seconds, for a long time.
pub fn short_lives() -> Swarm {
    Swarm { crashy: 80, ..work() }
}

/// Accounts are limited for minutes.
pub fn limits() -> Swarm {
    Swarm { limits: 80, ..work() }
}

/// tmux does not answer for some minutes.
pub fn silence() -> Swarm {
    Swarm { silence: 100, ..deaths() }
}

/// The tmux server dies every few minutes.
pub fn servers() -> Swarm {
    Swarm { server_deaths: 60, ..work() }
}

/// `PAUSED` and `down` come and go, while processes die.
pub fn markers() -> Swarm {
    Swarm { markers: 120, ..deaths() }
}

/// Agents declare waits.
pub fn waits() -> Swarm {
    let temper = Temper { waits: 500, ..work().temper };
    Swarm { temper, ..work() }
}

/// Tools that compute silently for long.
pub fn tools() -> Swarm {
    let temper = Temper { tools: 700, silence_max_s: 1500, ..work().temper };
    Swarm { temper, ..work() }
}

/// Conversations that are compacted for almost the ten minutes that are believed, after turns that ended too soon.
pub fn compaction() -> Swarm {
    let temper =
        Temper { thinks: 0, tools: 0, compacts: 400, silence_max_s: 3000, resumes: 0, ..work().temper };
    Swarm { temper, ..work() }
}

/// People attach, type, leave drafts.
pub fn people() -> Swarm {
    let temper = Temper { resumes: 0, ..work().temper };
    Swarm { people: 600, temper, ..work() }
}

/// Permission dialogs and start-up dialogs.
pub fn dialogs() -> Swarm {
    let temper = Temper { asks: 400, trusts: 400, resumes: 0, ..work().temper };
    Swarm { people: 60, temper, ..work() }
}

/// The config is edited, and who runs with the old one is restarted; some ignore TERM.
pub fn edits() -> Swarm {
    let temper = Temper { stubborn: 500, resumes: 1000, ..work().temper };
    Swarm { edits: 120, temper, ..work() }
}

/// People ask for this and that.
pub fn requests() -> Swarm {
    Swarm { requests: 250, ..work() }
}

/// The same, on a disk that fails, is damaged, and edited by others.
pub fn records() -> Swarm {
    Swarm { disk: 150, damage: 60, yields: 60, tears: 40, ..requests() }
}

/// The machine sleeps, the wall clock jumps.
pub fn clocks() -> Swarm {
    Swarm { jumps: 60, suspends: 80, ..work() }
}

/// Nobody looks for some minutes.
pub fn pauses() -> Swarm {
    let temper = Temper { resumes: 0, ..work().temper };
    Swarm { pauses: 120, temper, ..work() }
}
