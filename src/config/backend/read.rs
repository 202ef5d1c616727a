//! From a TOML table to a [`Backend`]: every wrong key is reported, none stops the others from being read.
//!
//! Deliberately not here: files, places in files, the merge of the operator's keys.

use super::pattern::Pattern;
use super::signals::{Blocks, Error, Frame, Menu, MenuKind, Placeholder, Signals};
use super::{Backend, PromptDelivery};
use crate::base::text::nearest;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::{Table, Value};

/// Longest list in a table.
const LIST_LENGTH_MAX: usize = 100;
/// Default of `footer_rows_max`: two rows of the CLI and a status line of the operator's own with some rows.
const FOOTER_ROWS_MAX: usize = 6;

/// Default of `gap_max`: two blank rows is the most seen.
const BUSY_GAP_MAX: usize = 3;

/// What is known about errors of every CLI: laid under each backend's own `[signals.error]`.
const COMMON: &str = include_str!("../../backends/common.toml");

/// One complaint about a backend's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// Keys from the backend's table inwards; a place in a list is its number from 0.
    pub path: Vec<String>,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Reads a backend. Patterns that stand alike in `builtin` are not compiled yet.
pub(super) fn backend(name: &str, table: &Table, builtin: &Table) -> Result<Backend, Vec<KeyError>> {
    let mut check = Check { builtin: with_common(builtin), errors: Vec::new() };
    let (table, empty) = (with_common(table), Table::new());
    let mut r = Reader::new(&table, &[], &mut check);
    let signals = r.table("signals").unwrap_or(&empty);
    let command = r.words("command");
    if command.is_empty() {
        r.wrong("command", "must be a list of words, the program first".into(), None);
    }
    let delivery =
        [("paste", PromptDelivery::Paste), ("arg", PromptDelivery::Arg), ("stdin", PromptDelivery::Stdin)];
    let made = Backend {
        name: name.to_owned(),
        command,
        model_flag: r.text("model_flag").filter(|flag| !flag.is_empty()),
        prompt_delivery: r.choice("prompt_delivery", &delivery, PromptDelivery::Paste),
        submit_key: r.text("submit_key").unwrap_or_else(|| "Enter".into()),
        queue_key: r.text("queue_key").filter(|key| !key.is_empty()),
        submit_delay_s: r.seconds("submit_delay_s", 0.5),
        resume: r.words("resume"),
        clear_keys: r.words("clear_keys"),
        approve_keys: r.words("approve_keys"),
        deny_keys: r.words("deny_keys"),
        limit_menu_keys: r.words("limit_menu_keys"),
        env: r.env("env"),
        env_remove: r.words("env_remove"),
        process_names: r.words("process_names"),
        status_file: r.text("status_file").filter(|path| !path.is_empty()),
        transcript_dir: r.text("transcript_dir").filter(|path| !path.is_empty()),
        transcript_suffix: r.text("transcript_suffix").unwrap_or_else(|| ".jsonl".into()),
        version_command: r.words("version_command"),
        versions_tested: r.words("versions_tested"),
        launch_said: String::new(),
        signals: Arc::new(read_signals(signals, r.check)),
    };
    r.finish();
    if check.errors.is_empty() { Ok(made) } else { Err(check.errors) }
}

/// The table with [`COMMON`] laid under its `[signals.error]`.
fn with_common(table: &Table) -> Table {
    let mut table = table.clone();
    let signals = table.entry("signals").or_insert_with(|| Table::new().into());
    let error = signals.as_table_mut().map(|t| t.entry("error").or_insert_with(|| Table::new().into()));
    if let Some(Value::Table(error)) = error {
        let mut whole: Table = COMMON.parse().unwrap_or_default();
        whole.extend(std::mem::take(error));
        *error = whole;
    }
    table
}

fn read_signals(table: &Table, check: &mut Check) -> Signals {
    let mut signals = Signals::default();
    let mut r = Reader::new(table, &["signals"], check);
    let empty = Table::new();
    let [title, composer, busy, dialog, turn, error] =
        ["title", "composer", "busy", "dialog", "turn", "error"].map(|key| r.table(key).unwrap_or(&empty));
    let frames = [
        ("rules", Frame::Rules),
        ("bands", Frame::Bands),
        ("glyph", Frame::Glyph),
        ("bar", Frame::Bar),
        ("line", Frame::Line),
        ("shell", Frame::Shell),
    ];
    let blocks = [("heads", Blocks::Heads), ("paragraphs", Blocks::Paragraphs)];
    signals.frame = r.choice("frame", &frames, Frame::Rules);
    signals.blocks = r.choice("blocks", &blocks, Blocks::Heads);
    signals.sidebar = r.pattern("sidebar");
    signals.limit = r.patterns("limit");
    signals.starting = r.patterns("starting");
    r.finish();

    let mut r = Reader::new(title, &["signals", "title"], check);
    signals.title_busy = r.patterns("busy");
    signals.title_idle = r.patterns("idle");
    signals.title_blocked = r.patterns("blocked");
    r.finish();

    read_composer(composer, check, &mut signals);
    read_busy(busy, check, &mut signals);

    let mut r = Reader::new(dialog, &["signals", "dialog"], check);
    signals.cursor = r.pattern("cursor");
    signals.hints = r.patterns("hints");
    signals.dialog_lines = r.patterns("lines");
    signals.questions = r.patterns("questions");
    signals.overlay = r.patterns("overlay");
    signals.menus = r.menus("menus");
    r.finish();

    let mut r = Reader::new(turn, &["signals", "turn"], check);
    signals.head = r.pattern("head");
    signals.tool = r.patterns("tool");
    signals.skip = r.patterns("skip");
    signals.end = r.patterns("end");
    signals.closed = r.patterns("closed");
    r.finish();

    read_errors(error, check, &mut signals);
    signals
}

fn read_composer(table: &Table, check: &mut Check, signals: &mut Signals) {
    let mut r = Reader::new(table, &["signals", "composer"], check);
    signals.prompt = r.pattern("prompt");
    signals.placeholders = r.patterns("placeholders");
    let placeholder = [("dim", Placeholder::Dim), ("text", Placeholder::Text)];
    signals.placeholder = r.choice("placeholder", &placeholder, Placeholder::Dim);
    signals.ready = r.patterns("ready");
    signals.footer_rows_max = r.count("footer_rows_max", FOOTER_ROWS_MAX);
    r.finish();
}

fn read_busy(table: &Table, check: &mut Check, signals: &mut Signals) {
    let mut r = Reader::new(table, &["signals", "busy"], check);
    signals.busy_footer = r.patterns("footer");
    signals.busy_status = r.patterns("status");
    signals.busy_pass = r.patterns("pass");
    signals.busy_gap_max = r.count("gap_max", BUSY_GAP_MAX);
    signals.retrying = r.patterns("retrying");
    signals.compacting = r.patterns("compacting");
    r.finish();
}

/// The error kinds in the order in which they are asked: a full context names tokens and numbers that look like
/// others, money comes before the key that it is refused for, what the server says before how the stream ended.
fn read_errors(table: &Table, check: &mut Check, signals: &mut Signals) {
    let mut r = Reader::new(table, &["signals", "error"], check);
    signals.error = r.patterns("lines");
    let kinds = [
        (Error::Context, "context"),
        (Error::Billing, "billing"),
        (Error::Auth, "auth"),
        (Error::Server, "server"),
        (Error::Network, "network"),
    ];
    signals.kinds = kinds.map(|(kind, key)| (kind, r.patterns(key))).into();
    r.finish();
}

/// What is wrong so far, and what need not be looked at.
struct Check {
    /// Known to be right: every test run reads it.
    builtin: Table,
    errors: Vec<KeyError>,
}

impl Check {
    /// Whether this value stands alike in the built-in table.
    fn is_built_in<'p>(&self, path: impl IntoIterator<Item = &'p str>, value: &Value) -> bool {
        let mut path = path.into_iter();
        let mut at = path.next().and_then(|key| self.builtin.get(key));
        for key in path {
            at = match at {
                Some(Value::Array(list)) => key.parse().ok().and_then(|i: usize| list.get(i)),
                Some(other) => other.get(key),
                None => None,
            };
        }
        at == Some(value)
    }
}

/// One table under its path.
struct Reader<'t, 'e> {
    table: &'t Table,
    path: Vec<String>,
    check: &'e mut Check,
    known: Vec<&'static str>,
}

impl<'t, 'e> Reader<'t, 'e> {
    fn new(table: &'t Table, path: &[&str], check: &'e mut Check) -> Reader<'t, 'e> {
        Reader { table, path: path.iter().map(|&key| key.to_owned()).collect(), check, known: Vec::new() }
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Value> {
        self.known.push(key);
        self.table.get(key)
    }

    fn wrong(&mut self, key: &str, message: String, hint: Option<String>) {
        let path = self.path.iter().cloned().chain(key.split('.').map(str::to_owned)).collect();
        self.check.errors.push(KeyError { path, message, hint });
    }

    fn mistyped(&mut self, key: &str, want: &str, found: &Value) {
        self.wrong(key, format!("must be {want}, found {}", found.type_str()), None);
    }

    /// Reports the keys that nobody asked for.
    fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for key in self.table.keys().filter(|key| !known.contains(&key.as_str())) {
            let near = nearest(key, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let path = self.path.iter().cloned().chain([key.clone()]).collect();
            let message = format!("unknown key `{}`", key.escape_debug());
            self.check.errors.push(KeyError { path, message, hint: near });
        }
    }

    fn table(&mut self, key: &'static str) -> Option<&'t Table> {
        match self.get(key)? {
            Value::Table(table) => Some(table),
            other => {
                self.mistyped(key, "a table", other);
                None
            }
        }
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.mistyped(key, "a text", other);
                None
            }
        }
    }

    fn list(&mut self, key: &'static str) -> &'t [Value] {
        match self.get(key) {
            None => &[],
            Some(Value::Array(list)) if list.len() <= LIST_LENGTH_MAX => list,
            Some(Value::Array(list)) => {
                self.wrong(
                    key,
                    format!("has {} entries, at most {LIST_LENGTH_MAX} are allowed", list.len()),
                    None,
                );
                &[]
            }
            Some(other) => {
                self.mistyped(key, "a list", other);
                &[]
            }
        }
    }

    fn words(&mut self, key: &'static str) -> Vec<String> {
        let mut words = Vec::new();
        for (i, value) in self.list(key).iter().enumerate() {
            match value {
                Value::String(word) => words.push(word.clone()),
                other => self.mistyped(&format!("{key}.{i}"), "a text", other),
            }
        }
        words
    }

    fn env(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for (name, value) in self.table(key).into_iter().flatten() {
            match value {
                Value::String(text) if !name.is_empty() && !name.contains(['=', '\0']) => {
                    env.insert(name.clone(), text.clone());
                }
                Value::String(_) => {
                    self.wrong(key, format!("`{}` can't name a variable", name.escape_debug()), None);
                }
                other => self.mistyped(&format!("{key}.{name}"), "a text", other),
            }
        }
        env
    }

    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return *chosen;
        }
        let names = || choices.iter().map(|(name, _)| *name);
        let hint = match nearest(&text, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.wrong(key, format!("unknown value `{}`", text.escape_debug()), Some(hint));
        default
    }

    fn seconds(&mut self, key: &'static str, default: f64) -> f64 {
        let seconds = match self.get(key) {
            None => return default,
            Some(Value::Float(seconds)) => *seconds,
            Some(Value::Integer(seconds)) => *seconds as f64,
            Some(other) => {
                self.mistyped(key, "a number of seconds", other);
                return default;
            }
        };
        if (0.0..=60.0).contains(&seconds) {
            return seconds;
        }
        self.wrong(key, format!("is {seconds} s, must be between 0 and 60"), None);
        default
    }

    fn count(&mut self, key: &'static str, default: usize) -> usize {
        match self.get(key) {
            None => default,
            Some(Value::Integer(n @ 0..=100)) => usize::try_from(*n).unwrap_or(default),
            Some(Value::Integer(n)) => {
                self.wrong(key, format!("is {n}, must be between 0 and 100"), None);
                default
            }
            Some(other) => {
                self.mistyped(key, "a whole number", other);
                default
            }
        }
    }

    /// A pattern under this key; one that is the operator's own is compiled, to see whether it can be.
    fn compile(&mut self, key: &str, pattern: &Value) -> Option<Pattern> {
        let Value::String(text) = pattern else {
            self.mistyped(key, "a text", pattern);
            return None;
        };
        if self.check.is_built_in(self.path.iter().map(String::as_str).chain(key.split('.')), pattern) {
            return Some(Pattern::built_in(text));
        }
        match Pattern::checked(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.wrong(key, format!("is no regular expression: {last}"), None);
                None
            }
        }
    }

    fn pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let pattern = self.get(key).filter(|pattern| pattern.as_str() != Some(""))?;
        self.compile(key, pattern)
    }

    fn patterns(&mut self, key: &'static str) -> Vec<Pattern> {
        let list = self.list(key);
        list.iter().enumerate().filter_map(|(i, value)| self.compile(&format!("{key}.{i}"), value)).collect()
    }

    fn menus(&mut self, key: &'static str) -> Vec<Menu> {
        let mut menus = Vec::new();
        for (i, value) in self.list(key).iter().enumerate() {
            let Value::Table(table) = value else {
                self.mistyped(&format!("{key}.{i}"), "a table", value);
                continue;
            };
            let mut r = Reader::new(table, &[], self.check);
            r.path = self.path.iter().cloned().chain([key.to_owned(), i.to_string()]).collect();
            let kinds = [
                ("onboarding", MenuKind::Onboarding),
                ("limit", MenuKind::Limit),
                ("overlay", MenuKind::Overlay),
                ("starting", MenuKind::Starting),
            ];
            let menu = Menu {
                name: r.text("name").unwrap_or_default(),
                kind: r.choice("kind", &kinds, MenuKind::Onboarding),
                all: r.patterns("all"),
                keys: r.words("keys"),
            };
            if menu.all.is_empty() {
                r.wrong("all", "must list at least one pattern".into(), None);
            }
            r.finish();
            menus.push(menu);
        }
        menus
    }
}
