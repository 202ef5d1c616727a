//! The branch that carries the work: its tip at every tick, what stands in it only when it moved.

use crate::base::time::Awake;
use crate::config::{Config, Sequence};
use crate::model::seen::{BranchFacts, BranchSeen, SinceSeen};
use crate::state::State;
use crate::sys::Host;
use crate::sys::git::BranchQuery;

/// A git that failed or hung is asked again after this long, seconds.
const ASK_AGAIN_S: f64 = 60.0;

/// The last look into the branch. Losing it costs one call of git.
#[derive(Debug, Default)]
pub struct BranchMemory {
    facts: Option<(BranchQuery, BranchFacts)>,
    failed: Option<(BranchQuery, Awake, String)>,
}

/// What the clone says of the branch now.
pub fn branch<H: Host>(
    host: &mut H,
    config: &Config,
    state: &State,
    now: Awake,
    memory: &mut BranchMemory,
) -> Option<BranchSeen> {
    let plan = config.sequence.as_ref()?;
    let head = match host.tip(&plan.repo, &plan.remote, &plan.branch) {
        Err(why) => return Some(BranchSeen::Unknown { why }),
        Ok(None) => return Some(BranchSeen::Missing),
        Ok(Some(head)) => head,
    };
    let query = query(plan, state, head);
    if let Some(facts) = memory.known(&query) {
        return Some(BranchSeen::At(facts));
    }
    if let Some((failed, at, why)) = &memory.failed
        && *failed == query
        && now.since_s(*at) < ASK_AGAIN_S
    {
        return Some(BranchSeen::Unknown { why: why.clone() });
    }
    Some(match host.branch(&query) {
        Ok(facts) => {
            memory.failed = None;
            memory.facts = Some((query, facts.clone()));
            BranchSeen::At(facts)
        }
        Err(why) => {
            memory.failed = Some((query, now, why.clone()));
            BranchSeen::Unknown { why }
        }
    })
}

fn query(plan: &Sequence, state: &State, head: String) -> BranchQuery {
    BranchQuery {
        repo: plan.repo.clone(),
        head,
        since: state.git.head.clone(),
        status: plan.phases.iter().map(|phase| (phase.id.clone(), plan.in_repo(&phase.status))).collect(),
        inboxes: plan.handoff.inboxes.keys().map(|file| (file.clone(), plan.in_repo(file))).collect(),
        done_marker: plan.done_marker.clone(),
    }
}

impl BranchMemory {
    /// What is known already. The head that was handed on meanwhile changes only what came since.
    fn known(&self, query: &BranchQuery) -> Option<BranchFacts> {
        let (known, facts) = self.facts.as_ref()?;
        if known == query {
            return Some(facts.clone());
        }
        let handed_on = query.since.as_ref() == Some(&query.head);
        let same = handed_on && BranchQuery { since: known.since.clone(), ..query.clone() } == *known;
        same.then(|| BranchFacts { since: SinceSeen::Nothing, ..facts.clone() })
    }
}
