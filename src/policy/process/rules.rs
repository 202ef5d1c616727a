//! Which rule matches a finding. Pure; deliberately not here: what is done then.

use crate::config::{After, Rule, RuleMatch};
use crate::model::finding::Finding;

/// A finding as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    /// It.
    pub finding: &'a Finding,
    /// Times that this failure came, this one included.
    pub count: u32,
    /// The process is over, or runs on.
    pub when: After,
}

/// The first rule that matches one of the cases, with the case's place.
pub(super) fn first<'r>(rules: &'r [Rule], cases: &[Case<'_>]) -> Option<(&'r Rule, usize)> {
    rules.iter().find_map(|rule| {
        let place = cases.iter().position(|case| matches(&rule.matching, case))?;
        Some((rule, place))
    })
}

/// The places of the rules that could be meant for what a log said, whatever is counted and whether it runs. Findings of
/// one fingerprint may differ in it: a rule may ask for a number that the fingerprint leaves out.
pub(super) fn meant(rules: &[Rule], finding: &Finding) -> Vec<usize> {
    let may = |rule: &RuleMatch| rule.exit.is_empty() && says(rule, finding);
    rules.iter().enumerate().filter(|(_, rule)| may(&rule.matching)).map(|(place, _)| place).collect()
}

fn matches(rule: &RuleMatch, case: &Case<'_>) -> bool {
    says(rule, case.finding)
        && (rule.exit.is_empty() || case.finding.exit.is_some_and(|code| rule.exit.contains(&code)))
        && rule.at_least.is_none_or(|least| case.count >= least)
        && rule.at_most.is_none_or(|most| case.count <= most)
        && rule.after.is_none_or(|after| after == case.when)
}

/// What the finding itself says.
fn says(rule: &RuleMatch, finding: &Finding) -> bool {
    let is = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(test);
    is(&rule.detector, &|name| finding.detector == name)
        && rule
            .message
            .as_ref()
            .is_none_or(|regex| regex.is_match(&finding.message) || regex.is_match(&finding.text))
        && is(&rule.exception, &|name| {
            finding.exception.as_deref().is_some_and(|found| is_exception(found, name))
        })
}

/// `torch.cuda.OutOfMemoryError` is an `OutOfMemoryError` too.
fn is_exception(found: &str, wanted: &str) -> bool {
    let end = found.len().checked_sub(wanted.len());
    found == wanted
        || end.is_some_and(|at| {
            found.ends_with(wanted)
                && found.get(..at).is_some_and(|head| head.ends_with(['.', ':', '/', '$']))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::parsed;

    #[track_caller]
    fn check(matching: &str, finding: &Finding, count: u32, when: After, want: bool) {
        let text = format!(
            "[[process]]\nname = \"p\"\ncommand = [\"x\"]\nrules = [ {{ match = {{ {matching} }}, action = {{ kind = \"restart\" }} }} ]\n"
        );
        let config = parsed(&text);
        let unit = config.units["p"].process().unwrap();
        let got = first(&unit.rules, &[Case { finding, count, when }]).is_some();
        assert_eq!(got, want, "{matching}");
    }

    #[test]
    fn everything_that_a_rule_names_must_hold() {
        let finding = Finding {
            detector: "traceback".into(),
            exception: Some("torch.OutOfMemoryError".into()),
            message: "CUDA out of memory. Tried 2 GiB".into(),
            exit: Some(1),
            ..Finding::default()
        };
        let check = |matching: &str, want| check(matching, &finding, 2, After::Crash, want);
        check("", true);
        check("detector = \"traceback\"", true);
        check("detector = \"exit\"", false);
        check("message = \"Tried \\\\d+ GiB\"", true);
        check("message = \"host memory\"", false);
        check("exception = \"OutOfMemoryError\"", true);
        check("exception = \"torch.OutOfMemoryError\"", true);
        check("exception = \"MemoryError\"", false);
        check("exit = 1", true);
        check("exit = [2, 137]", false);
        check("at_least = 2, at_most = 2", true);
        check("at_least = 3", false);
        check("at_most = 1", false);
        check("after = \"crash\"", true);
        check("after = \"running\"", false);
        check("detector = \"traceback\", exit = 2", false);
    }

    #[test]
    fn the_order_of_the_rules_decides_and_not_that_of_the_findings() {
        let config = parsed(
            "[[process]]\nname = \"p\"\ncommand = [\"x\"]\nrules = [\n\
             { name = \"one\", match = { detector = \"exit\" }, action = { kind = \"pause\" } },\n\
             { name = \"two\", match = { detector = \"traceback\" }, action = { kind = \"restart\" } } ]\n",
        );
        let (trace, exit) = (finding("traceback"), finding("exit"));
        let case = |finding| Case { finding, count: 1, when: After::Crash };
        let rules = &config.units["p"].process().unwrap().rules;
        let (rule, place) = first(rules, &[case(&trace), case(&exit)]).unwrap();
        assert_eq!((rule.name.as_str(), place), ("one", 1));
    }

    fn finding(detector: &str) -> Finding {
        Finding { detector: detector.into(), ..Finding::default() }
    }
}
