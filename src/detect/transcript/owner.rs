//! Which agent a transcript belongs to: by session, working directory and the time of its start.
//!
//! A file has one owner, for ever. Two agents of one CLI in one directory can only be told apart by the session that the
//! CLI's own status file names, or by who started last before the session began; where neither helps, the first one has it.

use super::{Format, Head, gemini};
use crate::base::time::Wall;

/// A session's first record may be stamped a little before its process is known, milliseconds.
const SLACK_MS: i64 = 5000;

/// An agent that may own transcripts.
#[derive(Clone, Debug, Default)]
pub struct Claimant {
    /// Its working directory, also as the kernel writes it.
    pub dirs: Vec<String>,
    /// When its process started, if it lives.
    pub started: Option<Wall>,
    /// The session that its CLI says it is in.
    pub session: Option<String>,
    /// Sessions of files that it owns.
    pub owned: Vec<String>,
}

/// Whether a file can be of any agent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is this one's.
    Agent(usize),
    /// Nobody's: another directory.
    Nobody,
    /// It says too little yet.
    Unknown,
}

/// The owner of a file whose first lines say this. `claimants` are all agents of this format, in the order of the config.
/// `own_dir`: the file lies in a folder that is one directory's (claude, qwen), for those with these indices.
pub fn owner(format: Format, head: &Head, claimants: &[Claimant], own_dir: &[usize]) -> Owner {
    let sessions: Vec<&String> = head.session.iter().chain(&head.parent).collect();
    let holds = |claimant: &Claimant| {
        sessions
            .iter()
            .any(|session| claimant.owned.contains(session) || claimant.session.as_ref() == Some(*session))
    };
    if let Some(found) = claimants.iter().position(holds) {
        return Owner::Agent(found);
    }
    let at_home = |(index, claimant): &(usize, &Claimant)| match (&head.cwd, &head.project) {
        (Some(cwd), _) => claimant.dirs.contains(cwd),
        (None, Some(project)) if format == Format::Gemini => {
            claimant.dirs.iter().any(|dir| gemini::project(dir) == *project)
        }
        (None, _) => own_dir.contains(index),
    };
    let mut candidates: Vec<(usize, &Claimant)> = claimants.iter().enumerate().filter(at_home).collect();
    if candidates.is_empty() {
        let told = head.cwd.is_some() || head.project.is_some();
        return if told { Owner::Nobody } else { Owner::Unknown };
    }
    // Who says that it is in another session is not in this one, unless nobody else is left.
    if candidates.iter().any(|(_, claimant)| claimant.session.is_none()) && candidates.len() > 1 {
        candidates.retain(|(_, claimant)| claimant.session.is_none());
    }
    let before = |claimant: &Claimant| {
        let (began, session) = (claimant.started?, head.started?);
        (began.0.saturating_sub(SLACK_MS) <= session.0).then_some(began)
    };
    let latest = candidates.iter().filter_map(|(index, claimant)| Some((before(claimant)?, *index))).max();
    Owner::Agent(latest.map_or(candidates[0].0, |(_, index)| index))
}

/// How gemini's sessions name a working directory.
pub fn project_of(cwd: &str) -> String {
    gemini::project(cwd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(dir: &str, started_s: i64) -> Claimant {
        let started = (started_s > 0).then_some(Wall(started_s * 1000));
        Claimant { dirs: vec![dir.into()], started, ..Claimant::default() }
    }

    fn head(session: &str, cwd: &str, started_s: i64) -> Head {
        let cwd = (!cwd.is_empty()).then(|| cwd.to_owned());
        Head { session: Some(session.into()), cwd, started: Some(Wall(started_s * 1000)), ..Head::default() }
    }

    #[track_caller]
    fn check(head: &Head, claimants: &[Claimant], want: Owner) {
        assert_eq!(owner(Format::Claude, head, claimants, &[]), want);
    }

    #[test]
    fn the_directory_decides_then_the_start() {
        let two = [claimant("/w", 100), claimant("/w", 200)];
        check(&head("s", "/w", 150), &two, Owner::Agent(0));
        check(&head("s", "/w", 250), &two, Owner::Agent(1));
        check(&head("s", "/w", 197), &two, Owner::Agent(1));
        check(&head("s", "/w", 50), &two, Owner::Agent(0));
        check(&head("s", "/x", 250), &two, Owner::Nobody);
        check(&head("s", "", 250), &two, Owner::Unknown);
        assert_eq!(owner(Format::Claude, &head("s", "", 250), &two, &[1]), Owner::Agent(1));
        check(&head("s", "/w", 250), &[claimant("/x", 1), claimant("/w", 0)], Owner::Agent(1));
    }

    #[test]
    fn the_session_decides_first() {
        let mut two = [claimant("/w", 100), claimant("/w", 200)];
        two[0].session = Some("s".into());
        check(&head("s", "/w", 250), &two, Owner::Agent(0));
        check(&head("other", "/w", 150), &two, Owner::Agent(1));
        two[0].session = None;
        two[0].owned = vec!["parent".into()];
        let child = Head { parent: Some("parent".into()), ..head("child", "/elsewhere", 250) };
        check(&child, &two, Owner::Agent(0));
    }

    #[test]
    fn gemini_names_a_directory_by_its_digest() {
        let project = Some(gemini::project("/w"));
        let head = Head { project, ..Head::default() };
        let two = [claimant("/x", 1), claimant("/w", 1)];
        assert_eq!(owner(Format::Gemini, &head, &two, &[]), Owner::Agent(1));
        assert_eq!(owner(Format::Gemini, &head, &two[..1], &[]), Owner::Nobody);
    }
}
