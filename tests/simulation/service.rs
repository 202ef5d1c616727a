//! One cooperative service: what it is like, and what it does when its time comes.

use super::cli::Ended;
use super::files::Disk;
use watchkeeper::base::time::Wall;

/// How often a healthy service beats, ms.
pub const BEAT_MS: i64 = 10_000;
/// Exit status of who asks to be started anew (SPEC 8).
pub const ASKS: i32 = 42;

/// What a service is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It keeps all its promises.
    Well,
    /// Its heart stands still, but it looks at its marker.
    Stuck,
    /// Hung but alive: TERM ends it.
    Hung,
    /// Hung for some minutes; then it goes on.
    Dozes,
    /// Hung, and it ignores TERM.
    Deaf,
    /// Hung, with a child that ignores TERM and outlives it.
    Orphans,
    /// It ends with status 1 within seconds.
    Crashes,
    /// It ends before it wrote anything.
    Early,
    /// It asks to be started anew (exit status 42) within seconds.
    Restless,
    /// It runs the code of its first start, whatever its repository holds.
    Sticky,
}

impl Mode {
    /// All but the healthy one.
    pub const BAD: [Mode; 9] = [
        Mode::Stuck,
        Mode::Hung,
        Mode::Dozes,
        Mode::Deaf,
        Mode::Orphans,
        Mode::Crashes,
        Mode::Early,
        Mode::Restless,
        Mode::Sticky,
    ];

    fn beats(self) -> bool {
        matches!(self, Mode::Well | Mode::Restless | Mode::Sticky | Mode::Crashes)
    }

    fn reads_markers(self) -> bool {
        self.beats() || self == Mode::Stuck
    }
}

/// One service: its present process, and its fate.
#[derive(Clone, Debug)]
pub struct Service {
    /// It is compared with its repository.
    pub versioned: bool,
    pub mode: Mode,
    /// Whatever is started until then is like this.
    pub fate: (Mode, i64),
    pub born: i64,
    pub born_wall: Wall,
    pub last_beat: Option<i64>,
    /// The code that the process runs.
    pub code: String,
    /// When it stamps it; None: it did.
    pub stamps_at: Option<i64>,
    pub stamped_at: Option<i64>,
    /// A person started it.
    pub by_person: bool,
    pub wakes_at: i64,
    pub dies: Option<(i64, Ended)>,
    /// It ended, and nobody has asked how: until then.
    pub zombie: Option<(i64, Ended)>,
}

impl Service {
    pub fn new(versioned: bool) -> Service {
        Service {
            versioned,
            mode: Mode::Well,
            fate: (Mode::Well, 0),
            born: 0,
            born_wall: Wall(0),
            last_beat: None,
            code: String::new(),
            stamps_at: None,
            stamped_at: None,
            by_person: false,
            wakes_at: 0,
            dies: None,
            zombie: None,
        }
    }

    /// Its silence ends then; false: it has none that can.
    pub fn comes_to_itself(&mut self, at: i64) -> bool {
        let can = matches!(self.mode, Mode::Hung | Mode::Stuck | Mode::Dozes);
        if can {
            (self.mode, self.wakes_at) = (Mode::Dozes, at);
        }
        can
    }

    /// Since when it has not beaten; a start counts as a beat.
    pub fn silent_since(&self) -> i64 {
        self.last_beat.unwrap_or(self.born).max(self.born)
    }
}

/// A file of a unit.
pub fn path(unit: &str, file: &str) -> String {
    format!("units/{unit}/{file}")
}

/// What a living service does; Some: it ends itself.
pub fn live(service: &mut Service, unit: &str, disk: &mut Disk, t: i64, local: Wall) -> Option<Ended> {
    if service.stamps_at.is_some_and(|at| t >= at) && service.mode != Mode::Early {
        service.stamps_at = None;
        service.stamped_at = Some(t);
        disk.put_at(&path(unit, "version"), format!("{}\n", service.code).as_bytes(), local);
    }
    if service.mode == Mode::Dozes && t >= service.wakes_at {
        service.mode = Mode::Well;
    }
    if service.mode.beats() {
        service.last_beat = Some(t);
        disk.put_at(&path(unit, "heartbeat"), b"", local);
    }
    // Its own marker, if it is newer than its start: taken away, and obeyed.
    let marker = path(unit, "RESTART");
    let newer = disk.modified(&marker).is_some_and(|at| at > service.born_wall);
    (service.mode.reads_markers() && newer).then(|| {
        disk.delete(&marker);
        Ended::Status(ASKS)
    })
}
