//! Whether everything happened as it should: by the agents' own transcripts, not by the watchdog's word.

use super::cast::{BUILDER, DEPLOYER, LIMIT_S, PLAYERS, Player, STALL_IDLE_S, TESTER, WRITER};
use super::plot::Plot;
use super::sight::{self, Alert, Transcript};
use super::stage::Stage;
use crate::base::time::Wall;
use std::collections::BTreeMap;

/// A killed agent must run again within this time, seconds.
const HEAL_MAX_S: f64 = 10.0;
/// A watchdog must tick again within this time after its start, and the nudge be typed within this time, seconds.
const NUDGE_MAX_S: f64 = 15.0;
/// The probe must come within this time after the reset, seconds.
const PROBE_MAX_S: f64 = 10.0;
/// A person must be told of a dialog within this time, seconds.
const TOLD_MAX_S: f64 = 8.0;

/// The sum of it all.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Who, and what became of it.
    pub sum: Vec<(&'static str, String)>,
    /// Expectations that did not hold, in words.
    pub missing: Vec<String>,
    /// How many there were.
    pub expected: usize,
}

impl Verdict {
    fn expect(&mut self, held: bool, what: impl Into<String>) {
        self.expected += 1;
        if !held {
            self.missing.push(what.into());
        }
    }
}

/// Everything that is judged.
struct Facts<'a> {
    plot: &'a Plot,
    transcripts: BTreeMap<&'static str, Transcript>,
    alerts: Vec<Alert>,
}

/// Judges.
pub fn judge(stage: &Stage, plot: &Plot) -> Verdict {
    let transcripts =
        PLAYERS.iter().map(|player| (player.name, Transcript::of(stage.dir(), *player))).collect();
    let facts = Facts { plot, transcripts, alerts: sight::alerts(&stage.state_dir(), DEPLOYER) };
    let mut verdict = Verdict::default();
    builder(&facts, &mut verdict);
    tester(&facts, &mut verdict);
    writer(&facts, &mut verdict);
    deployer(&facts, &mut verdict);
    watchdog(&facts, &mut verdict);
    prompts(&facts, &mut verdict);
    verdict
}

fn builder(facts: &Facts<'_>, verdict: &mut Verdict) {
    let transcript = facts.of(BUILDER);
    let killed = facts.plot.builder_killed;
    let back = since(killed, transcript.starts().get(1).map(|start| start.at));
    let works =
        since(killed, transcript.prompts().get(1).and_then(|prompt| transcript.worked_after(prompt.at)));
    verdict.expect(
        back.is_some_and(|s| s <= HEAL_MAX_S),
        format!("the builder runs again within {HEAL_MAX_S} s of its death"),
    );
    verdict.expect(works.is_some(), "the builder works again");
    let words = format!("killed; ran again after {}, worked again after {}", told(back), told(works));
    verdict.sum.push((BUILDER.name, words));
}

fn tester(facts: &Facts<'_>, verdict: &mut Verdict) {
    let transcript = facts.of(TESTER);
    let nudge = transcript.prompts().get(1).map(|prompt| prompt.at);
    let fell_silent = transcript
        .entries
        .iter()
        .filter(|entry| entry.kind == "assistant" && nudge.is_none_or(|nudge| entry.at < nudge))
        .map(|entry| entry.at)
        .next_back();
    let silent = since(fell_silent, nudge);
    let works = since(nudge, nudge.and_then(|nudge| transcript.worked_after(nudge)));
    verdict.expect(
        silent.is_some_and(|s| (STALL_IDLE_S..=STALL_IDLE_S + NUDGE_MAX_S).contains(&s)),
        format!("the tester is nudged after {STALL_IDLE_S} s of silence, and within {NUDGE_MAX_S} s more"),
    );
    verdict.expect(works.is_some(), "the tester works again after its nudge");
    let words = format!("silent; nudged after {}, worked again {} later", told(silent), told(works));
    verdict.sum.push((TESTER.name, words));
}

fn writer(facts: &Facts<'_>, verdict: &mut Verdict) {
    let transcript = facts.of(WRITER);
    let hit = transcript.entries.iter().find(|entry| entry.kind == "error").map(|entry| entry.at);
    let reset = hit.map(|at| at.plus_s(LIMIT_S));
    let probe = transcript.prompts().get(1).map(|prompt| prompt.at);
    let after = since(reset, probe);
    let works = since(reset, probe.and_then(|probe| transcript.worked_after(probe)));
    verdict.expect(
        after.is_some_and(|s| (0.0..=PROBE_MAX_S).contains(&s)),
        format!("the writer is asked once, after its reset and within {PROBE_MAX_S} s"),
    );
    verdict.expect(works.is_some(), "the writer works again after its limit");
    let words = format!(
        "usage limit for {LIMIT_S} s; asked {} after the reset, worked again after {}",
        told(after),
        told(works)
    );
    verdict.sum.push((WRITER.name, words));
}

fn deployer(facts: &Facts<'_>, verdict: &mut Verdict) {
    let transcript = facts.of(DEPLOYER);
    // It asks right after its last step before the answer.
    let asked = transcript
        .entries
        .iter()
        .filter(|entry| facts.plot.answered.as_ref().is_none_or(|answered| entry.at < answered.at))
        .map(|entry| entry.at)
        .next_back();
    let alert = since(asked, facts.alerts.first().map(|alert| alert.at));
    let answered = facts.plot.answered.as_ref().map(|answered| answered.at);
    let works = since(answered, answered.and_then(|at| transcript.worked_after(at)));
    verdict.expect(
        facts.alerts.len() == 1 && facts.alerts.iter().all(|alert| alert.text.contains("asks")),
        format!("a person is told of the deployer's dialog once (told {} times)", facts.alerts.len()),
    );
    verdict.expect(
        alert.is_some_and(|s| s <= TOLD_MAX_S),
        format!("a person is told of the dialog within {TOLD_MAX_S} s"),
    );
    verdict.expect(
        facts.plot.answered.as_ref().is_some_and(|answered| answered.was_open),
        "nothing is typed into the dialog before the person answers",
    );
    verdict.expect(works.is_some(), "the deployer works on after the person's answer");
    let words = format!(
        "asked for permission; a person was told after {}, nothing was typed; worked on {} after the answer",
        told(alert),
        told(works)
    );
    verdict.sum.push((DEPLOYER.name, words));
}

fn watchdog(facts: &Facts<'_>, verdict: &mut Verdict) {
    let back = since(facts.plot.watchdog_killed, facts.plot.watchdog_back);
    verdict.expect(
        back.is_some_and(|s| s <= NUDGE_MAX_S),
        format!("the watchdog ticks again within {NUDGE_MAX_S} s of its death"),
    );
    verdict
        .sum
        .push(("watchdog", format!("killed in the midst of the nudge; ticked again after {}", told(back))));
}

/// Every prompt arrived exactly once, and nobody was restarted who had not died.
fn prompts(facts: &Facts<'_>, verdict: &mut Verdict) {
    let (mut expected, mut arrived) = (0, 0);
    let want = [(BUILDER, 2, 2), (TESTER, 1, 2), (WRITER, 1, 2), (DEPLOYER, 1, 1)];
    for (player, starts, prompts) in want {
        let transcript = facts.of(player);
        let (started, typed) = (transcript.starts().len(), transcript.prompts());
        verdict.expect(started == starts, format!("{}: started {starts} times, not {started}", player.name));
        verdict.expect(
            typed.len() == prompts,
            format!("{}: {prompts} prompts, not {}", player.name, typed.len()),
        );
        let roles = typed.iter().filter(|entry| entry.text.trim() == player.prompt).count();
        verdict.expect(
            roles == starts,
            format!("{}: its own prompt {starts} times, whole; not {roles}", player.name),
        );
        expected += prompts;
        arrived += typed.len();
    }
    let words = format!("{arrived} arrived of {expected} sent, by the agents' own transcripts");
    verdict.sum.push(("prompts", words));
}

impl Facts<'_> {
    fn of(&self, player: Player) -> &Transcript {
        static NOTHING: Transcript = Transcript { entries: Vec::new() };
        self.transcripts.get(player.name).unwrap_or(&NOTHING)
    }
}

fn since(from: Option<Wall>, to: Option<Wall>) -> Option<f64> {
    Some(to?.since_s(from?))
}

fn told(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "(never)".to_owned(), |s| format!("{s:.1} s"))
}
