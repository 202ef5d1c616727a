//! The last words of a program: where the last line of a log stands that belongs neither to a finding nor to an end. What was
//! found behind it, or up to it, was not survived.
//!
//! Deliberately not here: reading the log's end (`engine::follow`), and what explains an end (`policy::process`).

use super::clean;
use super::scanner::{Position, Scanner};
use crate::config::{DetectorConfig, DetectorKind};
use crate::model::finding::Finding;

/// What runtimes, launchers, shells and programs on their way out write behind the failure itself, in lower case.
/// Sources: node (`Node.js v20`), cargo, go run, make, npm, yarn, pnpm, bash, time(1), srun and slurmstepd, Open MPI, torchrun,
/// libstdc++, Python's multiprocessing and NCCL's teardown, wandb; each as seen in their output.
const EPILOGUE: [&str; 34] = [
    "node.js v",
    "note: run with `rust_backtrace",
    "note: some details are omitted",
    "process didn't exit successfully",
    "exit status ",
    "exited with ",
    "exit code",
    "exitcode",
    "]: *** [",
    "make: ***",
    "npm err",
    "elifecycle",
    "segmentation fault",
    "core dumped",
    "aborted",
    "killed",
    "terminated",
    "terminating",
    "terminate called",
    "what():",
    "srun: ",
    "slurmstepd: ",
    "mpi_abort",
    "mpirun ",
    "torch.distributed.elastic",
    "closing signal",
    "processgroupnccl",
    "destroy_process_group",
    "resource_tracker",
    "warnings.warn(",
    "wandb: ",
    "shutting down",
    "exiting",
    "cleaning up",
];
/// Lines of it behind a failure, at most: a program that says more than this goes on, whatever its words are.
const EPILOGUE_MAX: usize = 40;
/// Bytes of a line that are looked at for it.
const LINE_MAX: usize = 1000;

/// Behind the last line that is neither a finding's nor an epilogue's; 0 = there is none. The first line may be torn.
pub fn spoke(bytes: &[u8], detectors: &[DetectorConfig]) -> usize {
    let mut found = Vec::new();
    // Stack traces belong to the failure whether somebody asked for them or not.
    let trace = DetectorConfig { name: String::new(), kind: DetectorKind::Traceback, cooldown_s: 0.0 };
    let detectors: Vec<DetectorConfig> = detectors.iter().cloned().chain([trace]).collect();
    let mut scanner = Scanner::new(&detectors, Position::default());
    scanner.feed(bytes, &mut found);
    scanner.finish(&mut found);
    let mut end = bytes.len();
    let mut epilogue = 0;
    while end > 0 {
        let stop = if bytes[end - 1] == b'\n' { end - 1 } else { end };
        let start = memchr::memrchr(b'\n', &bytes[..stop]).map_or(0, |at| at + 1);
        let has = |one: &Finding| one.at < stop as u64 && one.end > start as u64;
        if found.iter().any(has) {
            epilogue = 0;
        } else if epilogue < EPILOGUE_MAX && is_epilogue(&bytes[start..stop]) {
            epilogue += 1;
        } else {
            return end;
        }
        end = start;
    }
    0
}

fn is_epilogue(line: &[u8]) -> bool {
    let line = clean::line(&line[..line.len().min(LINE_MAX)]).to_lowercase();
    let says_nothing = !line.chars().any(char::is_alphanumeric);
    says_nothing || EPILOGUE.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_detectors;

    const TRACE: &str =
        "Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    x\nValueError: x\n";

    /// The log up to `|`, and what follows its last words.
    #[track_caller]
    fn check(log: &str) {
        let detectors =
            parse_detectors("d", "detectors = [{ kind = \"pattern\", name = \"oom\", regex = \"OOM\" }]")
                .unwrap();
        let (before, after) = log.split_once('|').unwrap();
        let log = format!("{before}{after}");
        assert_eq!(&log[..spoke(log.as_bytes(), &detectors)], before);
    }

    #[test]
    fn findings_and_what_follows_them_are_last_words() {
        check("step 1\n|OOM\n");
        check("step 1\nOOM\nstep 2\n|");
        check(&format!("step 1\n|OOM\n{TRACE}"));
        check(&format!("step 1\n|{TRACE}OOM\n\n[1]    4711 killed     python train.py\n"));
        check(&format!("|{TRACE}\n------\nmake: *** [Makefile:3: train] Error 1\n"));
        check(&format!("{TRACE}step 3\n|{TRACE}srun: error: node1: task 0: Exited with exit code 1\n"));
        check("Error: x\n    at f (/a.js:1:2)\nstep 2\n|");
        check("|Error: x\n    at f (/a.js:1:2)\n\nNode.js v20.1.0\n");
        check("step 4, an unfinished line|");
        let pool = "pool: 8 alive, 0 killed, batch done\n";
        check(&format!("OOM, retried\n{}|{}", pool.repeat(3), pool.repeat(EPILOGUE_MAX)));
        check(&format!("|OOM\n{}", pool.repeat(EPILOGUE_MAX)));
        check("|");
    }
}
