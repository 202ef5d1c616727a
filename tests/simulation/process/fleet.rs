//! The processes that are simulated: one of each sort of trouble, read from an `agents.toml` by the real reader.

use super::machine::{Script, Unit};
use std::collections::BTreeMap;
use watchkeeper::config::Config;

/// Where the watchdog believes its state to lie.
pub const STATE_DIR: &str = "/fleet/.watchkeeper";
/// The value that `leaky` and `swollen` begin with …
pub const BATCH: i64 = 64;
/// … and the largest at which they hold.
pub const BATCH_HOLDS: i64 = 8;

/// The config; `edition` changes the environment of some units, as an operator's edit would.
pub fn text(edition: u32) -> String {
    format!(
        r#"
[watchdog]
signal_interval = 30
max_disruptions = 2

[[process]]
name = "steady"
command = ["./steady"]
env = {{ EDITION = "{edition}" }}

[[process]]
name = "flaky"
command = ["./flaky"]
restart = {{ max = 6, cooldown_s = 10 }}
env = {{ EDITION = "{edition}" }}
detectors = [
  {{ kind = "pattern", name = "net", regex = "connection reset" }},
  {{ kind = "exit" }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "poisoned"
command = ["./poisoned"]
restart = {{ max = 20, cooldown_s = 5 }}
max_identical = 3
detectors = [ {{ kind = "traceback" }}, {{ kind = "exit" }} ]
[process.healing]
agent = "off"

[[process]]
name = "leaky"
command = ["./train"]
restart = {{ max = 10, cooldown_s = 10 }}
env = {{ BATCH = "{BATCH}" }}
detectors = [ {{ kind = "pattern", name = "oom", regex = "CUDA out of memory" }}, {{ kind = "exit" }} ]
rules = [
  {{ name = "halve", match = {{ detector = "oom" }}, action = {{ kind = "restart-with-env", set = {{ BATCH = {{ change = "half", floor = 2 }} }} }} }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "swollen"
command = ["./train"]
restart = {{ max = 10, cooldown_s = 10 }}
env = {{ BATCH = "{BATCH}" }}
detectors = [ {{ kind = "metric", name = "memory", regex = "mem (\\d+)", above = 100 }}, {{ kind = "exit" }} ]
rules = [
  {{ name = "halve", match = {{ detector = "memory" }}, action = {{ kind = "restart-with-env", set = {{ BATCH = "half" }} }} }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "trainer"
command = ["./train"]
restart = {{ max = 8, cooldown_s = 10 }}
detectors = [
  {{ kind = "stall", name = "no_progress", metric_regex = "step (\\d+)/", no_progress_s = 240 }},
  {{ kind = "exit" }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "quiet"
command = ["./compute"]
restart = {{ max = 8, cooldown_s = 10 }}
detectors = [ {{ kind = "stall", name = "silence", no_progress_s = 200 }}, {{ kind = "exit" }} ]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "storm"
command = ["./storm"]
restart = {{ max = 4, cooldown_s = 20 }}
max_identical = 100
[process.healing]
agent = "off"

[[process]]
name = "prepare"
command = ["./prepare"]
lifecycle = "one-shot"

[[process]]
name = "middle"
command = ["./middle"]
restart = {{ max = 10, cooldown_s = 5 }}
after = ["prepare"]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "final"
command = ["./final"]
restart = {{ max = 10, cooldown_s = 5 }}
after = ["prepare", "middle"]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "long"
command = ["./long"]
restart = {{ max = 3, cooldown_s = 5 }}
deadline_s = 200
max_identical = 100
[process.healing]
agent = "off"
verify_window_s = 120

[[process]]
name = "once"
command = ["./once"]
lifecycle = "one-shot"
deadline_s = 300

[[process]]
name = "ill"
command = ["./ill"]
restart = {{ max = 12, cooldown_s = 5 }}
max_identical = 100
detectors = [ {{ kind = "traceback" }}, {{ kind = "exit" }} ]
[process.healing]
agent = "headless"
command = ["./healer"]
timeout_s = 60
escalate_after = 1
max_attempts_per_hour = 6
verify_window_s = 200

[[process]]
name = "batch"
host = "slurm"
command = ["./flaky"]
restart = {{ max = 6, cooldown_s = 10 }}
detectors = [
  {{ kind = "pattern", name = "net", regex = "connection reset" }},
  {{ kind = "exit" }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "sweep"
host = "slurm"
command = ["./train"]
restart = {{ max = 10, cooldown_s = 10 }}
env = {{ BATCH = "{BATCH}" }}
detectors = [ {{ kind = "metric", name = "memory", regex = "mem (\\d+)", above = 100 }}, {{ kind = "exit" }} ]
rules = [
  {{ name = "halve", match = {{ detector = "memory" }}, action = {{ kind = "restart-with-env", set = {{ BATCH = "half" }} }} }},
]
[process.healing]
agent = "off"
verify_window_s = 200

[[process]]
name = "asker"
command = ["./ill"]
restart = {{ max = 12, cooldown_s = 5 }}
max_identical = 100
detectors = [ {{ kind = "traceback" }}, {{ kind = "exit" }} ]
[process.healing]
agent = "interactive"
timeout_s = 900
escalate_after = 1
max_attempts_per_hour = 6
verify_window_s = 200

[[process]]
name = "endless"
command = ["./endless"]
lifecycle = "restart-always"
restart = {{ max = 5, cooldown_s = 10 }}
[process.healing]
agent = "off"
"#
    )
}

/// Reads it.
pub fn config(edition: u32) -> Config {
    crate::fleet::config(&text(edition))
}

/// The processes as they truly are.
pub fn units(config: &Config) -> BTreeMap<String, Unit> {
    let script = |name: &str| match name {
        "flaky" | "batch" => Script::Flaky,
        "poisoned" => Script::Poisoned,
        "leaky" => Script::Leaky,
        "swollen" | "sweep" => Script::Swollen,
        "trainer" => Script::Trainer,
        "quiet" => Script::Quiet,
        "storm" => Script::Storm,
        "prepare" | "middle" | "final" => Script::Stage,
        "long" | "once" => Script::Long,
        "ill" | "asker" => Script::Ill,
        "endless" => Script::Endless,
        _ => Script::Steady,
    };
    let remote = |name: &str| matches!(name, "batch" | "sweep");
    let unit = |name: &str| (name.to_owned(), Unit::new(script(name), remote(name)));
    config.units.keys().map(|name| unit(name.as_str())).collect()
}
