//! What forbids a kill now (SPEC 6.4). A pure query: each veto with its name, its words and the age past which it is
//! told to people. Deliberately not here: the proof itself (stall).

use super::context::UnitContext;
use crate::base::time::human_s;
use crate::detect::wait;
use crate::model::seen::ScreenState;
use crate::state::unit::UnitState;

/// A veto past this age is told, daily (SPEC 6.4).
pub const CAP_S: f64 = 7200.0;
/// Compaction past this age vetoes no more (SPEC 6.4; real ones took up to 205 s, reference in pane-signals).
pub const COMPACTION_CAP_S: f64 = 600.0;
/// A person attached who typed within this time is at work, even if not this minute.
const ATTENDED_S: f64 = 900.0;

/// One veto that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Veto {
    /// Its name, for memory and events.
    pub name: &'static str,
    /// Why, in words.
    pub why: String,
    /// Seconds after which it is told to people.
    pub cap_s: f64,
}

/// All vetoes that hold for this unit now.
pub fn vetoes(context: &UnitContext<'_>, state: &UnitState) -> Vec<Veto> {
    let mut found = Vec::new();
    let mut add = |name, why: String| found.push(Veto { name, why, cap_s: CAP_S });
    if let Some(limit) = &state.limit.active {
        add("limited", format!("limited until {}", limit.until));
    }
    if let Some(since) = state.seen.compacting_since_awake_s {
        // One whose screen moved since is another one, or not hung.
        let since = super::activity::last_change(context.clocks).map_or(since, |changed| since.max(changed));
        let age = context.now.awake_s.since_s(since);
        if age < COMPACTION_CAP_S {
            add(
                "compacting",
                format!("compacts its conversation for {} (cap {})", human_s(age), human_s(COMPACTION_CAP_S)),
            );
        }
    }
    if let Some(why) = open_tool_call(context) {
        add("tool", why);
    }
    if let Some(until) = declared_wait(context).filter(|until| *until > context.now.wall) {
        add("declared_wait", format!("it declared a wait until {until}"));
    }
    if let Some(pane) = context.alive() {
        let typed = pane
            .typed_at
            .map(|at| context.now.wall.since_s(at))
            .filter(|ago| pane.attached > 0 && (-ATTENDED_S..ATTENDED_S).contains(ago));
        if let Some(ago) = typed {
            add("attended", format!("a person is attached and typed {} ago", human_s(ago)));
        }
        let composer = pane.reading.composer.as_deref().unwrap_or("");
        let ours = !state.delivery.last_text.is_empty()
            && super::guard_text::is_ours(composer, &state.delivery.last_text);
        if !composer.is_empty() && !ours {
            add("draft", "a person's draft stands in the composer".into());
        }
        if matches!(pane.reading.state, ScreenState::Blocked | ScreenState::Onboarding) {
            add("dialog", "a dialog waits for a person".into());
        }
        if pane.reading.overlay {
            add("overlay", "a viewer or picker covers its screen".into());
        }
    }
    if let Some(why) = &context.fleet.blind {
        add("blind", format!("tmux could not be asked ({why})"));
    }
    if let Some(why) = &context.fleet.starved {
        add("starved", why.clone());
    }
    if context.fleet.woken {
        add("woken", "nobody looked for longer than usual until just now".into());
    }
    found
}

/// An open tool call whose descendants use CPU.
fn open_tool_call(context: &UnitContext<'_>) -> Option<String> {
    let changed = context.clocks.tools.as_ref()?.changed_awake_s?;
    let recent = context.now.awake_s.since_s(changed);
    // Without a transcript nobody knows which tool calls are open: work of the tools speaks for itself.
    let open = context.seen.transcript.as_ref().is_none_or(|transcript| transcript.open_tool_call);
    let works = recent < 2.0 * context.config.watchdog.signal_interval_s;
    (open && works).then(|| format!("a tool call is open and its processes used CPU {} ago", human_s(recent)))
}

/// The wait that the unit declared, on its last line or in its file.
pub fn declared_wait(context: &UnitContext<'_>) -> Option<crate::base::time::Wall> {
    let line = context.alive().and_then(|pane| wait::parse_line(&pane.reading.last_line));
    line.into_iter().chain(context.seen.markers.waiting_until).max()
}

#[cfg(test)]
mod tests {
    use crate::model::seen::Ask;
    use crate::policy::testing::{World, name};

    const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\nbackend = \"demo\"\n";

    /// A person renews a budget of a healthy unit: that is no leave to kill it when it is busy with a tool tomorrow.
    #[test]
    fn an_approval_is_not_kept_for_a_later_stall() {
        let mut world = World::running(LOOP);
        world.unit("a").busy();
        world.ask(Ask::Approve { unit: name("a") });
        world.ticks(3);
        assert!(!world.state_of("a").stall.approved, "{}", world.story());
    }
}
