//! The state directory in memory: it fails, fills up, tears what is appended, is edited by others, and forgets what was
//! not synced when the machine goes down.

use super::ops::{Ops, Step};
use super::rng::Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use watchkeeper::base::error::{Error, Result};
use watchkeeper::base::time::Wall;
use watchkeeper::sys::{Files, Replaced, Sync};

#[derive(Clone, Debug, Default)]
pub struct File {
    pub bytes: Vec<u8>,
    /// Its last change on the local wall clock, where the world says it.
    modified: Option<Wall>,
    /// What a power loss leaves; None = no file.
    durable: Option<Vec<u8>>,
    version: u64,
}

/// Faults of the disk, per mille of its calls.
#[derive(Clone, Debug, Default)]
pub struct DiskFaults {
    pub write_fails: u64,
    pub read_fails: u64,
    pub tears: u64,
    /// Somebody edits the file while it is being replaced.
    pub yields: u64,
    /// No space at all.
    pub full: bool,
    /// This one can't be replaced.
    pub fixed: Option<&'static str>,
}

#[derive(Debug)]
pub struct Disk {
    pub files: BTreeMap<String, File>,
    pub faults: DiskFaults,
    pub rng: Rng,
    versions: u64,
    /// When a name in it was last made, removed or exchanged, by folder.
    folders: BTreeMap<String, u64>,
    /// Paths written since the last look at it.
    pub written: BTreeSet<String>,
    /// unit.json files whose memory was destroyed by somebody else since the last look at it.
    pub destroyed: BTreeSet<String>,
    /// Any write or append failed in this tick.
    pub failed: bool,
}

impl Disk {
    pub fn new(rng: Rng) -> Disk {
        Disk {
            files: BTreeMap::new(),
            faults: DiskFaults::default(),
            rng,
            versions: 0,
            folders: BTreeMap::new(),
            written: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            failed: false,
        }
    }

    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.bytes.as_slice())
    }

    /// As another program writes it: durable at once.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.versions += 1;
        let version = self.versions;
        let file = File { durable: Some(bytes.clone()), bytes, version, modified: None };
        if self.files.insert(path.to_owned(), file).is_none() {
            self.touch_folder(path);
        }
    }

    /// The same, at a known time.
    pub fn put_at(&mut self, path: &str, bytes: &[u8], at: Wall) {
        self.put(path, bytes.to_vec());
        if let Some(file) = self.files.get_mut(path) {
            file.modified = Some(at);
        }
    }

    pub fn delete(&mut self, path: &str) {
        self.files.remove(path);
        self.touch_folder(path);
    }

    /// Another one after each change.
    pub fn version(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|file| file.version)
    }

    /// The last change of a file whose time is known.
    pub fn modified(&self, path: &str) -> Option<Wall> {
        self.files.get(path)?.modified
    }

    fn touch_folder(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folders.insert(folder.to_owned(), self.versions);
            self.versions += 1;
        }
    }

    pub fn append_line(&mut self, path: &str, line: &str) {
        let mut bytes = self.get(path).map(<[u8]>::to_vec).unwrap_or_default();
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.put(path, bytes);
    }

    fn write(&mut self, path: &str, bytes: &[u8], sync: Sync) {
        self.versions += 1;
        let version = self.versions;
        let file = self.files.entry(path.to_owned()).or_default();
        file.bytes = bytes.to_vec();
        file.version = version;
        self.folders.extend(path.rsplit_once('/').map(|(folder, _)| (folder.to_owned(), version)));
        match sync {
            Sync::Durable => file.durable = Some(bytes.to_vec()),
            Sync::Cheap => {}
        }
        self.written.insert(path.to_owned());
    }

    /// Power loss: what was not synced may be as before, empty, or there all the same.
    pub fn lose_power(&mut self) {
        let mut gone = Vec::new();
        for (path, file) in &mut self.files {
            if file.durable.as_deref() == Some(&file.bytes[..]) {
                continue;
            }
            self.versions += 1;
            file.version = self.versions;
            match self.rng.below(3) {
                0 => {}
                1 => file.bytes.clear(),
                _ => match &file.durable {
                    Some(bytes) => file.bytes.clone_from(bytes),
                    None => gone.push(path.clone()),
                },
            }
        }
        for path in gone {
            self.files.remove(&path);
        }
    }

    /// The JSON of a file, if it is one.
    pub fn json(&self, path: &str) -> Option<serde_json::Value> {
        serde_json::from_slice(self.get(path)?).ok()
    }

    fn may_fail(&mut self, per_mille: u64, what: &str, path: &str) -> Result<()> {
        if per_mille > 0 && self.rng.chance(per_mille) {
            self.failed = true;
            return Err(Error::again(format!("{what} `{path}`: input/output error (simulated)")));
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct SimFiles {
    pub disk: Rc<RefCell<Disk>>,
    pub ops: Rc<Ops>,
}

fn dead<T>() -> Result<T> {
    Err(Error::again("killed (simulated)"))
}

impl Files for SimFiles {
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if self.ops.step() != Step::Works {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        let rate = disk.faults.read_fails;
        disk.may_fail(rate, "reading", path)?;
        let bytes = disk.get(path).map(<[u8]>::to_vec);
        if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > limit) {
            return Err(Error::again("too large (simulated)"));
        }
        Ok(bytes)
    }

    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>> {
        let whole = self.read(path, u64::MAX)?.unwrap_or_default();
        Ok(whole[whole.len().saturating_sub(bytes as usize)..].to_vec())
    }

    fn stamp(&mut self, path: &str) -> Option<String> {
        if self.ops.step() != Step::Works {
            return None;
        }
        let disk = self.disk.borrow();
        let folder = disk.folders.get(path).map(|version| format!("f{version}"));
        disk.files.get(path).map(|file| format!("v{}", file.version)).or(folder)
    }

    fn modified(&mut self, path: &str) -> Option<Wall> {
        self.disk.borrow().modified(path)
    }

    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        if disk.faults.full || disk.faults.fixed == Some(path) {
            disk.failed = true;
            return Err(Error::again(format!("writing `{path}`: no space left on device (simulated)")));
        }
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "writing", path)?;
        let rate = disk.faults.yields;
        if path.ends_with("unit.json") && disk.get(path).is_some() && disk.rng.chance(rate) {
            let mut edited = disk.get(path).map(<[u8]>::to_vec).unwrap_or_default();
            edited.push(b'\n');
            disk.put(path, edited);
        }
        if disk.get(path) != expected {
            disk.failed = true;
            return Ok(Replaced::Yielded);
        }
        disk.write(path, bytes, sync);
        if step == Step::DiesAfter { dead() } else { Ok(Replaced::Written) }
    }

    fn append(&mut self, path: &str, record: &str) -> Result<()> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        if disk.faults.full {
            disk.failed = true;
            return Err(Error::again(format!("appending to `{path}`: no space left on device (simulated)")));
        }
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "appending to", path)?;
        let rate = disk.faults.tears;
        let mut whole = disk.get(path).map(<[u8]>::to_vec).unwrap_or_default();
        if whole.last().is_some_and(|last| *last != b'\n') {
            whole.push(b'\n');
        }
        let torn = disk.rng.chance(rate);
        if torn || (step == Step::DiesAfter && disk.rng.chance(300)) {
            let cut = disk.rng.below(record.len() as u64) as usize;
            whole.extend_from_slice(&record.as_bytes()[..cut]);
            disk.write(path, &whole, Sync::Durable);
            disk.failed = true;
            return Err(Error::again(format!("appending to `{path}`: short write (simulated)")));
        }
        whole.extend_from_slice(record.as_bytes());
        whole.push(b'\n');
        disk.write(path, &whole, Sync::Durable);
        if step == Step::DiesAfter { dead() } else { Ok(()) }
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        if self.ops.step() != Step::Works {
            return dead();
        }
        let disk = self.disk.borrow();
        let prefix = format!("{path}/");
        let names = disk.files.keys().filter_map(|file| file.strip_prefix(&prefix));
        let names: BTreeSet<String> =
            names.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "removing", path)?;
        disk.delete(path);
        disk.written.insert(path.to_owned());
        if step == Step::DiesAfter { dead() } else { Ok(()) }
    }

    fn put_folder(&mut self, path: &str, files: &[(String, Vec<u8>)]) -> Result<()> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        if disk.faults.full {
            disk.failed = true;
            return Err(Error::again(format!("writing `{path}`: no space left on device (simulated)")));
        }
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "writing", path)?;
        let prefix = format!("{path}/");
        if !disk.files.keys().any(|file| file.starts_with(&prefix)) {
            for (name, bytes) in files {
                disk.write(&format!("{prefix}{name}"), bytes, Sync::Durable);
            }
        }
        if step == Step::DiesAfter { dead() } else { Ok(()) }
    }

    fn remove_folder(&mut self, path: &str) -> Result<()> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "removing", path)?;
        let prefix = format!("{path}/");
        disk.files.retain(|file, _| !file.starts_with(&prefix));
        if step == Step::DiesAfter { dead() } else { Ok(()) }
    }

    fn quarantine(&mut self, path: &str) -> Result<String> {
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            return dead();
        }
        let mut disk = self.disk.borrow_mut();
        let rate = disk.faults.write_fails;
        disk.may_fail(rate, "moving", path)?;
        let bytes = disk.get(path).map(<[u8]>::to_vec).unwrap_or_default();
        disk.files.remove(path);
        let to = format!("quarantine/{}.{}", path.replace('/', "-"), bytes.len());
        disk.put(&to, bytes);
        disk.destroyed.insert(path.to_owned());
        if step == Step::DiesAfter { dead() } else { Ok(to) }
    }
}
