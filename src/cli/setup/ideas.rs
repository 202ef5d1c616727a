//! What usually goes wrong with which kind of program, and what to do about it: the detectors and rules that `init`
//! proposes.
//!
//! Deliberately not here: the words around them (`propose`), how they are found in a log (`detect::log`).

use super::stack::{Stack, Work};

/// One thing to look for.
#[derive(Clone, Copy, Debug)]
pub struct Idea {
    /// The detector's name.
    pub name: &'static str,
    /// What its line looks like.
    pub regex: &'static str,
    /// For these kinds of work; empty = all.
    works: &'static [Work],
    /// For these stacks; empty = all.
    stacks: &'static [Stack],
    /// What is done about it, with the reason.
    pub rule: Option<Proposed>,
}

/// A rule for a detector: the text of its `action`, more of its `match`, and why.
#[derive(Clone, Copy, Debug)]
pub struct Proposed {
    pub name: &'static str,
    pub matching: &'static str,
    pub action: &'static str,
    pub why: &'static str,
}

/// All of them.
pub const IDEAS: &[Idea] = &[
    Idea {
        name: "disk-full",
        regex: "No space left on device|ENOSPC|Disk quota exceeded",
        works: &[],
        stacks: &[],
        rule: Some(Proposed {
            name: "wait-for-space",
            matching: "",
            action: r#"{ kind = "pause" }"#,
            why: "a restart would only fill the disk again: a person makes room, then `watchkeeper resume`",
        }),
    },
    Idea {
        name: CUDA_OOM,
        regex: r"CUDA out of memory|CUDA error: out of memory|RESOURCE_EXHAUSTED: Out of memory",
        works: &[Work::Training],
        stacks: &[],
        rule: None,
    },
    Idea {
        name: "nan-loss",
        regex: r"(?i)\bloss\b\W{1,6}nan\b",
        works: &[Work::Training],
        stacks: &[],
        rule: Some(Proposed {
            name: "stop-at-nan",
            matching: "",
            action: r#"{ kind = "pause" }"#,
            why: "every further step is wasted, and a checkpoint of it is worse than none",
        }),
    },
    Idea {
        name: "nccl",
        regex: "NCCL error|Watchdog caught collective operation timeout",
        works: &[Work::Training],
        stacks: &[Stack::Python],
        rule: Some(Proposed {
            name: "restart-the-ring",
            matching: "",
            action: r#"{ kind = "restart" }"#,
            why: "one lost rank hangs all others; only a new start brings them together",
        }),
    },
    Idea {
        name: "heap-full",
        regex: "JavaScript heap out of memory",
        works: &[],
        stacks: &[Stack::Node],
        rule: Some(Proposed {
            name: "larger-heap",
            matching: "",
            action: r#"{ kind = "restart-with-env", set = { NODE_OPTIONS = "--max-old-space-size=4096" } }"#,
            why: "Node gives itself less than the machine has; a leak fills this one too, and shows by its repeats",
        }),
    },
    Idea {
        name: "heap-full",
        regex: r"java\.lang\.OutOfMemoryError",
        works: &[],
        stacks: &[Stack::Java],
        rule: Some(Proposed {
            name: "larger-heap",
            matching: "",
            action: r#"{ kind = "restart-with-env", set = { JAVA_TOOL_OPTIONS = "-Xmx4g" } }"#,
            why: "and a JVM whose heap was full is never right again, even if it goes on",
        }),
    },
    Idea {
        name: "out-of-memory",
        regex: r"Cannot allocate memory|\bENOMEM\b|std::bad_alloc|memory allocation of \d+ bytes failed",
        works: &[],
        stacks: &[],
        rule: None,
    },
    Idea {
        name: "port-in-use",
        regex: "(?i)EADDRINUSE|address already in use",
        works: &[Work::Server],
        stacks: &[],
        rule: None,
    },
];

/// The detector whose rule halves the batch.
pub const CUDA_OOM: &str = "cuda-oom";

/// Those for a program.
pub fn fitting(stack: Option<Stack>, work: Work) -> impl Iterator<Item = &'static Idea> {
    IDEAS.iter().filter(move |idea| {
        let stacks = idea.stacks.is_empty() || stack.is_some_and(|stack| idea.stacks.contains(&stack));
        stacks && (idea.works.is_empty() || idea.works.contains(&work))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, line: &str, want: bool) {
        let of_name = IDEAS.iter().filter(|idea| idea.name == name);
        let found =
            of_name.filter(|idea| regex::bytes::Regex::new(idea.regex).unwrap().is_match(line.as_bytes()));
        assert_eq!(found.count() > 0, want, "{name}: {line}");
    }

    #[test]
    fn lines_of_real_failures_match_and_others_do_not() {
        check("disk-full", "OSError: [Errno 28] No space left on device", true);
        check("disk-full", "space left on device: 10 GB", false);
        check("cuda-oom", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", true);
        check("nan-loss", "step 100 loss: nan lr 1e-4", true);
        check("nan-loss", "{'loss': nan}", true);
        check("nan-loss", "train_loss=0.5, no nan so far", false);
        check("nan-loss", "loss: nanotubes", false);
        check(
            "heap-full",
            "FATAL ERROR: Ineffective mark-compacts near heap limit Allocation failed - JavaScript heap out of memory",
            true,
        );
        check("heap-full", "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space", true);
        check("port-in-use", "Error: listen EADDRINUSE: address already in use :::3000", true);
        check("port-in-use", "OSError: [Errno 98] Address already in use", true);
        check("out-of-memory", "memory allocation of 1073741824 bytes failed", true);
        check("nccl", "[E ProcessGroupNCCL.cpp] [Rank 0] Watchdog caught collective operation timeout", true);
    }

    #[test]
    fn names_are_unique_for_every_program() {
        for stack in [Stack::Python, Stack::Node, Stack::Go, Stack::Rust, Stack::Java, Stack::Make] {
            for work in [Work::Training, Work::Server, Work::Job] {
                let mut names: Vec<&str> = fitting(Some(stack), work).map(|idea| idea.name).collect();
                let all = names.len();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), all, "{stack:?} {work:?}");
            }
        }
    }
}
