//! Where AI editors look for commands and for standing advice, and what is written there.
//!
//! A text that was written here carries its own digest, so that a newer one may replace it as long as nobody has changed it;
//! what a person wrote or changed is kept. Source of the places: the editors' documentation, as the predecessor had them.
//! Deliberately not here: reading and writing the files.

use super::notes;
use super::toml_text;
use crate::base::text::digest;

/// What an editor is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Markdown file of its own, its description in front matter.
    Command,
    /// The same, for editors that do not know front matter or arguments.
    Prompt,
    /// A Markdown file of its own that Continue offers as a command.
    Continue,
    /// A TOML file of its own (gemini).
    Toml,
    /// A setting that makes aider read AGENTS.md.
    Aider,
    /// A marked section of a file that belongs to everybody.
    Section,
}

/// One editor.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub name: &'static str,
    /// Its program, to see whether it is in use; "" when there is none.
    pub program: &'static str,
    /// In the project.
    pub local: &'static str,
    /// Below the home; None when it has no such place.
    pub global: Option<&'static str>,
    pub form: Form,
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    tool("agents", "", "AGENTS.md", None, Form::Section),
    tool(
        "claude",
        "claude",
        ".claude/commands/watchkeeper.md",
        Some(".claude/commands/watchkeeper.md"),
        Form::Command,
    ),
    tool(
        "opencode",
        "opencode",
        ".opencode/command/watchkeeper.md",
        Some(".config/opencode/command/watchkeeper.md"),
        Form::Command,
    ),
    tool(
        "codex",
        "codex",
        ".codex/prompts/watchkeeper.md",
        Some(".codex/prompts/watchkeeper.md"),
        Form::Command,
    ),
    tool(
        "gemini",
        "gemini",
        ".gemini/commands/watchkeeper.toml",
        Some(".gemini/commands/watchkeeper.toml"),
        Form::Toml,
    ),
    tool(
        "cursor",
        "cursor",
        ".cursor/commands/watchkeeper.md",
        Some(".cursor/commands/watchkeeper.md"),
        Form::Prompt,
    ),
    tool("pi", "pi", ".pi/prompts/watchkeeper.md", Some(".pi/agent/prompts/watchkeeper.md"), Form::Command),
    tool("aider", "aider", ".aider.conf.yml", None, Form::Aider),
    tool(
        "continue",
        "cn",
        ".continue/prompts/watchkeeper.md",
        Some(".continue/prompts/watchkeeper.md"),
        Form::Continue,
    ),
    tool("windsurf", "windsurf", ".windsurfrules", Some(".windsurfrules"), Form::Section),
    tool(
        "zed",
        "zed",
        ".zed/prompts/watchkeeper.md",
        Some(".config/zed/prompts/watchkeeper.md"),
        Form::Prompt,
    ),
];

const fn tool(
    name: &'static str,
    program: &'static str,
    local: &'static str,
    global: Option<&'static str>,
    form: Form,
) -> Tool {
    Tool { name, program, local, global, form }
}

/// One line about the command.
const ABOUT: &str = "Look after what watchkeeper keeps running";

/// How the mark of a text that was written here begins.
const MARK: &str = "watchkeeper skill ";
const BEGIN: &str = "<!-- watchkeeper begin ";
const END: &str = "<!-- watchkeeper end -->";

/// How a file stands to what would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such file, or no such section in it: this is the whole new file.
    Missing { text: String },
    /// It is as it should be.
    Same,
    /// An older one of ours, which nobody changed: this is the whole new file.
    Older { text: String },
    /// A person wrote or changed it: this would be the whole new file.
    Edited { text: String },
    /// The section has no end: nobody knows what belongs to it.
    Broken,
}

/// What is in a file, or would come into it.
pub fn judge(form: Form, there: Option<&str>) -> Standing {
    match form {
        Form::Section => section(there.unwrap_or_default()),
        Form::Command | Form::Prompt | Form::Continue | Form::Toml | Form::Aider => {
            let text = marked(form, &own(form));
            match there {
                None => Standing::Missing { text },
                Some(there) if there == text => Standing::Same,
                Some(there) if untouched(form, there) => Standing::Older { text },
                Some(_) => Standing::Edited { text },
            }
        }
    }
}

/// The text of a file of its own, without its mark.
fn own(form: Form) -> String {
    let without = |word: &str| notes::SKILL.replace("$ARGUMENTS", word).replace(" \n", "\n");
    match form {
        Form::Command => format!("---\ndescription: {ABOUT}\n---\n\n{}", notes::SKILL),
        Form::Continue => {
            format!("---\nname: watchkeeper\ndescription: {ABOUT}\ninvokable: true\n---\n\n{}", without(""))
        }
        Form::Prompt => without(""),
        Form::Toml => {
            // Multi-line basic strings would need escapes; the text has neither backslashes nor three quotes.
            format!(
                "description = {}\nprompt = \"\"\"\n{}\"\"\"\n",
                toml_text::string(ABOUT),
                without("{{args}}")
            )
        }
        Form::Aider => "read: [AGENTS.md]\n".to_owned(),
        Form::Section => notes::SECTION.to_owned(),
    }
}

fn marked(form: Form, text: &str) -> String {
    format!("{text}{}\n", mark(form, text))
}

fn mark(form: Form, text: &str) -> String {
    let digest = digest(text.as_bytes());
    match form {
        Form::Toml | Form::Aider => format!("# {MARK}{digest}"),
        Form::Command | Form::Prompt | Form::Continue | Form::Section => format!("<!-- {MARK}{digest} -->"),
    }
}

/// Does the mark in its last line say that the rest is as it was written?
fn untouched(form: Form, there: &str) -> bool {
    let body = there.trim_end_matches('\n');
    let start = body.rfind('\n').map_or(0, |at| at + 1);
    body[start..] == mark(form, &there[..start])
}

fn section(there: &str) -> Standing {
    let text = notes::SECTION;
    let new = format!("{BEGIN}{} -->\n{text}{END}\n", digest(text.as_bytes()));
    let Some(begin) = there.find(BEGIN) else {
        let gap = match there {
            "" => "",
            there if there.ends_with("\n\n") => "",
            there if there.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        return Standing::Missing { text: format!("{there}{gap}{new}") };
    };
    let Some(end) = there[begin..].find(END).map(|at| begin + at + END.len()) else {
        return Standing::Broken;
    };
    let old = &there[begin..end];
    let body = old.split_once("-->\n").and_then(|(_, body)| body.strip_suffix(END)).unwrap_or_default();
    let rest = there[end..].strip_prefix('\n').unwrap_or(&there[end..]);
    let whole = format!("{}{new}{rest}", &there[..begin]);
    match () {
        () if whole == there => Standing::Same,
        () if old.starts_with(&format!("{BEGIN}{} -->", digest(body.as_bytes()))) => {
            Standing::Older { text: whole }
        }
        () => Standing::Edited { text: whole },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, there: Option<&str>) -> String {
        match judge(form, there) {
            Standing::Missing { text } | Standing::Older { text } | Standing::Edited { text } => text,
            Standing::Same => there.unwrap_or_default().to_owned(),
            Standing::Broken => panic!("broken"),
        }
    }

    #[test]
    fn every_form_is_the_same_the_second_time() {
        for tool in TOOLS {
            let text = written(tool.form, None);
            assert_eq!(judge(tool.form, Some(&text)), Standing::Same, "{}", tool.name);
            assert!(
                text.contains("AGENTS.md") || text.contains("watchkeeper status"),
                "{}: {text}",
                tool.name
            );
        }
        let toml: toml::Table = written(Form::Toml, None).parse().unwrap();
        assert!(toml["prompt"].as_str().unwrap().contains("{{args}}"));
        assert!(!written(Form::Prompt, None).contains("$ARGUMENTS"));
    }

    #[test]
    fn an_older_one_of_ours_is_replaced_and_an_edited_one_is_not() {
        for form in [Form::Command, Form::Toml, Form::Aider] {
            let older = marked(form, "older\n");
            assert!(matches!(judge(form, Some(&older)), Standing::Older { .. }), "{form:?}");
            let edited = older.replace("older", "mine");
            assert!(matches!(judge(form, Some(&edited)), Standing::Edited { .. }), "{form:?}");
            for there in ["", "\n", "mine", "é\u{0}"] {
                assert!(matches!(judge(form, Some(there)), Standing::Edited { .. }), "{form:?} {there:?}");
            }
        }
    }

    #[test]
    fn a_section_lives_between_a_persons_lines() {
        let first = written(Form::Section, Some("# Ours\n\nBe kind."));
        assert!(first.starts_with("# Ours\n\nBe kind.\n\n<!-- watchkeeper begin "), "{first}");
        let around = format!("{first}\nMore of ours.\n");
        assert_eq!(judge(Form::Section, Some(&around)), Standing::Same);
        let body = "old\n";
        let older = format!("a\n{BEGIN}{} -->\n{body}{END}\nb\n", digest(body.as_bytes()));
        let Standing::Older { text } = judge(Form::Section, Some(&older)) else { panic!("{older}") };
        assert!(text.starts_with("a\n<!--") && text.ends_with("<!-- watchkeeper end -->\nb\n"), "{text}");
        assert_eq!(judge(Form::Section, Some(&text)), Standing::Same);
        let edited = older.replace("old\n", "old, and mine\n");
        assert!(matches!(judge(Form::Section, Some(&edited)), Standing::Edited { .. }));
        assert_eq!(judge(Form::Section, Some("a\n<!-- watchkeeper begin x -->\nb")), Standing::Broken);
        assert!(matches!(
            judge(Form::Section, Some("<!-- watchkeeper begin <!-- watchkeeper end -->")),
            Standing::Edited { .. }
        ));
    }
}
