//! Completion scripts for bash, zsh and fish, from the table of commands. Names of units are asked from the program.

use super::args::GLOBAL_FLAGS;
use super::commands::{Command, Flag, Words, public};
use super::templates::TEMPLATES;
use std::fmt::Write as _;

/// A shell that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// By name.
    pub fn named(name: &str) -> Option<Shell> {
        match name {
            "bash" => Some(Shell::Bash),
            "zsh" => Some(Shell::Zsh),
            "fish" => Some(Shell::Fish),
            _ => None,
        }
    }

    /// Its script.
    pub fn script(self) -> String {
        match self {
            Shell::Bash => bash(),
            Shell::Zsh => zsh(),
            Shell::Fish => fish(),
        }
    }
}

/// The words of each command that are a unit's name.
fn takes_names(command: &Command) -> bool {
    match command.words {
        Words::MaybeUnit
        | Words::Unit
        | Words::MaybeUnits
        | Words::Units
        | Words::UnitAndText
        | Words::MaybeUnitAndText => true,
        Words::None
        | Words::Files
        | Words::Shell
        | Words::Phase
        | Words::Incidents
        | Words::Template
        | Words::Skills
        | Words::All => false,
    }
}

fn names(commands: impl Iterator<Item = &'static Command>) -> String {
    commands.map(|command| command.name).collect::<Vec<_>>().join(" ")
}

fn template_names() -> String {
    let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
    format!("process {}", names.join(" "))
}

fn flag_words(flags: &[Flag]) -> String {
    flags.iter().map(|flag| format!("--{}", flag.long)).collect::<Vec<_>>().join(" ")
}

/// Text between single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}

fn bash() -> String {
    let mut flags = String::new();
    for command in public().filter(|command| !command.flags.is_empty()) {
        // Writing to a String can't fail.
        let _ = writeln!(flags, "    {}) flags=\"$flags {}\" ;;", command.name, flag_words(command.flags));
    }
    let with_names = names(public().filter(|command| takes_names(command))).replace(' ', "|");
    format!(
        r#"# bash completion of watchkeeper: source it, or put it into bash-completion's folder.
_watchkeeper() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= word i
  local commands="{commands}" flags="{globals}"
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}}
    case " $commands " in *" $word "*) command=$word; break ;; esac
  done
  case $prev in
    --config|--file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --state) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
  esac
  case $command in
{flags}  esac
  case $cur in -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")); return ;; esac
  case $command in
    '') COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
    completions) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
    skills) COMPREPLY=($(compgen -W "install list" -- "$cur")) ;;
    init) COMPREPLY=($(compgen -d -W "{templates}" -- "$cur")) ;;
    {with_names}) COMPREPLY=($(compgen -W "$(watchkeeper list-units 2>/dev/null)" -- "$cur")) ;;
  esac
}}
complete -F _watchkeeper watchkeeper
"#,
        commands = names(public()),
        templates = template_names(),
        globals = flag_words(GLOBAL_FLAGS),
    )
}

fn zsh() -> String {
    let mut list = String::new();
    let mut cases = String::new();
    for command in public() {
        let _ = writeln!(list, "    '{}:{}'", command.name, quoted(command.about).replace(':', r"\:"));
        let mut specs: Vec<String> = command.flags.iter().map(zsh_flag).collect();
        if takes_names(command) {
            specs.push("'*:unit:_watchkeeper_units'".to_owned());
        } else if command.words == Words::Shell {
            specs.push("'1:shell:(bash zsh fish)'".to_owned());
        } else if command.words == Words::Phase {
            specs.push("'1:what:(show set advance reset)'".to_owned());
        } else if command.words == Words::Incidents {
            specs.push("'1:what:(list show path)' '2:unit:_watchkeeper_units'".to_owned());
        } else if command.words == Words::Skills {
            specs.push("'1:what:(install list)'".to_owned());
        } else if command.words == Words::Template {
            specs.push(format!("'1:template:({})' '2:folder:_files -/'", template_names()));
        }
        let _ = writeln!(cases, "    {}) _arguments $globals {} ;;", command.name, specs.join(" "));
    }
    let globals = GLOBAL_FLAGS.iter().map(zsh_flag).collect::<Vec<_>>().join(" ");
    format!(
        r#"#compdef watchkeeper
# zsh completion of watchkeeper: put it as _watchkeeper into a folder of $fpath.
_watchkeeper_units() {{
  local -a units
  units=(${{(f)"$(watchkeeper list-units 2>/dev/null)"}})
  compadd -a units
}}
_watchkeeper() {{
  local -a commands globals
  local context state line
  commands=(
{list}  )
  globals=({globals})
  _arguments -C $globals '1:command:->command' '*::word:->words'
  case $state in
    command) _describe command commands ;;
    words)
    case $line[1] in
{cases}    esac ;;
  esac
}}
if [ "$funcstack[1]" = "_watchkeeper" ]; then _watchkeeper "$@"; else compdef _watchkeeper watchkeeper; fi
"#
    )
}

fn zsh_flag(flag: &Flag) -> String {
    let about = quoted(flag.about).replace('[', r"\[").replace(']', r"\]").replace(':', r"\:");
    match flag.value {
        Some(value) => format!("'--{}[{about}]:{value}:{}'", flag.long, zsh_value(flag.long)),
        None => format!("'--{}[{about}]'", flag.long),
    }
}

fn zsh_value(long: &str) -> &'static str {
    match long {
        "config" | "file" => "_files",
        "state" => "_files -/",
        "color" => "(auto always never)",
        _ => " ",
    }
}

fn fish() -> String {
    let mut text = String::from(
        "# fish completion of watchkeeper: put it as watchkeeper.fish into ~/.config/fish/completions.\n\
         complete -c watchkeeper -f\n",
    );
    for flag in GLOBAL_FLAGS {
        let _ = writeln!(text, "complete -c watchkeeper {}", fish_flag(flag));
    }
    for command in public() {
        let about = quoted(command.about);
        let _ = writeln!(
            text,
            "complete -c watchkeeper -n __fish_use_subcommand -a {} -d '{about}'",
            command.name
        );
        let when = format!("-n '__fish_seen_subcommand_from {}'", command.name);
        for flag in command.flags {
            let _ = writeln!(text, "complete -c watchkeeper {when} {}", fish_flag(flag));
        }
        if takes_names(command) {
            let _ =
                writeln!(text, "complete -c watchkeeper {when} -a '(watchkeeper list-units 2>/dev/null)'");
        } else if command.words == Words::Shell {
            let _ = writeln!(text, "complete -c watchkeeper {when} -a 'bash zsh fish'");
        } else if command.words == Words::Phase {
            let _ = writeln!(text, "complete -c watchkeeper {when} -a 'show set advance reset'");
        } else if command.words == Words::Incidents {
            let _ = writeln!(text, "complete -c watchkeeper {when} -a 'list show path'");
        } else if command.words == Words::Skills {
            let _ = writeln!(text, "complete -c watchkeeper {when} -a 'install list'");
        } else if command.words == Words::Template {
            let _ = writeln!(text, "complete -c watchkeeper {when} -a '{}'", template_names());
        }
    }
    text
}

fn fish_flag(flag: &Flag) -> String {
    let short = flag.short.map(|short| format!("-s {short} ")).unwrap_or_default();
    let value = match (flag.value, flag.long) {
        (None, _) => "",
        (Some(_), "config" | "file" | "state") => "-r -F ",
        (Some(_), "color") => "-x -a 'auto always never' ",
        (Some(_), _) => "-x ",
    };
    format!("{short}-l {} {value}-d '{}'", flag.long, quoted(flag.about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_in_every_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = shell.script();
            for command in public() {
                assert!(script.contains(command.name), "{shell:?} {}", command.name);
                for flag in command.flags {
                    assert!(script.contains(flag.long), "{shell:?} --{}", flag.long);
                }
            }
        }
    }
}
