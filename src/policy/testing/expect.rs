//! What a test asks of a [`World`]: what was done, held, told; and the story of it when it is not what was expected.

use super::World;

impl World {
    /// Forgets what was done so far.
    pub fn forget(&mut self) {
        self.done.clear();
        self.alerts.clear();
        self.events.clear();
    }

    /// The labels of what was done to a unit.
    pub fn acts(&self, unit: &str) -> Vec<&str> {
        self.done.iter().filter(|(_, of, ..)| of == unit).map(|(_, _, label, _)| label.as_str()).collect()
    }

    /// When a thing was done to a unit, seconds since the start.
    pub fn times(&self, unit: &str, label: &str) -> Vec<f64> {
        self.done.iter().filter(|(_, of, l, _)| of == unit && l == label).map(|(at, ..)| *at).collect()
    }

    /// The texts that tmux was given for a unit.
    pub fn typed(&self, unit: &str) -> Vec<&str> {
        self.loaded.iter().filter(|(of, _)| of == unit).map(|(_, text)| text.as_str()).collect()
    }

    #[track_caller]
    pub fn expect_act_count(&self, unit: &str, label: &str, count: usize) {
        assert_eq!(self.times(unit, label).len(), count, "{label} of {unit}; {}", self.story());
    }

    #[track_caller]
    pub fn expect_act(&self, unit: &str, label: &str) {
        assert!(self.acts(unit).contains(&label), "no {label:?} for {unit}; {}", self.story());
    }

    #[track_caller]
    pub fn expect_no_act(&self, unit: &str) {
        assert!(self.acts(unit).is_empty(), "{unit} was to be left alone; {}", self.story());
    }

    #[track_caller]
    pub fn expect_acts(&self, unit: &str, want: &[&str]) {
        assert_eq!(self.acts(unit), want, "{}", self.story());
    }

    /// The hold of a unit has this in its words.
    #[track_caller]
    pub fn expect_hold(&self, unit: &str, words: &str) {
        let hold = self.last.holds.iter().find(|hold| hold.unit.as_str() == unit);
        let said = hold.map(|hold| format!("{}: {}", hold.remedy, hold.why));
        assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{said:?}; {}", self.story());
    }

    /// So many alerts hold these words.
    #[track_caller]
    pub fn expect_alerts(&self, words: &str, count: usize) {
        let found = self.alerts.iter().filter(|alert| alert.contains(words)).count();
        assert_eq!(found, count, "alerts with {words:?}; {}", self.story());
    }

    /// So many events hold these words.
    #[track_caller]
    pub fn expect_events(&self, words: &str, count: usize) {
        let found = self.events.iter().filter(|event| event.contains(words)).count();
        assert_eq!(found, count, "events with {words:?}; {}", self.story());
    }

    /// What happened, for a failing test.
    pub fn story(&self) -> String {
        let mut out = String::from("what happened:\n");
        for (at, unit, label, why) in self.done.iter().rev().take(40).rev() {
            out.push_str(&format!("  {at:>8.1} {unit}: {label} ({why})\n"));
        }
        for hold in &self.last.holds {
            out.push_str(&format!("  hold {}: {} withheld: {}\n", hold.unit, hold.remedy, hold.why));
        }
        for alert in &self.alerts {
            out.push_str(&format!("  alert {alert}\n"));
        }
        for event in self.events.iter().rev().take(40).rev() {
            out.push_str(&format!("  event {event}\n"));
        }
        out
    }
}
