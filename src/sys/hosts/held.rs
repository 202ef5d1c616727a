//! Why a Slurm job that waits begins only when somebody does something, and the command that does it. Source of the reasons:
//! squeue(1), JOB REASON CODES, of 22.05; those of requeued jobs as `squeue` was seen to print them.
//!
//! Deliberately not here: whom it is told (`policy`).

use crate::model::process::Held;

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// It is held.
    Release,
    /// What it waits for never comes.
    Undepend,
    /// It asks for what it never gets.
    Ask,
    /// It runs on whose account it may not.
    Account,
}

/// Words of reasons, small letters and digits only: whoever prints them puts `_` or blanks between, or nothing.
const REASONS: [(&str, Remedy); 19] = [
    ("jobhelduser", Remedy::Release),
    ("jobheldadmin", Remedy::Release),
    ("jobholdmaxrequeue", Remedy::Release),
    ("launchfailedrequeuedheld", Remedy::Release),
    ("jobrequeuedinheldstate", Remedy::Release),
    ("reservationdeleted", Remedy::Release),
    ("dependencyneversatisfied", Remedy::Undepend),
    ("badconstraints", Remedy::Ask),
    ("partitionnodelimit", Remedy::Ask),
    ("partitiontimelimit", Remedy::Ask),
    ("maxmemperlimit", Remedy::Ask),
    ("qosmincpunotsatisfied", Remedy::Ask),
    ("qosminnode", Remedy::Ask),
    ("qosmingres", Remedy::Ask),
    ("qosusagethreshold", Remedy::Account),
    ("invalidaccount", Remedy::Account),
    ("invalidqos", Remedy::Account),
    ("accountnotallowed", Remedy::Account),
    ("qosnotallowed", Remedy::Account),
];

/// Of a job that waits in this state for this reason; None = it begins by itself.
pub fn held(job: u64, state: &str, reason: &str) -> Option<Held> {
    let plain: String = reason.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    let named = REASONS.iter().find(|(name, _)| *name == plain).map(|(_, remedy)| *remedy);
    // `QOSMaxCpuPerJobLimit`, `AssocMaxWallDurationPerJobLimit` …: this very job is too large, whoever else ends.
    let is_too_large =
        plain.ends_with("perjoblimit") && (plain.starts_with("qosmax") || plain.starts_with("assocmax"));
    let remedy = match state {
        "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => Some(Remedy::Release),
        _ => named.or(is_too_large.then_some(Remedy::Ask)),
    }?;
    let advice = match remedy {
        Remedy::Release => format!("`scontrol release {job}` lets it go"),
        Remedy::Undepend => {
            format!("`scontrol update JobId={job} Dependency=` lets it go, `scancel {job}` ends it")
        }
        Remedy::Ask => format!(
            "`scontrol show job {job}` says what it asks for, `scontrol update JobId={job} …` changes that, `scancel {job}` \
             ends it"
        ),
        Remedy::Account => {
            format!("`scontrol update JobId={job} Account=NAME QOS=NAME` lets it go, `scancel {job}` ends it")
        }
    };
    let reason = match reason {
        "" | "None" | "(null)" => state,
        reason => reason,
    };
    Some(Held { why: reason.to_owned(), advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_begins_by_itself_is_told_from_what_does() {
        #[track_caller]
        fn check(state: &str, reason: &str, want: Option<(&str, &str)>) {
            let held = held(7, state, reason);
            match (&held, want) {
                (None, None) => {}
                (Some(held), Some((why, advice))) => {
                    assert!(held.why == why && held.advice.starts_with(advice), "{held:?}");
                }
                (_, _) => panic!("{state} {reason}: {held:?}, not {want:?}"),
            }
        }
        const RELEASE: &str = "`scontrol release 7`";
        check("PENDING", "JobHeldUser", Some(("JobHeldUser", RELEASE)));
        check("PENDING", "JobHeldAdmin", Some(("JobHeldAdmin", RELEASE)));
        let requeued = "job requeued in held state";
        check("PENDING", requeued, Some(("job requeued in held state", RELEASE)));
        check("SPECIAL_EXIT", "job_requeued_in_held_state", Some(("job_requeued_in_held_state", RELEASE)));
        let failed = "launch_failed_requeued_held";
        check("PENDING", failed, Some(("launch_failed_requeued_held", RELEASE)));
        check("REQUEUE_HOLD", "None", Some(("REQUEUE_HOLD", RELEASE)));
        let never = "DependencyNeverSatisfied";
        check("PENDING", never, Some(("DependencyNeverSatisfied", "`scontrol update JobId=7 Dependency=`")));
        for reason in [
            "BadConstraints",
            "PartitionTimeLimit",
            "QOSMaxCpuPerJobLimit",
            "AssocMaxWallDurationPerJobLimit",
        ] {
            check("PENDING", reason, Some((reason, "`scontrol show job 7`")));
        }
        for reason in ["InvalidAccount", "InvalidQOS"] {
            check("PENDING", reason, Some((reason, "`scontrol update JobId=7 Account=NAME")));
        }
        let waits = [
            "Resources",
            "Priority",
            "Dependency",
            "BeginTime",
            "None",
            "QOSMaxJobsPerUserLimit",
            "ReqNodeNotAvail",
            "Licenses",
        ];
        for reason in waits {
            check("PENDING", reason, None);
        }
        check("CONFIGURING", "None", None);
    }
}
