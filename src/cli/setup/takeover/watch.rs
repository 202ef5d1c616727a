//! `detectors` and `rules` taken over.

use super::{Keys, Works, World, filled_in, line, pair, places};
use crate::cli::setup::toml_text::{key as toml_key, number, string, strings};
use crate::cli::setup::yaml::Node;

/// Most detectors and rules that are taken over; ours allow no more.
const LIST_MAX: usize = 100;

/// Detectors and rules, the same for every stage.
#[derive(Debug, Default)]
pub(super) struct Watch {
    detectors: Vec<Detector>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Detector {
    /// As rules of the old file call it.
    old: String,
    /// Ours.
    name: String,
    works: Works,
    text: String,
}

#[derive(Debug)]
struct Rule {
    path: String,
    works: Works,
    head: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    /// Its text, whatever the process is.
    Plain { kind: &'static str, text: String },
    /// The variables that change.
    Env(Vec<(String, String)>),
}

/// What a process is, as far as rules ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is started by us.
    Started,
    /// Somebody else's.
    Attached { may_kill: bool },
}

impl Watch {
    /// Our name of a detector that came through.
    pub(super) fn detector(&self, old: &str) -> Option<&str> {
        self.detectors.iter().find(|d| d.old == old && d.works == Works::Yes).map(|d| d.name.as_str())
    }

    /// `detectors = [...]`
    pub(super) fn write_detectors(&self, out: &mut String) {
        if self.detectors.is_empty() {
            out.push_str("# No detectors were named: tracebacks and bad exits are looked for.\n");
            return;
        }
        out.push_str("detectors = [\n");
        self.detectors.iter().for_each(|detector| line(out, detector.works, &detector.text));
        out.push_str("]\n");
    }

    /// Variables that rules reckon with.
    pub(super) fn reckoned(&self) -> impl Iterator<Item = &str> {
        let sets =
            self.rules.iter().filter(|rule| rule.works == Works::Yes).filter_map(|rule| match &rule.action {
                Action::Env(set) => Some(set),
                Action::Plain { .. } => None,
            });
        sets.flatten().filter(|(_, value)| is_reckoned(value)).map(|(name, _)| name.as_str())
    }

    /// `rules = [...]` for a process with these numbers in its environment.
    pub(super) fn write_rules(&self, out: &mut String, numbers: &[&str], kept: Kept, keys: &Keys<'_>) {
        if self.rules.is_empty() {
            return;
        }
        out.push_str("rules = [\n");
        for rule in &self.rules {
            let (mut works, action) = (rule.works, rule.action.text());
            if works == Works::Yes
                && let Some(why) = rule.action.unfit(numbers, kept)
            {
                keys.notes.left_out(&rule.path, format!("{why}; it stands there as a comment"));
                works = Works::No;
            }
            line(out, works, &format!("{{ {}, action = {{ {action} }} }}", rule.head));
        }
        out.push_str("]\n");
    }
}

impl Action {
    fn text(&self) -> String {
        match self {
            Action::Plain { text, .. } => text.clone(),
            Action::Env(set) => {
                let set: Vec<String> = set
                    .iter()
                    .map(|(name, value)| format!("{} = {}", toml_key(name), change(value)))
                    .collect();
                format!("kind = \"restart-with-env\", set = {{ {} }}", set.join(", "))
            }
        }
    }

    fn unfit(&self, numbers: &[&str], kept: Kept) -> Option<String> {
        let kind = match self {
            Action::Plain { kind, .. } => kind,
            Action::Env(_) => "restart-with-env",
        };
        match kept {
            Kept::Attached { .. } if kind.starts_with("restart") => {
                return Some("what is attached to is never started".to_owned());
            }
            Kept::Attached { may_kill: false } if kind != "command" => {
                return Some("what is attached to is only ended with `allow_kill = true`".to_owned());
            }
            Kept::Started | Kept::Attached { .. } => {}
        }
        let Action::Env(set) = self else { return None };
        let missing =
            set.iter().find(|(name, value)| is_reckoned(value) && !numbers.contains(&name.as_str()));
        missing.map(|(name, value)| {
            format!("`{value}` needs a number to reckon with: put {name} with its present number into `env`")
        })
    }
}

/// A variable's new value: autosentry never halved below 1.
fn change(value: &str) -> String {
    match value {
        "half" => "{ change = \"half\", floor = 1 }".to_owned(),
        value => string(value),
    }
}

fn is_reckoned(value: &str) -> bool {
    value == "half" || value == "double"
}

/// Reads both lists.
pub(super) fn watch(root: &Keys<'_>, world: &World<'_>) -> Watch {
    let mut watch = Watch::default();
    for (path, node) in root.list("detectors").into_iter().take(LIST_MAX) {
        detector(&path, node, root, world, &mut watch.detectors);
    }
    for (path, node) in root.list("rules").into_iter().take(LIST_MAX) {
        if let Some(rule) = rule(&path, node, root, world, &watch) {
            watch.rules.push(rule);
        }
    }
    watch
}

/// A name as ours may be: letters, digits, `.`, `_`, `-`; at most 64.
fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(plain).take(64).collect()
}

fn unique(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    let short: String = name.chars().take(60).collect();
    (2..=LIST_MAX + 2).map(|n| format!("{short}-{n}")).find(|name| !taken(name)).unwrap_or(name)
}

fn detector(path: &str, node: &Node, root: &Keys<'_>, world: &World<'_>, made: &mut Vec<Detector>) {
    let keys = Keys::new(path, node, root.notes);
    let notes = root.notes;
    let old_kind = keys.text("kind").unwrap_or_default();
    let old = keys.text("name").unwrap_or(old_kind).to_owned();
    let kind = match old_kind {
        "pattern" | "traceback" | "stall" => old_kind,
        "exit_code" => "exit",
        other => {
            notes.left_out(path, format!("there is no kind of detector `{other}`"));
            return;
        }
    };
    let name = unique(plain_name(&old), |name| made.iter().any(|detector| detector.name == name));
    if name != old {
        notes.changed(
            &keys.at("name"),
            format!("`{old}` is called `{name}`: names are unique, of letters, digits, `.`, `_`, `-`"),
        );
    }
    let mut parts = vec![pair("kind", kind), pair("name", &name)];
    let mut works = Works::Yes;
    for (their, ours, of) in [("regex", "regex", "pattern"), ("metric_regex", "metric_regex", "stall")] {
        let Some(regex) = keys.text(their) else { continue };
        if kind != of {
            notes.left_out(&keys.at(their), format!("a {kind} detector does not read it"));
            continue;
        }
        let regex = rust_regex(&filled_in(regex, &keys.at(their), world, notes));
        if let Err(why) = compiles(&regex) {
            notes.left_out(
                path,
                format!("its pattern can't be used here ({why}); it stands there as a comment"),
            );
            works = Works::No;
        }
        parts.push(pair(ours, &regex));
    }
    if kind == "pattern" && keys.get("regex").is_none() {
        notes.left_out(path, "a pattern detector without a regex; it stands there as a comment");
        works = Works::No;
    }
    let progress = keys.seconds("no_progress_seconds", 0.01);
    if let Some(seconds) = progress.filter(|_| kind == "stall") {
        parts.push(format!("no_progress_s = {}", number(seconds)));
    }
    let only_bad = keys.truth("nonzero_only");
    if kind == "exit" && only_bad == Some(false) {
        parts.push("any = true".to_owned());
    }
    if let Some(seconds) = keys.seconds("cooldown_seconds", 0.0) {
        parts.push(format!("cooldown_s = {}", number(seconds)));
    }
    keys.finish();
    made.push(Detector { old, name, works, text: format!("{{ {} }}", parts.join(", ")) });
}

/// What Python spells otherwise.
fn rust_regex(regex: &str) -> String {
    regex.replace(r"\Z", r"\z")
}

fn compiles(regex: &str) -> Result<(), String> {
    if regex.is_empty() {
        return Err("it is empty and would match every line".to_owned());
    }
    let built = regex::bytes::RegexBuilder::new(regex).size_limit(1 << 20).build();
    built.map(|_| ()).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

fn rule(path: &str, node: &Node, root: &Keys<'_>, world: &World<'_>, watch: &Watch) -> Option<Rule> {
    let keys = Keys::new(path, node, root.notes);
    let mut works = Works::Yes;
    let mut head = Vec::new();
    if let Some(old) = keys.text("name") {
        let taken = |name: &str| watch.rules.iter().any(|rule| rule.head.starts_with(&pair("name", name)));
        let name = unique(plain_name(old), taken);
        if name != old {
            root.notes.changed(&keys.at("name"), format!("`{old}` is called `{name}`"));
        }
        head.push(pair("name", &name));
    }
    let mut matching = Vec::new();
    if let Some(of) = keys.map("match") {
        if let Some(old) = of.text("detector") {
            let name = watch.detector(old);
            if name.is_none() {
                let text = format!(
                    "`{old}` is no detector that is in force, so the rule never matched; it stands there as a comment"
                );
                root.notes.left_out(path, text);
                works = Works::No;
            }
            matching.push(pair("detector", name.unwrap_or(old)));
        }
        if let Some(regex) = of.text("message_regex") {
            let regex = rust_regex(&filled_in(regex, &of.at("message_regex"), world, root.notes));
            if let Err(why) = compiles(&regex) {
                root.notes.left_out(
                    path,
                    format!("its pattern can't be used here ({why}); it stands there as a comment"),
                );
                works = Works::No;
            }
            let text = "is searched in our message: the line itself, or the exception's text, without `pattern matched:` before it";
            root.notes.changed(&of.at("message_regex"), text);
            matching.push(pair("message", &regex));
        }
        of.finish();
    }
    head.push(match matching.is_empty() {
        true => "match = {}".to_owned(),
        false => format!("match = {{ {} }}", matching.join(", ")),
    });
    let action = action(&keys, world);
    keys.finish();
    let Some(action) = action else {
        root.notes.left_out(path, "the rule has no action that is known here");
        return None;
    };
    Some(Rule { path: path.to_owned(), works, head: head.join(", "), action })
}

fn action(rule: &Keys<'_>, world: &World<'_>) -> Option<Action> {
    let keys = rule.map("action")?;
    let kind = keys.text("kind")?;
    let command = keys.words("command").filter(|command| !command.is_empty());
    let set = set(&keys, world);
    if keys.truth("notify") == Some(false) {
        rule.notes
            .left_out(&keys.at("notify"), "each remedy is an event; people are told when one does not help");
    }
    let action = match kind {
        "restart" => Some(("restart", "kind = \"restart\"".to_owned())),
        "pause" => Some(("pause", "kind = \"pause\"".to_owned())),
        "abort" => Some(("abort", "kind = \"abort\"".to_owned())),
        "restart_with_env" if set.is_empty() => Some(("restart", "kind = \"restart\"".to_owned())),
        "restart_with_env" => {
            keys.finish();
            return Some(Action::Env(set));
        }
        "custom_command" => {
            let at = keys.at("command");
            let words: Vec<String> =
                command?.iter().map(|word| places(word, &at, world, rule.notes)).collect();
            rule.notes.changed(
                &at,
                "runs for at most 60 s unless `timeout_s` says otherwise, and its exit status counts",
            );
            Some(("command", format!("kind = \"command\", command = {}", strings(&words))))
        }
        _ => None,
    };
    keys.finish();
    action.map(|(kind, text)| Action::Plain { kind, text })
}

fn set(action: &Keys<'_>, world: &World<'_>) -> Vec<(String, String)> {
    let Some(node) = action.get("set") else { return Vec::new() };
    let at = action.at("set");
    let Node::Map(entries) = node else {
        action.notes.left_out(&at, "is no mapping");
        return Vec::new();
    };
    let mut set = Vec::new();
    for (name, value) in entries {
        match value.text() {
            Some(_) | None if name.is_empty() || name.contains(['=', '\0']) => {
                action.notes.left_out(&at, format!("`{name}` is no name of a variable"));
            }
            Some(text) => set.push((name.clone(), filled_in(text, &at, world, action.notes))),
            None => action.notes.left_out(&at, format!("the value of {name} is no word")),
        }
    }
    set
}
