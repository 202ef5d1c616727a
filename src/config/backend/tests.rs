//! Tests of the tables and of what is said about wrong ones.

use super::*;

/// A built-in backend.
fn builtin(name: &str) -> Backend {
    let table = Backend::builtin(name).unwrap();
    Backend::from_table(name, &table).unwrap_or_else(|errors| panic!("{name}: {errors:#?}"))
}

#[test]
fn every_built_in_backend_is_whole() {
    for name in Backend::builtin_names() {
        let backend = builtin(name);
        assert_eq!(&backend.name, name);
        assert!(!backend.command.is_empty());
        assert!(!backend.process_names.is_empty(), "{name}");
    }
    assert_eq!(BUILTIN.map(|(name, _)| name), BUILTIN_NAMES);
    assert!(Backend::builtin("cluade").is_none());
}

#[test]
fn a_builtin_says_what_its_cli_needs() {
    let claude = builtin("claude");
    assert_eq!(claude.resume, ["--continue"]);
    assert_eq!(claude.env_remove, ["CLAUDECODE", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_ENTRYPOINT"]);
    assert_eq!(claude.status_file.as_deref(), Some("{home}/.claude/sessions/{pid}.json"));
    assert_eq!(claude.transcript_dir.as_deref(), Some("{home}/.claude/projects/{cwd_dashed}"));
    assert_eq!(builtin("codex").queue_key.as_deref(), Some("Tab"));
    assert_eq!(builtin("shell").model_flag, None);
}

#[track_caller]
fn check(toml: &str, want: &[(&str, &str, Option<&str>)]) {
    let table: toml::Table = toml.parse().unwrap();
    let errors = Backend::from_table("mine", &table).unwrap_err();
    let got: Vec<(String, &str, Option<&str>)> =
        errors.iter().map(|e| (e.path.join("."), e.message.as_str(), e.hint.as_deref())).collect();
    let want: Vec<(String, &str, Option<&str>)> =
        want.iter().map(|(p, m, h)| ((*p).to_owned(), *m, *h)).collect();
    assert_eq!(got, want);
}

#[test]
fn wrong_keys_are_reported_all_at_once_with_the_nearest_name() {
    check(
        "command = ['x']\nsubmit_kee = 'Enter'\n[signals.busy]\nfoter = []\n[signals.title]\nbusy = 'x'",
        &[
            ("signals.title.busy", "must be a list, found string", None),
            ("signals.busy.foter", "unknown key `foter`", Some("did you mean `footer`?")),
            ("submit_kee", "unknown key `submit_kee`", Some("did you mean `submit_key`?")),
        ],
    );
    check("", &[("command", "must be a list of words, the program first", None)]);
    check("command = ['x', 1]", &[("command.1", "must be a text, found integer", None)]);
    check(
        "command = ['x']\nsubmit_delay_s = 100",
        &[("submit_delay_s", "is 100 s, must be between 0 and 60", None)],
    );
    check(
        "command = ['x']\nprompt_delivery = 'past'",
        &[("prompt_delivery", "unknown value `past`", Some("did you mean `paste`?"))],
    );
    check("command = ['x']\nsignals = 1", &[("signals", "must be a table, found integer", None)]);
    check("command = ['x']\nenv = { A = 1 }", &[("env.A", "must be a text, found integer", None)]);
}

#[test]
fn only_what_the_operator_changed_is_checked_again() {
    let builtin = Backend::builtin("claude").unwrap();
    let mut table = builtin.clone();
    table["signals"]["busy"]["footer"] = toml::Value::from(vec!["("]);
    table["signals"]["dialog"]["menus"][0]["all"][0] = toml::Value::from("[");
    let errors = Backend::from_builtin("mine", &table, &builtin).unwrap_err();
    let places: Vec<String> = errors.iter().map(|error| error.path.join(".")).collect();
    assert_eq!(places, ["signals.busy.footer.0", "signals.dialog.menus.0.all.0"]);
    // A list that the operator made longer is checked from the new word on; the rest of it is as it was.
    let mut table = builtin.clone();
    table["signals"]["busy"]["pass"] = toml::Value::from(vec!["^❯ ", "^mine"]);
    let pass = &Backend::from_builtin("mine", &table, &builtin).unwrap().signals.busy_pass;
    assert!(pass[0].is_match("❯ x") && pass[1].is_match("mine") && !pass[1].is_match("not mine"));
}

#[test]
fn a_bad_pattern_is_an_error_at_its_place() {
    check(
        "command = ['x']\n[signals.busy]\nfooter = ['ok', '(']",
        &[("signals.busy.footer.1", "is no regular expression: unclosed group", None)],
    );
    check(
        "command = ['x']\n[[signals.dialog.menus]]\nname = 'a'\nkind = 'limits'\nall = ['[']",
        &[
            ("signals.dialog.menus.0.kind", "unknown value `limits`", Some("did you mean `limit`?")),
            ("signals.dialog.menus.0.all.0", "is no regular expression: unclosed character class", None),
            ("signals.dialog.menus.0.all", "must list at least one pattern", None),
        ],
    );
}

#[test]
fn a_pattern_can_not_eat_the_memory() {
    let table: toml::Table = "command = ['x']\n[signals.title]\nbusy = ['(\\pL{900}){900}']".parse().unwrap();
    let errors = Backend::from_table("mine", &table).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path, ["signals", "title", "busy", "0"]);
}
