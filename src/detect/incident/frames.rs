//! `frames/NN-<file>.md`: the function of each of the user's frames with the hot line marked; library frames are stubs.

use super::{fenced, inline};
use crate::detect::source::library::is_library;
use crate::detect::source::{Snippet, Syntax, snippet};
use crate::model::finding::{Finding, Frame, Language};

/// Frames shown of one trace: the outermost and the innermost ones.
pub const FRAMES_MAX: usize = 30;
/// … of which so many are from the beginning of the trace.
const HEAD: usize = 10;
/// Longest part of a file's name that is taken from the frame.
const NAME_MAX: usize = 60;

/// A frame and what was seen of its source.
#[derive(Clone, Debug)]
pub struct FrameSeen {
    /// As printed.
    pub frame: Frame,
    /// What became of it.
    pub source: SourceSeen,
    /// It is where it broke.
    pub hot: bool,
}

/// What was seen of a frame's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSeen {
    /// Code that the user did not write.
    Library,
    /// Its lines, and the file that they are from.
    Shown { path: String, syntax: Syntax, snippet: Snippet },
    /// It could not be shown: why.
    Unseen { why: String },
}

/// Which frames are shown: indices into the finding's.
pub fn chosen(finding: &Finding) -> Vec<usize> {
    let all = finding.frames.len();
    if all <= FRAMES_MAX {
        return (0..all).collect();
    }
    (0..HEAD).chain(all - (FRAMES_MAX - HEAD)..all).collect()
}

/// Should the source of this frame be read?
pub fn is_wanted(frame: &Frame, language: Option<Language>) -> bool {
    frame.line > 0 && !is_library(frame, language) && Syntax::of(&frame.file).is_some()
}

/// Places at which a frame's source may be, best first. Relative names are looked for in the process's directory; Java
/// prints the file's name alone, its package tells the folder.
pub fn candidates(frame: &Frame, dir: &str, language: Option<Language>) -> Vec<String> {
    let file = frame.file.strip_prefix("file://").unwrap_or(&frame.file);
    if file.is_empty() || file.contains('\0') || file.contains("://") {
        return Vec::new();
    }
    if file.starts_with('/') {
        return vec![file.to_owned()];
    }
    let dir = dir.trim_end_matches('/');
    let mut places = vec![format!("{dir}/{}", file.trim_start_matches("./"))];
    if language == Some(Language::Java) && !file.contains('/') {
        let class = frame.function.rsplit_once('.').map_or("", |(class, _)| class);
        let package = class.rsplit_once('.').map_or("", |(package, _)| package).replace('.', "/");
        let inner = if package.is_empty() { file.to_owned() } else { format!("{package}/{file}") };
        let roots = ["src/main/java/", "src/test/java/", "src/", ""];
        places.extend(roots.iter().map(|root| format!("{dir}/{root}{inner}")));
    }
    places
}

/// What is shown of a source that was read.
pub fn shown(path: &str, text: &str, line: u64) -> SourceSeen {
    let Some(syntax) = Syntax::of(path) else {
        return SourceSeen::Unseen { why: "no source file that is known".to_owned() };
    };
    match snippet(syntax, text, usize::try_from(line).unwrap_or(0)) {
        Some(snippet) => SourceSeen::Shown { path: path.to_owned(), syntax, snippet },
        None => SourceSeen::Unseen { why: format!("`{path}` has no line {line} now: was it edited since?") },
    }
}

impl FrameSeen {
    /// `train.py:42 in step`.
    pub fn place(&self) -> String {
        let frame = &self.frame;
        let line = if frame.line > 0 { format!(":{}", frame.line) } else { String::new() };
        let function = inline(&frame.function, 120);
        let function = if function.is_empty() { String::new() } else { format!(" in `{function}`") };
        format!("`{}{line}`{function}", inline(&frame.file, 200))
    }

    /// The file's name below the folder.
    pub fn file_name(&self, number: usize) -> String {
        let base = self.frame.file.rsplit(['/', '\\']).next().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        let name: String = base.chars().take(NAME_MAX).map(plain).collect();
        let name = name.trim_start_matches('.');
        format!("frames/{number:02}-{}.md", if name.is_empty() { "unknown" } else { name })
    }

    /// The file: name and text.
    pub fn page(&self, number: usize) -> (String, String) {
        let mut text = format!("# {}\n\n", self.place());
        if self.hot {
            text.push_str("This is where it broke.\n\n");
        }
        match &self.source {
            SourceSeen::Library => text.push_str("Library code: not shown.\n"),
            SourceSeen::Unseen { why } => text.push_str(&format!("Not shown: {}.\n", inline(why, 300))),
            SourceSeen::Shown { path, syntax, snippet } => {
                let what = snippet.enclosing.as_deref().unwrap_or("lines around");
                text.push_str(&format!(
                    "{} of `{}`, as it is now:\n\n",
                    capital(&inline(what, 120)),
                    inline(path, 300)
                ));
                text.push_str(&fenced(syntax.fence(), &snippet.render().join("\n")));
            }
        }
        (self.file_name(number), text)
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, function: &str) -> Frame {
        Frame { file: file.into(), line: 2, function: function.into(), library: false }
    }

    #[test]
    fn sources_are_looked_for_where_they_may_be() {
        let check = |file: &str, function: &str, language, want: &[&str]| {
            assert_eq!(candidates(&frame(file, function), "/srv/app/", Some(language)), want);
        };
        check("/a/b.py", "f", Language::Python, &["/a/b.py"]);
        check("./b.py", "f", Language::Python, &["/srv/app/b.py"]);
        check("file:///a/b.mjs", "f", Language::Javascript, &["/a/b.mjs"]);
        check("https://x/b.js", "f", Language::Javascript, &[]);
        check(
            "Main.java",
            "com.acme.Main.run",
            Language::Java,
            &[
                "/srv/app/Main.java",
                "/srv/app/src/main/java/com/acme/Main.java",
                "/srv/app/src/test/java/com/acme/Main.java",
                "/srv/app/src/com/acme/Main.java",
                "/srv/app/com/acme/Main.java",
            ],
        );
    }

    #[test]
    fn a_long_trace_keeps_both_ends() {
        let finding = Finding { frames: vec![frame("a.py", "f"); 1000], ..Finding::default() };
        let chosen = chosen(&finding);
        assert_eq!((chosen.len(), chosen[9], chosen[10], chosen[29]), (30, 9, 980, 999));
    }

    #[test]
    fn names_are_safe() {
        let name = |file: &str| {
            FrameSeen { frame: frame(file, ""), source: SourceSeen::Library, hot: false }.file_name(3)
        };
        assert_eq!(name("/a/train.py"), "frames/03-train.py.md");
        assert_eq!(name("../../.."), "frames/03-unknown.md");
        assert_eq!(name("a b\n.py"), "frames/03-a-b-.py.md");
    }
}
