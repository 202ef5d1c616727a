//! Files and a host as they are, that count what they are asked to change, and end the process when its turn comes.
//!
//! Deliberately not here: what is played with them (`cut`).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use watchkeeper::base::error::Result;
use watchkeeper::base::names::UnitName;
use watchkeeper::base::time::{Now, Wall};
use watchkeeper::model::action::{Action, Outcome};
use watchkeeper::model::finding::Finding;
use watchkeeper::model::process::{HostPlace, LogCursor, RunId, RunQuery, RunSeen};
use watchkeeper::model::seen::{BranchFacts, HostSeen, JobSeen, Process, TranscriptSeen, Trouble, Vote};
use watchkeeper::sys::files::RealFiles;
use watchkeeper::sys::follow::Log;
use watchkeeper::sys::git::BranchQuery;
use watchkeeper::sys::real_host::RealHost;
use watchkeeper::sys::{Files, Host, PaneList, Replaced, Sync};

/// Ends this process before the operation whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub left: Rc<Cell<usize>>,
}

impl Cut {
    fn count(&self) {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left == 0 {
            crate::lab::signal(std::process::id().cast_signed(), rustix::process::Signal::KILL);
        }
    }

    /// Files whose loss changes nothing are not worth a cut.
    fn count_file(&self, path: &str) {
        if !matches!(path, "clocks.json" | "heartbeat.json" | "status") && !path.ends_with("screen.txt") {
            self.count();
        }
    }
}

pub(crate) struct CutFiles {
    pub files: RealFiles,
    pub cut: Cut,
}

impl Files for CutFiles {
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.files.read(path, limit)
    }
    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>> {
        self.files.tail(path, bytes)
    }
    fn stamp(&mut self, path: &str) -> Option<String> {
        self.files.stamp(path)
    }
    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
        self.cut.count_file(path);
        self.files.replace(path, expected, bytes, sync)
    }
    fn append(&mut self, path: &str, record: &str) -> Result<()> {
        self.cut.count_file(path);
        self.files.append(path, record)
    }
    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        self.files.list(path)
    }
    fn remove(&mut self, path: &str) -> Result<()> {
        self.cut.count_file(path);
        self.files.remove(path)
    }
    fn modified(&mut self, path: &str) -> Option<Wall> {
        self.files.modified(path)
    }
    fn put_folder(&mut self, path: &str, files: &[(String, Vec<u8>)]) -> Result<()> {
        self.cut.count_file(path);
        self.files.put_folder(path, files)
    }
    fn remove_folder(&mut self, path: &str) -> Result<()> {
        self.cut.count_file(path);
        self.files.remove_folder(path)
    }
    fn rotate(&mut self, path: &str, to: &str, bytes: u64) -> Result<()> {
        self.files.rotate(path, to, bytes)
    }
    fn irregular(&mut self, path: &str) -> Option<String> {
        self.files.irregular(path)
    }
    fn quarantine(&mut self, path: &str) -> Result<String> {
        self.cut.count_file(path);
        self.files.quarantine(path)
    }
}

pub(crate) struct CutHost {
    pub host: RealHost,
    pub cut: Cut,
}

impl Host for CutHost {
    fn now(&mut self) -> Now {
        self.host.now()
    }
    fn panes(&mut self) -> PaneList {
        self.host.panes()
    }
    fn capture(&mut self, panes: &[String]) -> BTreeMap<String, String> {
        self.host.capture(panes)
    }
    fn process_start(&mut self, pid: i32) -> Option<u64> {
        self.host.process_start(pid)
    }
    fn process_tree(&mut self, pid: i32) -> Vec<Process> {
        self.host.process_tree(pid)
    }
    fn tools_cpu_ms(&mut self, pid: i32, programs: &[String]) -> Option<u64> {
        self.host.tools_cpu_ms(pid, programs)
    }
    fn vote(&mut self, status_file: &str, pid: i32) -> Option<Vote> {
        self.host.vote(status_file, pid)
    }
    fn transcript(&mut self, dir: &str, suffix: &str, pid: i32, cwd: &str) -> Option<TranscriptSeen> {
        self.host.transcript(dir, suffix, pid, cwd)
    }
    fn tip(
        &mut self,
        repo: &Path,
        remote: &str,
        branch: &str,
    ) -> std::result::Result<Option<String>, String> {
        self.host.tip(repo, remote, branch)
    }
    fn branch(&mut self, query: &BranchQuery) -> std::result::Result<BranchFacts, String> {
        self.host.branch(query)
    }
    fn job(&mut self, id: &str) -> JobSeen {
        self.host.job(id)
    }
    fn is_alone(&mut self, pid: i32) -> Option<bool> {
        self.host.is_alone(pid)
    }
    fn head(&mut self, folder: &Path) -> std::result::Result<String, String> {
        self.host.head(folder)
    }
    fn prune_jobs(&mut self, keep: &BTreeSet<String>) {
        self.host.prune_jobs(keep);
    }
    fn process_began(&mut self, pid: i32) -> Option<Wall> {
        self.host.process_began(pid)
    }
    fn runs(&mut self, queries: &[RunQuery]) -> Vec<RunSeen> {
        self.host.runs(queries)
    }
    fn tend_records(&mut self) -> (Vec<Trouble>, Option<f64>) {
        self.host.tend_records()
    }
    fn tree_cpu_ms(&mut self, pid: i32) -> Option<u64> {
        self.host.tree_cpu_ms(pid)
    }
    fn finds(&mut self, program: &str) -> bool {
        self.host.finds(program)
    }
    fn has_variable(&mut self, name: &str) -> bool {
        self.host.has_variable(name)
    }
    fn text(&mut self, path: &Path, max: u64) -> Option<String> {
        self.host.text(path, max)
    }
    fn leftovers(&mut self, unit: &UnitName, run: &RunId) -> Vec<Process> {
        self.host.leftovers(unit, run)
    }
    fn log_of(&mut self, unit: &UnitName, place: &HostPlace, attached: Option<&Path>) -> Option<Log> {
        self.host.log_of(unit, place, attached)
    }
    fn trim_log(&mut self, unit: &UnitName, place: &HostPlace, read: &LogCursor, max: u64) -> Option<String> {
        self.cut.count();
        self.host.trim_log(unit, place, read, max)
    }
    fn part_of(
        &mut self,
        path: &Path,
        offset: u64,
        max: usize,
    ) -> std::result::Result<Option<(Vec<u8>, u64)>, String> {
        self.host.part_of(path, offset, max)
    }
    fn log_place(&mut self, log: &Path, finding: &Finding) -> Option<(PathBuf, u64)> {
        self.host.log_place(log, finding)
    }
    fn pressure(&mut self) -> HostSeen {
        self.host.pressure()
    }
    fn perform(&mut self, action: &Action) -> Outcome {
        self.cut.count();
        self.host.perform(action)
    }
}
