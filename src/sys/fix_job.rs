//! A job that edits a tree: what the tree was is written down before its program runs, its edits go to a branch after; and
//! the jobs that end such a fix.
//!
//! Deliberately not here: git (`fix_branch`), and when which step is due (`policy`).

use super::fix_branch::{self as fix, Dirty, Edits, Place};
use crate::model::action::{FixJob, FixStep, JOB_REFUSED, Job};
use crate::model::seen::FixSeen;
use std::path::{Path, PathBuf};

/// Most words about what is left.
const LEFT_MAX: usize = 20;

/// What is said of an agent that would be run again after its edits were collected.
const LOST: &str = "the agent was at work before, and its answer is lost: it is not asked again";

/// How a program ended: its status, and why it did not go well.
type Ended = (Option<i32>, Option<String>);

/// Runs the job. Its program is run only for the steps that have one.
pub(super) fn run(
    state_dir: &Path,
    job: &Job,
    order: &FixJob,
    program: impl FnOnce() -> Ended,
) -> (Ended, FixSeen) {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let attempt: String = order.attempt.chars().map(plain).collect();
    let place = Place {
        dir: PathBuf::from(&job.dir),
        incident: order.incident.clone(),
        store: state_dir.join("fixes").join(attempt),
        state_dir: state_dir.to_owned(),
        files: order.files.iter().map(PathBuf::from).collect(),
    };
    match order.step {
        FixStep::Clean => around(&place, Dirty::Refuse, program),
        FixStep::Dirty => around(&place, Dirty::Stash, program),
        FixStep::OpenClean => opened(&place, Dirty::Refuse),
        FixStep::OpenDirty => opened(&place, Dirty::Stash),
        FixStep::Collect => collected(&place, (Some(0), None)),
        FixStep::Restore => end(&place, fix::restore),
        FixStep::Keep => end(&place, fix::keep),
        FixStep::Merge => end(&place, fix::merge),
    }
}

/// Where there is no tree nothing can be kept apart: the agent is asked all the same, and that is said.
fn no_tree(place: &Place) -> FixSeen {
    let text = format!(
        "`{}` is in no git tree: edits of the agent can't be told apart, nor taken back",
        place.dir.display()
    );
    FixSeen { left: vec![text], ..FixSeen::default() }
}

/// Before an agent that is not ours to run begins.
fn opened(place: &Place, dirty: Dirty) -> (Ended, FixSeen) {
    if !fix::is_tree(&place.dir) {
        return ((Some(0), None), no_tree(place));
    }
    if fix::is_collected(place) {
        return refused(place, "an agent was at work for this attempt before");
    }
    match fix::begin(place, dirty) {
        Ok(_) => ((Some(0), None), FixSeen { open: true, ..FixSeen::default() }),
        Err(why) => refused(place, &why),
    }
}

/// What could not be put aside, nor back, is still to be taken back.
fn refused(place: &Place, why: &str) -> (Ended, FixSeen) {
    let open = fix::is_begun(place);
    ((None, Some(format!("{JOB_REFUSED}{why}"))), FixSeen { open, ..FixSeen::default() })
}

fn around(place: &Place, dirty: Dirty, program: impl FnOnce() -> Ended) -> (Ended, FixSeen) {
    if !fix::is_tree(&place.dir) {
        return (program(), no_tree(place));
    }
    if fix::is_collected(place) {
        return collected(place, (None, Some(LOST.to_owned())));
    }
    if let Err(why) = fix::begin(place, dirty) {
        return refused(place, &why);
    }
    collected(place, program())
}

/// After the agent: its edits, apart from the operator's work.
fn collected(place: &Place, ended: Ended) -> (Ended, FixSeen) {
    if !fix::is_begun(place) {
        return match fix::lost(place) {
            Some(why) => ((None, Some(why)), FixSeen::default()),
            None => (ended, no_tree(place)),
        };
    }
    if let Some(gone) = gone(place) {
        return gone;
    }
    match fix::collect(place).and_then(|edits| Ok((edits, fix::unfit(place)?))) {
        Ok((edits, told)) => (ended, FixSeen { told: bounded(told), ..seen(edits) }),
        Err(why) => {
            let why = format!("the agent's edits could not be put on a branch: {why}");
            ((None, Some(why)), FixSeen { open: true, ..FixSeen::default() })
        }
    }
}

/// Without its repository nothing more can be done; with one that git can't answer for now, all of it later.
fn gone(place: &Place) -> Option<(Ended, FixSeen)> {
    match fix::is_gone(place) {
        Ok(false) => None,
        Ok(true) => Some(((None, Some(fix::rescued(place))), FixSeen::default())),
        Err(why) => Some(((None, Some(why)), FixSeen { open: true, ..FixSeen::default() })),
    }
}

fn seen(edits: Edits) -> FixSeen {
    let open = !edits.paths.is_empty();
    FixSeen { branch: edits.branch, patch: edits.diff, left: bounded(edits.left_out), open, told: Vec::new() }
}

fn bounded(mut left: Vec<String>) -> Vec<String> {
    if left.len() > LEFT_MAX {
        let more = left.len() - LEFT_MAX;
        left.truncate(LEFT_MAX);
        left.push(format!("and {more} more"));
    }
    left
}

/// The end of a fix. Where nothing was begun there is nothing to end. The records go when all of it was done.
fn end(place: &Place, step: impl FnOnce(&Place) -> Result<Vec<String>, String>) -> (Ended, FixSeen) {
    if !fix::is_begun(place) {
        fix::clear_unbegun(place);
        return ((Some(0), None), FixSeen::default());
    }
    if let Some(gone) = gone(place) {
        return gone;
    }
    match step(place) {
        Ok(left) if left.is_empty() => {
            let _ = fix::forget(place);
            fix::clear(place);
            ((Some(0), None), FixSeen::default())
        }
        Ok(left) => {
            let left = bounded(left);
            ((Some(1), Some(left.join("; "))), FixSeen { left, ..FixSeen::default() })
        }
        Err(why) => ((None, Some(why)), FixSeen { open: true, ..FixSeen::default() }),
    }
}
