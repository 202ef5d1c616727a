//! `configs/`: the operator's files beside the incident, secrets masked; and the lines of them that may matter.

use super::readable;
use crate::detect::mask::{MASK, mask};
use crate::model::finding::Finding;

/// Longest file that is kept, bytes.
pub const CONFIG_MAX: usize = 64 << 10;
/// Lines shown in the report.
const LINES_MAX: usize = 15;
/// Longest line in the report, characters.
const LINE_MAX: usize = 160;

/// A file that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSeen {
    /// Where it is.
    pub path: String,
    /// Its text; or why there is none.
    pub text: Result<String, String>,
}

/// Words of settings that usually matter when a run stalls, slows down or goes astray.
const USUAL: &[&str] = &[
    "batch",
    "lr",
    "learning_rate",
    "timeout",
    "interval",
    "seed",
    "clip",
    "worker",
    "retries",
    "warmup",
    "precision",
    "dtype",
    "memory",
    "limit",
    "threads",
    "accumul",
    "optimizer",
    "scheduler",
];

/// The files for the folder, each under a name of its own.
pub fn pages(configs: &[ConfigSeen]) -> Vec<(String, String)> {
    let mut names: Vec<String> = Vec::new();
    let mut pages = Vec::new();
    for config in configs {
        let name = free_name(&config.path, &names);
        names.push(name.clone());
        let text = match &config.text {
            Ok(text) => hidden(&config.path, &readable(text, CONFIG_MAX)),
            Err(why) => format!("# `{}` could not be kept: {why}\n", config.path),
        };
        pages.push((format!("configs/{name}"), text));
    }
    pages
}

fn free_name(path: &str, taken: &[String]) -> String {
    let base = path.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let base: String = base.chars().take(100).map(plain).collect();
    // A leading dot would hide it, `..` would lead away.
    let base = if base.starts_with('.') { format!("dot{base}") } else { base };
    let base = if base.is_empty() { "config".to_owned() } else { base };
    (1..1000)
        .map(|n| if n == 1 { base.clone() } else { format!("{n}-{base}") })
        .find(|name| !taken.contains(name))
        .unwrap_or(base)
}

/// Secrets hidden. Of an env file every value that is no plain number or switch: nobody can tell which of them are secret.
fn hidden(path: &str, text: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    if !(name == ".env" || name.starts_with(".env.") || name.ends_with(".env")) {
        return mask(text);
    }
    text.lines().map(|line| format!("{}\n", env_line(line))).collect()
}

fn env_line(line: &str) -> String {
    let Some((key, value)) = line.split_once('=').filter(|_| !line.trim_start().starts_with('#')) else {
        return mask(line);
    };
    let value = value.trim().trim_matches(['"', '\'']);
    let switch =
        ["", "true", "false", "yes", "no", "on", "off"].iter().any(|word| value.eq_ignore_ascii_case(word));
    let number = value.len() <= 6 && value.parse::<f64>().is_ok();
    if switch || number { line.to_owned() } else { format!("{key}={MASK}") }
}

/// Lines that may matter to an anomaly: those that share a word with the detector or the finding, and the usual suspects.
pub fn relevant(configs: &[ConfigSeen], finding: &Finding) -> Vec<String> {
    let own: Vec<String> = finding
        .detector
        .split(|c: char| !c.is_ascii_alphanumeric())
        .chain(finding.captures.keys().map(String::as_str))
        .filter(|word| word.len() > 2)
        .map(str::to_ascii_lowercase)
        .collect();
    let mut first = Vec::new();
    let mut then = Vec::new();
    for config in configs {
        let Ok(text) = &config.text else { continue };
        let name = config.path.rsplit('/').next().unwrap_or_default();
        for (n, line) in hidden(&config.path, &readable(text, CONFIG_MAX)).lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            let key = lower.split(['=', ':']).next().unwrap_or_default();
            let shown = || format!("{name}:{}: {}", n + 1, crate::base::text::one_line(line, LINE_MAX));
            if lower.trim().is_empty()
                || lower.trim_start().starts_with(['#', ';'])
                || key.len() == lower.len()
            {
                continue;
            }
            if own.iter().any(|word| key.contains(word.as_str())) {
                first.push(shown());
            } else if USUAL.iter().any(|word| {
                key.split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|part| part.starts_with(word) || key.trim_matches([' ', '"', '-']) == *word)
            }) {
                then.push(shown());
            }
        }
    }
    first.extend(then);
    first.truncate(LINES_MAX);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str, text: &str) -> ConfigSeen {
        ConfigSeen { path: path.into(), text: Ok(text.into()) }
    }

    #[test]
    fn names_are_unique_and_safe() {
        let missing = ConfigSeen { path: "/c/x.toml".into(), text: Err("no such file".into()) };
        let configs = [
            seen("/a/run.yaml", "a: 1\n"),
            seen("/b/run.yaml", "b: 1\n"),
            seen("/a/.env", ""),
            seen("/a/..", ""),
            missing,
        ];
        let pages = pages(&configs);
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["configs/run.yaml", "configs/2-run.yaml", "configs/dot.env", "configs/dot..", "configs/x.toml"]
        );
        assert_eq!(pages[4].1, "# `/c/x.toml` could not be kept: no such file\n");
    }

    #[test]
    fn no_value_of_an_env_file_is_kept_but_numbers_and_switches() {
        let text =
            "# db\nexport DB_URL=postgres://u:p@h/d\nNAME=\"anna\"\nPORT=8080\nDEBUG=true\nPIN=12345678\n";
        assert_eq!(
            hidden("/srv/.env.local", text),
            "# db\nexport DB_URL=[masked]\nNAME=[masked]\nPORT=8080\nDEBUG=true\nPIN=[masked]\n"
        );
        assert_eq!(hidden("run.yaml", "name: anna\napi_key: abcdef\n"), "name: anna\napi_key: [masked]\n");
    }

    #[test]
    fn lines_that_may_matter_are_shown() {
        let yaml = "model: small\nlr: 0.1\nloss:\n  kind: mse\nloss_scale: 128\n# lr: 2\nbatch_size: 8\ncolor: blue\n";
        let finding = Finding { detector: "loss_spike".into(), ..Finding::default() };
        let lines = relevant(&[seen("/a/run.yaml", yaml)], &finding);
        assert_eq!(
            lines,
            [
                "run.yaml:3: loss:",
                "run.yaml:5: loss_scale: 128",
                "run.yaml:2: lr: 0.1",
                "run.yaml:7: batch_size: 8"
            ]
        );
    }
}
