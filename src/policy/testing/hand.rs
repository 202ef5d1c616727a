//! The hand of a test on one unit of a [`World`]: what is seen of it, changed between ticks.

use super::World;
use crate::base::names::UnitName;
use crate::model::finding::{Finding, FindingKind};
use crate::model::process::{ProcessSeen, RunId, RunSeen};
use crate::model::seen::{
    AlivePane, Cooperation, Exit, PaneSeen, Process, Reading, ScreenState, Seen, Substate, VersionSeen,
};

/// One unit, to change what is seen of it.
pub struct Hand<'a> {
    pub(super) world: &'a mut World,
    pub(super) name: UnitName,
}

impl Hand<'_> {
    pub fn seen(&mut self) -> &mut Seen {
        self.world.seen.units.get_mut(&self.name).unwrap()
    }

    /// The living pane.
    #[track_caller]
    pub fn pane(&mut self) -> &mut AlivePane {
        match &mut self.seen().pane {
            PaneSeen::Alive(pane) => pane,
            other => panic!("not alive: {other:?}"),
        }
    }

    #[track_caller]
    pub fn reading(&mut self) -> &mut Reading {
        &mut self.pane().reading
    }

    /// A new process, its screen not ready yet.
    pub fn start(&mut self) {
        self.world.hidden.pids += 1;
        let pid = self.world.hidden.pids;
        let now = self.world.seen.now.clone();
        let pane = AlivePane {
            pane: format!("%{}", self.name.as_str().len()),
            pid,
            pid_start: 7,
            command: "claude".into(),
            title: String::new(),
            phase: None,
            in_mode: false,
            attached: 0,
            typed_at: None,
            output_at: now.wall,
            text: "".into(),
            reading: Reading {
                state: ScreenState::Starting,
                content: format!("start {pid}"),
                ..Reading::default()
            },
        };
        self.world.hidden.trees.insert(self.name.clone(), vec![Process { pid, start: 7 }]);
        let cooperative = self.world.config.units[&self.name].cooperative.is_some();
        let left = self.seen().cooperation.take().unwrap_or_default();
        // What its last process wrote stands there still.
        let heartbeat = Some(left.heartbeat.clone().unwrap_or_default());
        self.seen().cooperation = cooperative.then(|| Box::new(Cooperation { heartbeat, ..*left }));
        self.seen().pane = PaneSeen::Alive(Box::new(pane));
    }

    /// A cooperative unit touches its heartbeat.
    #[track_caller]
    pub fn beats(&mut self) {
        let now = self.world.seen.now.awake_s;
        self.cooperation().heartbeat = Some(format!("touched {}", now.0));
    }

    /// It stamps the version that it runs.
    #[track_caller]
    pub fn stamps(&mut self, version: &str) {
        let at = Some(self.world.seen.now.wall);
        self.cooperation().version = Some(VersionSeen { text: version.to_owned(), at });
    }

    /// What a cooperative unit says of itself.
    #[track_caller]
    pub fn cooperation(&mut self) -> &mut Cooperation {
        self.seen().cooperation.as_mut().expect("it is not cooperative, or never ran")
    }

    /// Its screen's content is another one.
    pub fn moves(&mut self) {
        let now = self.world.seen.now.wall;
        let pane = self.pane();
        pane.output_at = now;
        pane.reading.content = format!("{}.", pane.reading.content);
        if pane.reading.content.len() > 200 {
            pane.reading.content = format!("at {}", now.0);
        }
    }

    #[track_caller]
    pub fn show(&mut self, state: ScreenState) {
        self.moves();
        let reading = self.reading();
        let content = std::mem::take(&mut reading.content);
        let composer = matches!(state, ScreenState::Idle | ScreenState::Error | ScreenState::Busy);
        *reading = Reading { state, content, composer: composer.then(String::new), ..Reading::default() };
    }

    #[track_caller]
    pub fn idle(&mut self) {
        self.show(ScreenState::Idle);
    }

    #[track_caller]
    pub fn busy(&mut self) {
        self.show(ScreenState::Busy);
    }

    /// A text stands in the composer.
    #[track_caller]
    pub fn composer(&mut self, text: &str) {
        let reading = self.reading();
        reading.composer = Some(text.to_owned());
        if matches!(reading.state, ScreenState::Idle | ScreenState::Draft) {
            reading.state = if text.is_empty() { ScreenState::Idle } else { ScreenState::Draft };
        }
    }

    /// A dialog waits.
    #[track_caller]
    pub fn asks(&mut self, dialog: &str) {
        self.show(ScreenState::Blocked);
        self.reading().dialog = Some(dialog.to_owned());
    }

    /// A usage-limit banner.
    #[track_caller]
    pub fn limited(&mut self, banner: &str) {
        self.show(ScreenState::Limited);
        self.reading().composer = Some(String::new());
        self.reading().until = Some(banner.to_owned());
    }

    /// Its last turn ended in an error.
    #[track_caller]
    pub fn fails(&mut self, substate: Substate) {
        self.show(ScreenState::Error);
        self.reading().substate = Some(substate);
    }

    /// A person is attached and presses a key now.
    pub fn person_types(&mut self) {
        let now = self.world.seen.now.wall;
        let pane = self.pane();
        pane.attached = 1;
        pane.typed_at = Some(now);
    }

    /// The process ends; the pane is kept.
    pub fn dies(&mut self, exit: Exit) {
        if self.seen().process.is_some() {
            return self.ended(Some(exit));
        }
        self.world.hidden.trees.entry(self.name.clone()).or_default().retain(|p| p.start != 7);
        let (pane, pid) = match &self.seen().pane {
            PaneSeen::Alive(pane) => (pane.pane.clone(), Some(pane.pid)),
            PaneSeen::Dead { pane, pid, .. } => (pane.clone(), *pid),
            PaneSeen::Unknown | PaneSeen::Absent => return,
        };
        self.seen().pane = PaneSeen::Dead { pane, exit: Some(exit), at: None, pid };
    }

    /// Its run is at work.
    pub fn runs(&mut self, number: u64) {
        self.world.hidden.pids += 1;
        let root = Process { pid: self.world.hidden.pids, start: 7 };
        self.world.hidden.trees.insert(self.name.clone(), vec![root]);
        let since = Some(self.world.seen.now.wall);
        let id = RunId { number, handle: format!("{}.7.b1", root.pid) };
        self.process().run = RunSeen::Alive { id, process: Some(root), since, suspended: false };
    }

    /// Its run ends.
    pub fn ended(&mut self, exit: Option<Exit>) {
        self.world.hidden.trees.remove(&self.name);
        let at = Some(self.world.seen.now.wall);
        let id = match &self.process().run {
            RunSeen::Alive { id, .. } | RunSeen::Pending { id, .. } | RunSeen::Ended { id, .. } => id.clone(),
            other => panic!("no run: {other:?}"),
        };
        self.process().run = RunSeen::Ended { id, exit, out_of_memory: false, at, note: None };
        self.world.poke();
    }

    /// Its output goes on.
    pub fn writes(&mut self) {
        let log = &mut self.process().log;
        log.grew = true;
        log.cursor.file = Some((1, 1));
        log.cursor.offset += 100;
    }

    /// A detector found something in its output.
    pub fn says(&mut self, detector: &str, kind: FindingKind, message: &str) {
        self.writes();
        let finding =
            Finding { detector: detector.into(), kind, message: message.into(), ..Finding::default() };
        self.process().log.findings.push(finding);
        self.world.poke();
    }

    /// CPU that its tree has used.
    pub fn uses_cpu(&mut self, ms: u64) {
        *self.world.hidden.cpu.entry(self.name.clone()).or_default() += ms;
    }

    /// What is seen of its run.
    #[track_caller]
    pub fn process(&mut self) -> &mut ProcessSeen {
        self.seen().process.as_mut().expect("no process")
    }

    /// Its session is gone.
    pub fn absent(&mut self) {
        self.world.hidden.trees.remove(&self.name);
        self.seen().pane = PaneSeen::Absent;
    }

    /// It leaves a child behind that outlives it.
    pub fn orphan(&mut self, pid: i32) {
        let tree = self.world.hidden.trees.entry(self.name.clone()).or_default();
        tree.insert(0, Process { pid, start: 8 });
    }

    pub(super) fn pressed(&mut self, keys: &[String]) {
        let reading = self.reading().clone();
        match (reading.state, keys.first().map_or("", String::as_str)) {
            (ScreenState::Blocked | ScreenState::Onboarding, _) => self.busy(),
            (ScreenState::Limited, "Escape") => self.reading().substate = None,
            (_, "C-u") => self.composer(""),
            (_, _) if reading.composer.as_deref().is_some_and(|text| !text.is_empty()) => self.busy(),
            _ => {}
        }
    }
}
