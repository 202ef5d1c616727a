//! Who plays in the story: the fleet's config, the agents' scripts and prompts. Text only, no I/O.

use std::path::Path;

/// Seconds of silence that make a stall in the story.
pub const STALL_IDLE_S: f64 = 6.0;
/// How long the usage limit lasts, seconds.
pub const LIMIT_S: f64 = 14.0;
/// What is added to the reset time, seconds.
pub const SLACK_S: f64 = 1.0;

/// One agent of the story.
#[derive(Clone, Copy, Debug)]
pub struct Player {
    /// Its unit's name.
    pub name: &'static str,
    /// Its role prompt: typed into it at each start.
    pub prompt: &'static str,
    /// Its script (`demo/agent/script.rs` has the words); one part for each run.
    pub script: &'static str,
}

/// Is killed.
pub const BUILDER: Player = Player {
    name: "builder",
    prompt: "You are the builder. Work through the plan in small steps.",
    script: "AWAIT; LOOP",
};
/// Falls silent.
pub const TESTER: Player = Player {
    name: "tester",
    prompt: "You are the tester. Test what the builder builds.",
    script: "AWAIT; WORK 4; AWAIT; LOOP || AWAIT; LOOP",
};
/// Hits its usage limit. It goes on only when it is spoken to.
pub const WRITER: Player = Player {
    name: "writer",
    prompt: "You are the writer. Keep the manual true.",
    script: "AWAIT; WORK 4; LIMIT 14 s; AWAIT; IDLE 4; LOOP || AWAIT; LOOP",
};
/// Asks for permission.
pub const DEPLOYER: Player = Player {
    name: "deployer",
    prompt: "You are the deployer. Ship what is tested.",
    script: "AWAIT; WORK 2; ASK; LOOP || AWAIT; LOOP",
};

/// All of them, in the order of the config.
pub const PLAYERS: [Player; 4] = [BUILDER, TESTER, WRITER, DEPLOYER];

/// The fleet's agents.toml. `binary` plays the agents; `dir` is the story's folder.
pub fn config(binary: &Path, dir: &Path, socket: &str) -> String {
    let mut text = format!(
        "# The fleet of `watchkeeper demo`. Its agents are scripted: `watchkeeper demo-agent` plays an AI's CLI.

[watchdog]
signal_interval = 1       # short, so that a minute is enough
stall_idle = {STALL_IDLE_S}
limit_reset_slack = {SLACK_S}

[defaults]
tmux_socket = {socket}    # a server of its own
backend = \"demo\"

[backend.demo]
command = [{binary}, \"demo-agent\"]
",
        socket = quoted(socket),
        binary = quoted(&binary.to_string_lossy()),
    );
    for player in PLAYERS {
        let transcript = dir.join(transcript_file(player.name));
        text.push_str(&format!(
            "
[[agent]]
name = \"{name}\"
kind = \"loop\"
prompt = \"prompts/{name}.md\"
ladder = {{ cooldown_s = 5 }}
env = {{ DEMO_SCRIPT = {script}, DEMO_TRANSCRIPT = {transcript} }}
",
            name = player.name,
            script = quoted(player.script),
            transcript = quoted(&transcript.to_string_lossy()),
        ));
    }
    text
}

/// Where a player's transcript is, below the story's folder.
pub fn transcript_file(name: &str) -> String {
    format!("transcripts/{name}.jsonl")
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_config_is_valid_wherever_the_binary_lies() {
        for binary in ["/usr/bin/watchkeeper", "/tmp/a \"b\" \\c/watch keeper"] {
            let text = config(Path::new(binary), Path::new("/tmp/story"), "demo-1");
            let read = |_: &Path| Ok("a prompt".to_owned());
            let source = config::Source {
                path: Path::new("/tmp/story/agents.toml"),
                text: &text,
                home: Path::new("/home/x"),
                env: &|_| None,
                read: &read,
                state_override: None,
            };
            let parsed = config::parse(&source);
            assert!(parsed.problems.is_empty(), "{}", config::render("agents.toml", &parsed.problems));
            let config = parsed.config.unwrap();
            assert_eq!(config.units.len(), PLAYERS.len());
            let builder = config.units.values().find_map(|unit| unit.agent()).unwrap();
            assert_eq!(builder.backend.command[0], binary);
        }
    }

    #[test]
    fn the_limit_of_the_script_is_the_one_that_is_told() {
        assert!(WRITER.script.contains(&format!("LIMIT {LIMIT_S} s")));
    }
}
