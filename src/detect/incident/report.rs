//! `report.md`, the page for three o'clock in the morning: what broke, where, since when and how often, what was done and why,
//! what to do now; details below. Three places of it are kept up to date later: how often, what became of the remedy, and what
//! to do now.

use super::frames::{FrameSeen, SourceSeen};
use super::{IndexLine, Material, Repeats, advice, configs, fenced, inline, readable};
use crate::base::text::counted;
use crate::base::time::{Wall, human_s};
use crate::detect::mask::mask;
use crate::detect::zone;
use crate::model::finding::FindingKind;
use crate::model::incident::Source;
use std::fmt::Write;

/// Lines of the trace that the page shows; the whole one is in trace.txt.
const TRACE_LINES: usize = 60;
/// Bytes of it.
const TRACE_BYTES: usize = 12 << 10;
/// Lines around the hot one.
const HOT_LINES: usize = 6;
/// Frames listed beside the hot one.
const CALLERS: usize = 8;
/// Attempts listed.
const TRIED_MAX: usize = 10;
/// The line that says how often it came begins so.
const OFTEN: &str = "- **How often:** ";
/// What became of the remedy stands between these.
const TRIED_FROM: &str = "<!-- attempts -->\n";
const TRIED_TO: &str = "<!-- end of attempts -->\n";
/// What to do now stands between these.
const NOW_FROM: &str = "<!-- now -->\n";
const NOW_TO: &str = "<!-- end of now -->\n";

/// One attempt, as the page lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// When it began.
    pub at: Wall,
    /// What was done.
    pub action: String,
    /// Who chose it.
    pub source: String,
    /// What became of it.
    pub status: String,
    /// In words.
    pub description: String,
    /// The branch with an agent's edits; "" = none.
    pub branch: String,
}

/// The page.
pub fn page(material: &Material<'_>) -> String {
    let mut out = String::new();
    what(&mut out, material);
    place(&mut out, material);
    since(&mut out, material);
    done(&mut out, material);
    section(&mut out, "What to do now");
    let order = material.order;
    let now = material.outlook.map_or_else(
        || advice::by_remedy(order.unit.as_str(), &order.id, &order.remedy, order.over),
        |text| inline_marked(text, 600),
    );
    let _ = write!(out, "{NOW_FROM}- {now}\n{NOW_TO}");
    for line in advice::lines(material) {
        let _ = writeln!(out, "- {line}");
    }
    out.push_str("\n---\n");
    match material.order.finding.kind {
        FindingKind::Traceback => trace(&mut out, material),
        FindingKind::Stall | FindingKind::Metric => anomaly(&mut out, material),
        FindingKind::Pattern | FindingKind::Exit => {}
    }
    log(&mut out, material);
    surroundings(&mut out, material);
    out
}

fn section(out: &mut String, title: &str) {
    let _ = write!(out, "\n## {title}\n\n");
}

/// What broke.
fn what(out: &mut String, material: &Material<'_>) {
    let order = material.order;
    let headline = inline(&IndexLine::new(order).headline(), 200);
    let _ = write!(out, "# {}: {headline}\n\n", order.unit);
    let run = match order.run.number {
        0 => String::new(),
        n => format!(", in run {n}"),
    };
    let into = order.run_since.map(|began| format!(", {} after its start", human_s(order.at.since_s(began))));
    let detector = inline(&order.finding.detector, 80);
    let kind = order.finding.kind.word();
    let kind = if detector == kind { String::new() } else { format!(" ({kind})") };
    let state = if order.over { "It had ended." } else { "It was still running." };
    let _ = writeln!(
        out,
        "Found by `{detector}`{kind} at {}{run}{}. {state}",
        when(order.at, material.zone),
        into.unwrap_or_default(),
    );
    for cause in order.finding.chain.iter().take(5) {
        let text = inline(&format!("{}: {}", cause.exception, cause.message), 200);
        let _ = writeln!(out, "- in one chain with {text}");
    }
}

/// Where it broke, when that is a place in a source; else where in the log.
fn place(out: &mut String, material: &Material<'_>) {
    let finding = &material.order.finding;
    let Some(hot) = material.frames.iter().position(|frame| frame.hot) else {
        if finding.kind == FindingKind::Pattern || finding.kind == FindingKind::Exit {
            section(out, "Where");
            let near = material.excerpt.near(4, 4);
            match near.is_empty() {
                true => out.push_str("Nobody can tell: its log has no lines.\n"),
                false => {
                    if finding.kind == FindingKind::Pattern {
                        note(out, material);
                    }
                    out.push_str(&fenced("text", &mask(&near.join("\n"))));
                }
            }
        }
        return;
    };
    section(out, "Where");
    let Some(frame) = material.frames.get(hot) else { return };
    let _ = writeln!(out, "{}", frame.place());
    match &frame.source {
        SourceSeen::Shown { syntax, snippet, .. } => {
            out.push('\n');
            out.push_str(&mask(&fenced(syntax.fence(), &snippet.near(HOT_LINES).render().join("\n"))));
            let _ = writeln!(out, "\nThe whole of it: `{}`", frame.file_name(hot + 1));
        }
        SourceSeen::Library => out.push_str("\nAll of its frames are library code.\n"),
        SourceSeen::Unseen { why } => {
            let _ = writeln!(out, "\nIts source is not shown: {}.", inline(why, 300));
        }
    }
    callers(out, material, hot);
}

fn callers(out: &mut String, material: &Material<'_>, hot: usize) {
    let user = |frame: &&FrameSeen| !frame.hot && frame.source != SourceSeen::Library;
    let own: Vec<&FrameSeen> = material.frames.iter().filter(user).collect();
    let library = material.frames.iter().filter(|frame| frame.source == SourceSeen::Library).count();
    // The nearest ones are the telling ones: Python prints them last, the others first.
    let innermost_last = material.frames.len() > 1 && hot * 2 >= material.frames.len();
    let near: Vec<&&FrameSeen> = match innermost_last {
        true => own.iter().rev().take(CALLERS).collect(),
        false => own.iter().take(CALLERS).collect(),
    };
    if near.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nCalled from:");
    for frame in &near {
        let _ = writeln!(out, "- {}", frame.place());
    }
    let more = own.len().saturating_sub(near.len());
    if more > 0 {
        let _ = writeln!(out, "- and {more} more");
    }
    if library > 0 {
        let _ = writeln!(out, "\n{} of libraries not shown.", counted(library, "frame"));
    }
}

/// Since when and how often.
fn since(out: &mut String, material: &Material<'_>) {
    section(out, "Since when, how often");
    let _ = writeln!(out, "- **First:** {}", when(material.repeats.first, material.zone));
    let _ = writeln!(out, "{OFTEN}{}", often(&material.repeats, material.zone));
    if material.order.restarts > 0 {
        let _ = writeln!(out, "- **Restarts so far:** {}", material.order.restarts);
    }
}

fn often(repeats: &Repeats, zone: &str) -> String {
    match repeats.count {
        0 | 1 => "this is the first time".to_owned(),
        n => format!("{n} times, the last at {}", when(repeats.last, zone)),
    }
}

/// What was done and why.
fn done(out: &mut String, material: &Material<'_>) {
    let order = material.order;
    section(out, "What was done, and why");
    let who = match &order.remedy.source {
        Source::Rule { name } => format!("rule `{}`", inline(name, 80)),
        Source::Default | Source::Agent | Source::Person => order.remedy.source.human(),
    };
    match order.remedy.action.as_str() {
        "agent" => out.push_str("- **The healing agent was asked**\n"),
        "" => out.push_str("- Nothing, so far as was known when this page was written\n"),
        "none" => out.push_str("- **Nothing was done**\n"),
        _ => {
            let _ = writeln!(out, "- **{}**, chosen by {who}", advice::remedy(order));
        }
    }
    // Who chose it stands above already.
    let own = format!("rule `{}` says so", order.remedy.source.word());
    let why = order.remedy.why.strip_prefix(&own).unwrap_or(&order.remedy.why).trim_start_matches("; ");
    if !why.is_empty() {
        let _ = writeln!(out, "- because {}", inline(why, 300));
    }
    for note in order.notes.iter().filter(|note| !why.contains(note.as_str())).take(10) {
        let _ = writeln!(out, "- {}", inline(note, 300));
    }
    out.push('\n');
    out.push_str(TRIED_FROM);
    out.push_str("- no attempt so far\n");
    out.push_str(TRIED_TO);
}

fn trace(out: &mut String, material: &Material<'_>) {
    section(out, "Trace");
    let text = mask(&readable(&material.order.finding.text, TRACE_BYTES));
    let lines: Vec<&str> = text.trim_end().lines().collect();
    // Both ends say something: where it came from, and what it came to.
    let half = TRACE_LINES / 2;
    if lines.len() <= TRACE_LINES {
        out.push_str(&fenced("text", &lines.join("\n")));
    } else {
        let left_out = format!("… {} lines, see trace.txt", lines.len() - 2 * half);
        let shown = [&lines[..half], &[left_out.as_str()], &lines[lines.len() - half..]].concat();
        out.push_str(&fenced("text", &shown.join("\n")));
    }
}

/// Recent values and settings instead of a trace.
fn anomaly(out: &mut String, material: &Material<'_>) {
    let finding = &material.order.finding;
    let mut values = finding.recent.clone();
    if let Some(value) = finding.value.filter(|value| values.last() != Some(value)) {
        values.push(value);
    }
    let shown: Vec<String> = values.iter().rev().take(20).rev().map(|v| number(*v)).collect();
    // Silence and a deadline have none.
    match shown.as_slice() {
        [] => {}
        [only] => {
            section(out, "Recent values");
            let _ = writeln!(out, "{only}, and no other one is known");
        }
        [..] => {
            section(out, "Recent values");
            let _ = writeln!(out, "    {}", spark(&values));
            let _ = writeln!(out, "\n{}, oldest first", shown.join("  "));
        }
    }
    let lines = configs::relevant(&material.configs, finding);
    section(out, "Settings that may matter");
    match lines.is_empty() {
        true => out.push_str("None were found; `config_snapshots` names the files to look into.\n"),
        false => out.push_str(&fenced("text", &lines.join("\n"))),
    }
}

fn log(out: &mut String, material: &Material<'_>) {
    section(out, "Log");
    note(out, material);
    let is_trace = material.order.finding.kind == FindingKind::Traceback;
    let near =
        if is_trace { without_trace(&material.excerpt.near(20, 10)) } else { material.excerpt.near(20, 10) };
    if near.is_empty() {
        out.push_str("It has no lines.\n");
        return;
    }
    out.push_str(&fenced("text", &mask(&near.join("\n"))));
    out.push_str("\nMore around it: `log_excerpt.txt`.\n");
}

/// What a reader has to know about the excerpt, as a line of its own.
fn note(out: &mut String, material: &Material<'_>) {
    let note = inline(&material.excerpt.note, 300);
    let mut chars = note.chars();
    if let Some(first) = chars.next().filter(|_| !material.excerpt.lines.is_empty()) {
        let _ = writeln!(out, "{}{}:\n", first.to_uppercase(), chars.as_str());
    } else if !note.is_empty() {
        let _ = writeln!(out, "{note}\n");
    }
}

/// The trace stands above already: of its lines only the first and the last one.
fn without_trace(near: &[String]) -> Vec<String> {
    let hot: Vec<usize> =
        (0..near.len()).filter(|at| near.get(*at).is_some_and(|line| line.starts_with('>'))).collect();
    let (Some(first), Some(last)) = (hot.first(), hot.last()) else { return near.to_vec() };
    if hot.len() < 4 {
        return near.to_vec();
    }
    let left_out = format!("> … {} lines, see above …", hot.len() - 2);
    [&near[..=*first], &[left_out], &near[*last..]].concat()
}

fn surroundings(out: &mut String, material: &Material<'_>) {
    let place = &material.order.place;
    section(out, "Where it runs");
    if !place.command.is_empty() {
        let _ = writeln!(out, "- command: `{}`", inline(&command(&place.command), 400));
    }
    let _ = writeln!(out, "- host: {}, directory: `{}`", inline(&place.host, 40), inline(&place.dir, 300));
    if !place.log.is_empty() {
        let _ = writeln!(out, "- log: `{}`", inline(&place.log, 300));
    }
    if !place.env.is_empty() {
        let _ = writeln!(out, "- variables: {}", inline(&place.env.join(", "), 400));
    }
    for (key, value) in place.overlay.iter().take(20) {
        let _ = writeln!(out, "- changed by a remedy: `{}`", inline(&format!("{key}={value}"), 200));
    }
    for config in &material.configs {
        let state = config.text.as_ref().err().map(|why| format!(" ({})", inline(why, 120)));
        let _ = writeln!(out, "- kept: `{}`{}", inline(&config.path, 300), state.unwrap_or_default());
    }
    out.push_str(
        "\nBeside this page: `match.json` (the finding), `state.json` (the unit's state then), `configs/`, `frames/`, `fix/`.\n",
    );
}

/// An argv as a shell would take it.
pub fn command(argv: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+[]".contains(c);
    let quoted = |arg: &String| match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.clone(),
        false => format!("'{}'", arg.replace('\'', "'\\''")),
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The page with another count; None when the line is not there (somebody edited it), or says so already.
pub fn with_repeats(page: &str, repeats: &Repeats, zone: &str) -> Option<String> {
    let from = page.find(&format!("\n{OFTEN}"))? + 1;
    let to = from + page.get(from..)?.find('\n')?;
    let line = format!("{OFTEN}{}", often(repeats, zone));
    (page.get(from..to)? != line).then(|| [&page[..from], line.as_str(), &page[to..]].concat())
}

/// The page with these attempts; None when its place is not there, or says so already.
pub fn with_attempts(page: &str, tried: &[Tried], zone: &str) -> Option<String> {
    let from = page.find(TRIED_FROM)? + TRIED_FROM.len();
    let to = from + page.get(from..)?.find(TRIED_TO)?;
    let mut text = String::new();
    let skip = tried.len().saturating_sub(TRIED_MAX);
    if skip > 0 {
        let _ = writeln!(text, "- {skip} earlier attempts are in attempts.tsv");
    }
    for one in tried.iter().skip(skip) {
        let what = inline(&format!("{} ({})", one.action, one.source), 120);
        let branch = if one.branch.is_empty() {
            String::new()
        } else {
            format!(", branch `{}`", inline(&one.branch, 160))
        };
        let words = inline(&one.description, 200);
        let words = if words.is_empty() { words } else { format!(": {words}") };
        let _ = writeln!(text, "- {}: {what} → **{}**{branch}{words}", when(one.at, zone), one.status);
    }
    (page.get(from..to)? != text).then(|| [&page[..from], text.as_str(), &page[to..]].concat())
}

/// The page with another first line of what is to be done now; None when its place is not there, or says so already.
pub fn with_now(page: &str, text: &str) -> Option<String> {
    let from = page.find(NOW_FROM)? + NOW_FROM.len();
    let to = from + page.get(from..)?.find(NOW_TO)?;
    let line = format!("- {}\n", inline_marked(text, 600));
    (page.get(from..to)? != line).then(|| [&page[..from], line.as_str(), &page[to..]].concat())
}

/// A line of our own with its marks: what others said in it was made harmless where it was put in.
fn inline_marked(text: &str, max: usize) -> String {
    crate::base::text::one_line(&mask(&readable(text, 8 * max)), max).replace("<!--", "<! --")
}

/// `2026-11-21 11:00:05 (10:00:05 UTC)`; once where the clocks agree.
fn when(at: Wall, zone: &str) -> String {
    let tz = zone::find_or_utc(zone);
    let utc = at.to_string();
    let time = utc.get(11..19).unwrap_or_default();
    match zone::civil(at, &tz).map(|local| local.strftime("%Y-%m-%d %H:%M:%S").to_string()) {
        Some(local) if local.ends_with(time) => format!("{local} UTC"),
        Some(local) => format!("{local} ({time} UTC)"),
        None => utc,
    }
}

fn number(value: f64) -> String {
    if value.is_finite() && value.abs() >= 0.001 && value.abs() < 1e7 {
        let text = format!("{value:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    if value == 0.0 { "0".to_owned() } else { format!("{value:.3e}") }
}

/// Values as bars, the lowest to the highest.
fn spark(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown: Vec<f64> = values.iter().rev().take(60).rev().copied().collect();
    let finite = || shown.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let bar = |v: f64| {
        if !v.is_finite() {
            return '!';
        }
        let part = if high > low { (v - low) / (high - low) } else { 0.0 };
        BARS.get((part * 7.0).round() as usize).copied().unwrap_or('█')
    };
    shown.iter().map(|v| bar(*v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_once_where_the_clocks_agree() {
        assert_eq!(when(Wall(0), "UTC"), "1970-01-01 00:00:00 UTC");
        assert_eq!(when(Wall(0), "Etc/UTC"), "1970-01-01 00:00:00 UTC");
        assert_eq!(when(Wall(0), "Europe/Berlin"), "1970-01-01 01:00:00 (00:00:00 UTC)");
    }

    #[test]
    fn the_count_and_the_attempts_are_kept_up_to_date() {
        let page = format!("# a\n\n{OFTEN}this is the first time\n\n{TRIED_FROM}{TRIED_TO}end\n");
        let repeats = Repeats { count: 3, first: Wall(0), last: Wall(60_000) };
        let page = with_repeats(&page, &repeats, "Europe/Berlin").unwrap();
        assert!(
            page.contains("\n- **How often:** 3 times, the last at 1970-01-01 01:01:00 (00:01:00 UTC)\n")
        );
        assert_eq!(with_repeats(&page, &repeats, "Europe/Berlin"), None, "nothing to do");
        let tried = Tried {
            action: "restart".into(),
            source: "default".into(),
            status: "kept".into(),
            description: "ran on".into(),
            ..Tried::default()
        };
        let page = with_attempts(&page, &[tried], "UTC").unwrap();
        let want = "<!-- attempts -->\n- 1970-01-01 00:00:00 UTC: restart (default) → **kept**: ran on\n<!-- end of attempts -->\nend\n";
        assert!(page.ends_with(want), "{page}");
        let twelve = vec![Tried::default(); 12];
        assert!(
            with_attempts(&page, &twelve, "UTC")
                .unwrap()
                .contains("- 2 earlier attempts are in attempts.tsv\n")
        );
    }

    #[test]
    fn what_to_do_now_is_kept_up_to_date() {
        let page = "# a\n\n<!-- now -->\n- Wait\n<!-- end of now -->\n- Look\n";
        let text = advice::spent("train", "the same failure 5 times", true);
        let new = with_now(page, &text).unwrap();
        assert!(new.contains(
            "<!-- now -->\n- **It does not run, and is not started again: the same failure 5 times.**"
        ));
        assert!(
            new.contains("`watchkeeper approve train`") && new.ends_with("<!-- end of now -->\n- Look\n"),
            "{new}"
        );
        assert_eq!(with_now(&new, &text), None);
        assert_eq!(with_now("mine now", &text), None);
    }

    #[test]
    fn a_page_that_somebody_edited_is_left_alone() {
        assert_eq!(with_repeats("mine now", &Repeats::default(), "UTC"), None);
        assert_eq!(with_attempts("<!-- attempts -->\nno end", &[], "UTC"), None);
    }

    #[test]
    fn numbers_read_well() {
        let check = |value: f64, want: &str| assert_eq!(number(value), want);
        check(0.25, "0.25");
        check(1234.0, "1234");
        check(0.0, "0");
        check(1e-9, "1.000e-9");
        check(f64::NAN, "NaN");
        assert_eq!(spark(&[0.0, 1.0, f64::NAN]), "▁█!");
        assert_eq!(spark(&[]), "");
    }
}
