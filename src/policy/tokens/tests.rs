//! Records open and close with phases and labels; sums grow and are never doubled.

use super::*;
use crate::base::time::Wall;
use crate::model::usage::{Counted, Cursor, FileNews};
use crate::policy::testing::{START, World, name};
use crate::state::tokens::Record;

struct Ledger {
    world: World,
    tokens: Tokens,
    next_key: u64,
}

impl Ledger {
    fn new(config: &str) -> Ledger {
        let agents = "[[agent]]\nname = \"a\"\n[[agent]]\nname = \"b\"\n";
        Ledger { world: World::new(&format!("{config}{agents}")), tokens: Tokens::default(), next_key: 0 }
    }

    /// A tick `after_s` seconds after the start, in which agents used output tokens.
    fn tick(&mut self, after_s: f64, at: &Position, used: &[(&str, u64)]) {
        let seen = &mut self.world.seen;
        seen.now.wall = START.plus_s(after_s);
        seen.usage.agents.clear();
        for (agent, output) in used {
            self.next_key += 1;
            let usage = Totals::one(0, *output, 0, 0);
            let counted = vec![Counted { key: self.next_key, at: Some(seen.now.wall), usage }];
            let files = vec![FileNews { cursor: Cursor::default(), counted }];
            seen.usage
                .agents
                .insert(name(agent), AgentUsage { since: START, files, ..AgentUsage::default() });
        }
        fold(&self.world.config, &self.world.seen, at, &mut self.tokens);
    }

    fn owed(&self) -> Vec<(String, u64, i64)> {
        self.tokens.owed.iter().map(|r| (r.phase_id.clone(), r.total.output, r.duration_s)).collect()
    }
}

fn at(phase: &str, label: &str) -> Position {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Position { phase: some(phase), label: some(label) }
}

#[test]
fn labels_are_read_from_claims() {
    #[track_caller]
    fn check(subject: &str, want: Option<&str>) {
        assert_eq!(claimed_label(subject).as_deref(), want, "{subject}");
    }
    check("claim(login): it works", Some("login"));
    check("claim(feat:login)", Some("login"));
    check("claim( feat:two words ): x", Some("two words"));
    check("claim()", None);
    check("claim(feat:)", None);
    check("claim(open", None);
    check("claim: x", None);
    check("fix claim(x)", None);
    check("claim(a\x1b[31mb)", Some("a[31mb"));
}

#[test]
fn a_record_for_each_gate_or_each_phase() {
    let steps = [
        (at("1", ""), 1),
        (at("1", "login"), 2),
        (at("1", "login"), 4),
        (at("1", "logout"), 8),
        (at("2", ""), 16),
        (at("", ""), 32),
        (at("", ""), 64),
    ];
    let run = |config: &str| {
        let mut ledger = Ledger::new(config);
        for (n, (position, used)) in steps.iter().enumerate() {
            ledger.tick(n as f64 * 10.0, position, &[("a", *used)]);
        }
        ledger.owed()
    };
    let gates = run("");
    // What is read in the tick that sees the change was used before it.
    let want = [("1", 3, 10), ("1:login", 12, 20), ("1:logout", 16, 10), ("2", 32, 10)];
    assert_eq!(gates, want.map(|(id, n, s)| (id.to_owned(), n, s)));
    let phases = run("[watchdog]\ntoken_granularity = \"phase\"\n");
    assert_eq!(phases, [("1".to_owned(), 31, 40), ("2".to_owned(), 32, 10)]);
}

#[test]
fn a_record_names_who_used_what() {
    let mut ledger = Ledger::new("");
    ledger.tick(0.0, &at("", ""), &[("a", 100)]);
    ledger.tick(10.0, &at("1", ""), &[]);
    ledger.tick(20.0, &at("1", ""), &[("a", 5), ("b", 7)]);
    ledger.tick(40.0, &at("2", ""), &[]);
    let record = ledger.tokens.owed[0].clone();
    assert_eq!(record.agents["a"].output, 5);
    assert_eq!(record.agents["b"].output, 7);
    assert_eq!((record.total.total, record.total.messages, record.duration_s), (12, 2, 30));
    let json = serde_json::to_value(&record).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["phase_id", "started", "ended", "duration_s", "agents", "total"]);
}

#[test]
fn nothing_used_is_no_record_and_what_is_logged_is_no_longer_owed() {
    let mut ledger = Ledger::new("");
    ledger.tick(0.0, &at("1", ""), &[]);
    ledger.tick(10.0, &at("2", ""), &[]);
    assert!(ledger.tokens.owed.is_empty());
    ledger.tick(20.0, &at("3", ""), &[("a", 1)]);
    assert_eq!(ledger.owed().len(), 1);
    ledger.tick(30.0, &at("3", ""), &[]);
    assert_eq!(ledger.owed().len(), 1, "owed until it is seen in the ledger");
    ledger.world.seen.usage.logged = ledger.tokens.owed.iter().map(Record::id).collect();
    ledger.tick(40.0, &at("3", ""), &[]);
    assert!(ledger.tokens.owed.is_empty());
}

#[test]
fn after_a_loss_of_memory_the_record_goes_on_from_the_ledgers_end() {
    let mut ledger = Ledger::new("");
    ledger.world.seen.usage.ledger_end = Some(Wall(START.0 - 5000));
    ledger.tick(0.0, &at("2", ""), &[("a", 3)]);
    ledger.world.seen.usage.ledger_end = None;
    ledger.tick(5.0, &at("3", ""), &[]);
    assert_eq!(ledger.owed(), [("2".to_owned(), 3, 10)]);
}

#[test]
fn nothing_is_kept_when_nobody_wants_it() {
    let mut ledger = Ledger::new("[watchdog]\nlog_tokens = false\n");
    ledger.tick(0.0, &at("1", ""), &[("a", 3)]);
    assert_eq!(ledger.tokens, Tokens::default());
}
