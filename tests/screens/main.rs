//! The screen reader against real captures (`fixtures/panes`): each screen has a state given by people.
//!
//! `cargo test --test screens -- --nocapture` prints the confusion table.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod fields;
mod hostile;
mod support;
mod variants;

use std::collections::BTreeMap;
use support::{SAMPLES, is_harmful, is_right, label, look, substate};

#[test]
fn captures_are_read_as_people_read_them() {
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    let (mut right, mut all, mut harmful) = (0, 0, 0);
    for sample in SAMPLES.iter() {
        for (form, screen) in ["txt", "ansi"].iter().zip(&sample.forms) {
            let reading = look(sample, screen);
            let got = label(&reading);
            *table.entry((sample.state.clone(), got.clone())).or_default() += 1;
            all += 1;
            right += usize::from(is_right(sample, &reading));
            harmful += usize::from(is_harmful(sample, &got));
            if !is_right(sample, &reading) {
                let (want, kind) = (&sample.state, &sample.substate);
                println!("{} ({form}): want {want} {kind}, got {got} {}", sample.path, substate(&reading));
                println!("    {:?}", reading.evidence);
            }
        }
    }
    println!("{:<12} {:<12} count", "label", "read");
    for ((want, got), count) in &table {
        println!("{want:<12} {got:<12} {count}{}", if want == got { "" } else { "  <<" });
    }
    println!("{right} of {all} right");
    assert!(right * 100 >= all * 98, "{right} of {all} right");
    assert_eq!(harmful, 0);
}
