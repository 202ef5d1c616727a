//! One line per unit for people, without durations that change by themselves: the `status` file. Pure.

use crate::config::Config;
use crate::state::State;

/// The text of the `status` file.
pub fn lines(config: &Config, state: &State) -> String {
    let mut units: Vec<_> = config.units.values().collect();
    units.sort_by_key(|unit| unit.position);
    let mut text = String::new();
    for unit in units {
        let Some(unit_state) = state.units.get(&unit.name) else { continue };
        let word = format!("{:?}", unit_state.seen.state).to_lowercase();
        let hold = unit_state
            .hold
            .as_ref()
            .map(|hold| format!("  {} withheld: {}", hold.remedy, hold.why))
            .unwrap_or_default();
        text.push_str(&format!("{:<20} {:<10} since {}{hold}\n", unit.name, word, unit_state.seen.since));
    }
    text
}
