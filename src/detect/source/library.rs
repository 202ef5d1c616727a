//! Whose code a frame is in: the user's, or a library's, a runtime's, a standard library's. By the path as printed, and for
//! Java by the class.

use crate::model::finding::{Finding, Frame, Language};

/// Parts of paths that only installed code has. Sources: where pip, npm, Go, cargo, rustup and the JDK put it.
const PARTS: &[&str] = &[
    "/site-packages/",
    "/dist-packages/",
    "/node_modules/",
    "/.cargo/registry/",
    "/.cargo/git/",
    "/.rustup/",
    "/rustc/",
    "/go/pkg/mod/",
    "/usr/local/go/src/",
    "/usr/lib/go",
    "/.pnpm/",
    "/deno/",
];

/// Beginnings of what is no file of the user's.
const STARTS: &[&str] = &[
    "node:",
    "internal/",
    "<frozen ",
    "<string>",
    "<stdin>",
    "<anonymous>",
    "/rustc/",
    "native",
    "deno:",
    "ext:",
];

/// Java packages of the JDK and of the usual runners around user code.
const PACKAGES: &[&str] = &[
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "java.base/",
    "org.junit.",
    "org.apache.maven.",
    "org.gradle.",
    "kotlin.",
    "scala.",
    "worker.org.gradle.",
];

/// Go's own packages, as functions are printed.
const GO_RUNTIME: &[&str] =
    &["runtime.", "runtime/", "testing.", "net/http.", "internal/", "sync.", "reflect.", "panic("];

/// Rust's own crates, as functions are printed.
const RUST_CRATES: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "rust_begin_unwind",
    "__rust",
    "<core::",
    "<alloc::",
    "<std::",
    "_start",
    "__libc",
];

/// Is this code that the user did not write?
pub fn is_library(frame: &Frame, language: Option<Language>) -> bool {
    let file = frame.file.replace('\\', "/");
    let rooted = format!("/{}", file.trim_start_matches('/'));
    if PARTS.iter().any(|part| rooted.contains(part)) || STARTS.iter().any(|start| file.starts_with(start)) {
        return true;
    }
    let starts = |list: &[&str]| list.iter().any(|start| frame.function.starts_with(start));
    match language {
        Some(Language::Python) => is_python_library(&rooted),
        Some(Language::Java) => starts(PACKAGES),
        Some(Language::Go) => starts(GO_RUNTIME) && !file.ends_with("_test.go"),
        Some(Language::Rust) => starts(RUST_CRATES) || rooted.contains("/library/std/src/"),
        Some(Language::Javascript | Language::Typescript) | None => false,
    }
}

/// `/usr/lib/python3.11/threading.py`, `/opt/conda/lib/python3.12/asyncio/…`
fn is_python_library(path: &str) -> bool {
    path.split_once("/lib/python").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
        || path
            .split_once("/lib64/python")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The frame where it broke: the innermost one of the user's code, else the innermost of all. Python prints it last, the
/// others first.
pub fn hot(finding: &Finding) -> Option<usize> {
    let user = |at: &usize| finding.frames.get(*at).is_some_and(|frame| !is_library(frame, finding.language));
    let all = 0..finding.frames.len();
    match finding.language {
        Some(Language::Python) => all.clone().rev().find(user).or(all.last()),
        Some(
            Language::Javascript | Language::Typescript | Language::Go | Language::Rust | Language::Java,
        )
        | None => all.clone().find(user).or_else(|| all.clone().next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: Language, file: &str, function: &str, want: bool) {
        let frame = Frame { file: file.into(), line: 1, function: function.into(), library: false };
        assert_eq!(is_library(&frame, Some(language)), want, "{file} {function}");
    }

    #[test]
    fn libraries_are_known_by_where_they_lie() {
        use Language::{Go, Java, Javascript, Python, Rust, Typescript};
        check(Python, "/home/me/train.py", "main", false);
        check(Python, "lib/python_tools/x.py", "main", false);
        check(Python, "/home/me/.venv/lib/python3.12/site-packages/torch/nn.py", "forward", true);
        check(Python, "/usr/lib/python3.11/threading.py", "run", true);
        check(Python, "<frozen importlib._bootstrap>", "_find", true);
        check(Javascript, "/srv/app/index.js", "go", false);
        check(Javascript, "/srv/app/node_modules/express/lib/router.js", "next", true);
        check(Javascript, "node:internal/modules/cjs/loader", "load", true);
        check(Typescript, "node_modules/x/y.ts", "go", true);
        check(Go, "/srv/app/main.go", "main.run", false);
        check(Go, "/usr/local/go/src/runtime/panic.go", "panic", true);
        check(Go, "/root/go/pkg/mod/github.com/x/y@v1.0.0/z.go", "y.Z", true);
        check(Rust, "src/main.rs", "app::run", false);
        check(Rust, "/rustc/abc/library/core/src/panicking.rs", "core::panicking::panic_fmt", true);
        check(Rust, "/home/me/.cargo/registry/src/index/x-1.0/src/lib.rs", "x::y", true);
        check(Java, "Main.java", "com.acme.Main.run", false);
        check(Java, "ThreadPoolExecutor.java", "java.util.concurrent.ThreadPoolExecutor.runWorker", true);
        check(Java, "Thread.java", "java.base/java.lang.Thread.run", true);
    }

    #[test]
    fn the_hot_frame_is_the_users_innermost() {
        let frame =
            |file: &str| Frame { file: file.into(), line: 1, function: String::new(), library: false };
        let with = |language, files: &[&str]| {
            let frames = files.iter().map(|file| frame(file)).collect();
            hot(&Finding { language: Some(language), frames, ..Finding::default() })
        };
        let lib = "/x/site-packages/torch/a.py";
        assert_eq!(with(Language::Python, &["a.py", "b.py", lib]), Some(1));
        assert_eq!(with(Language::Python, &[lib, lib]), Some(1));
        assert_eq!(with(Language::Javascript, &["node:fs", "a.js", "b.js"]), Some(1));
        assert_eq!(with(Language::Go, &[]), None);
    }
}
