//! Files of a working tree that are replaced or taken out: what stood there comes out whole, and only then is it looked at.
//! A save that came after the comparison is given back, or kept under a name that is told; it is never lost.
//!
//! What came out lies in the fix's folder (`replaced/<n>-<object that stood there>-<object put there>/<path>`) until all is
//! done, so that a writer who had it open all the while is noticed, and a kill leaves it where its name tells what it is.
//! Deliberately not here: which files (`fix_branch`, `fix_stash`).

use super::fix_git::Git;
use super::fix_tree::{self as tree, Entry};
use super::writers;
use crate::base::text::digest;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder.
const REPLACED: &str = "replaced";
/// Replacements of one fix.
const SWAPS_MAX: usize = 200_000;
/// So long is waited for a save that is under way.
const WRITING: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Replacements that belong together.
pub(super) struct Swaps<'a> {
    git: &'a Git,
    store: &'a Path,
    done: Vec<Swap>,
    /// By path, what was saved meanwhile, in words.
    told: BTreeMap<String, String>,
}

/// One that was done.
struct Swap {
    path: String,
    /// What stood there.
    out: PathBuf,
    was: Entry,
    is: Entry,
    /// Of what came out, when it was compared.
    digest: String,
}

/// What came of the attempt to put something in a place.
pub(super) enum Placed {
    /// It stands there; what stood there before is at the other name, if anything did.
    Done,
    /// Something else stands there than was expected: nothing was done.
    Other,
    /// Somebody made it anew in the instant in which nothing stood there; what stood there before is here.
    Anew(PathBuf),
}

impl<'a> Swaps<'a> {
    /// None yet. What a kill left of earlier ones is looked through.
    pub(super) fn new(git: &'a Git, store: &'a Path) -> Swaps<'a> {
        let mut swaps = Swaps { git, store, done: Vec::new(), told: BTreeMap::new() };
        swaps.leftovers();
        swaps
    }

    /// Puts the last in the place of the one before it, at each path. What could not be done, or was saved meanwhile, by
    /// path, in words. `removed` hears of each path where nothing stands any more.
    pub(super) fn all(
        mut self,
        order: &[(&String, Entry, Entry)],
        removed: impl Fn(&str),
    ) -> BTreeMap<String, String> {
        // Removals first: a file may stand where a folder has to be.
        let (gone, put): (Vec<_>, Vec<_>) = order.iter().partition(|(_, _, is)| *is == Entry::Absent);
        for (path, was, is) in gone.into_iter().chain(put) {
            match self.put(path, was, is) {
                Ok(()) if *is == Entry::Absent => removed(path),
                Ok(()) => {}
                Err(why) => drop(self.told.insert((*path).clone(), why)),
            }
        }
        self.settle()
    }

    /// Puts `is` where `was` stands. What is there instead stays, and is said.
    fn put(&mut self, path: &str, was: &Entry, is: &Entry) -> Result<(), String> {
        let said = |why: String| format!("`{path}`: {why}");
        let full = self.git.root.join(path);
        let Some(blob) = is.blob() else { return self.take(path, was) };
        let bytes = self.git.call(&["cat-file", "blob", blob]).map_err(said)?;
        let parent = full.parent().unwrap_or(&self.git.root).to_owned();
        std::fs::create_dir_all(&parent).map_err(|error| said(error.to_string()))?;
        if !tree::parents_are_folders(&self.git.root, path) {
            return Err(said("a link stands where its folder was".to_owned()));
        }
        // Empty folders that the agent's files left behind.
        let _ = std::fs::remove_dir(&full);
        let room = self.room(path, was, is)?;
        let owner = tree::owner(&full);
        // The fix's folder may be on another file system: then a name beside it.
        for new in [room, tree::beside(&full)] {
            tree::write_entry(&new, is, &bytes, owner).map_err(|error| said(error.to_string()))?;
            between(path);
            match exchange(&new, &full, was) {
                Err(Errno::XDEV) => self.clear(&new),
                Err(errno) => {
                    self.clear(&new);
                    return Err(said(std::io::Error::from(errno).to_string()));
                }
                Ok(Placed::Other) => {
                    self.clear(&new);
                    return Err(changed(path));
                }
                Ok(Placed::Anew(old)) => {
                    let swap = Swap {
                        path: path.to_owned(),
                        out: old,
                        was: was.clone(),
                        is: is.clone(),
                        digest: String::new(),
                    };
                    let known = self.is(&swap.out, was);
                    let _ = std::fs::remove_file(&new);
                    if known {
                        self.clear(&swap.out);
                    }
                    return Err(if known { changed(path) } else { self.kept(&swap) });
                }
                Ok(Placed::Done) => return self.look(path, new, was, is),
            }
        }
        Err(said("it can't be replaced in one step".to_owned()))
    }

    /// Takes out what stands there.
    fn take(&mut self, path: &str, was: &Entry) -> Result<(), String> {
        let full = self.git.root.join(path);
        let room = self.room(path, was, &Entry::Absent)?;
        for out in [room, tree::beside(&full)] {
            between(path);
            match std::fs::rename(&full, &out) {
                Ok(()) => return self.look(path, out, was, &Entry::Absent),
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => self.clear(&out),
                Err(error) => {
                    self.clear(&out);
                    return Err(format!("`{path}`: {error}"));
                }
            }
        }
        Err(format!("`{path}`: it can't be taken out in one step"))
    }

    /// What came out must be what was compared.
    fn look(&mut self, path: &str, out: PathBuf, was: &Entry, is: &Entry) -> Result<(), String> {
        // Taken before it is compared: what is written later makes another one of it.
        let digest = digest_of(&out);
        let swap = Swap { path: path.to_owned(), out, was: was.clone(), is: is.clone(), digest };
        if *was == Entry::Absent || self.is(&swap.out, was) {
            self.done.push(swap);
            return Ok(());
        }
        Err(self.give_back(&swap))
    }

    fn is(&self, full: &Path, entry: &Entry) -> bool {
        tree::entry_at(self.git, full).is_ok_and(|now| now == *entry)
    }

    /// All of it is done: what came out goes, unless somebody wrote it after it was compared. By path, in words.
    fn settle(mut self) -> BTreeMap<String, String> {
        let writers = self.writers();
        for swap in std::mem::take(&mut self.done) {
            if swap.was == Entry::Absent {
                self.clear(&swap.out);
                continue;
            }
            let writer = writers.get(&swap.out);
            if writer.is_none() && digest_of(&swap.out) == swap.digest {
                self.clear(&swap.out);
                continue;
            }
            let by = writer.map(|writer| format!(" ({writer} has it open for writing)")).unwrap_or_default();
            let words = self.give_back(&swap) + &by;
            self.told.insert(swap.path, words);
        }
        let _ = std::fs::remove_dir(self.store.join(REPLACED));
        self.told
    }

    /// Who still writes what came out; a save that is under way is waited for.
    fn writers(&self) -> BTreeMap<PathBuf, writers::Writer> {
        let until = Instant::now() + WRITING;
        loop {
            let writers = writers::of(self.done.iter().map(|swap| swap.out.as_path()));
            if writers.is_empty() || Instant::now() >= until {
                return writers;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// It was saved meanwhile: what was saved stands again where it was, unless something newer does. In words.
    fn give_back(&self, swap: &Swap) -> String {
        let full = self.git.root.join(&swap.path);
        let stands = format!("`{}` was saved meanwhile: it is left as it was saved", swap.path);
        if swap.is == Entry::Absent {
            let _ = full.parent().map(std::fs::create_dir_all);
            if matches!(put_new(&swap.out, &full), Ok(Placed::Done)) {
                self.clear(&swap.out);
                return stands;
            }
            return self.kept(swap);
        }
        between(&swap.path);
        match exchange(&swap.out, &full, &swap.is) {
            Ok(Placed::Done) => {}
            Ok(Placed::Anew(old)) if self.is(&old, &swap.is) => {
                let _ = std::fs::remove_file(old);
                return self.kept(swap);
            }
            Ok(Placed::Other | Placed::Anew(_)) | Err(_) => return self.kept(swap),
        }
        if self.is(&swap.out, &swap.is) {
            self.clear(&swap.out);
            return stands;
        }
        // Something newer stood there: it goes in again, and what was to be given back stays here.
        let _ = exchange(&swap.out, &full, &swap.was);
        self.kept(swap)
    }

    /// What could not be given back stays in the fix's folder.
    fn kept(&self, swap: &Swap) -> String {
        let mut out = swap.out.clone();
        if !out.starts_with(self.store)
            && let Ok(room) = self.room(&swap.path, &swap.was, &swap.is)
            && std::fs::copy(&out, &room).is_ok()
        {
            let _ = std::fs::remove_file(&out);
            out = room;
        }
        format!(
            "`{}` was saved more than once meanwhile: the newest stands there, an earlier one is in `{}`",
            swap.path,
            out.display()
        )
    }

    /// A name in the fix's folder that nothing has.
    fn room(&self, path: &str, was: &Entry, is: &Entry) -> Result<PathBuf, String> {
        let id = |entry: &Entry| entry.blob().unwrap_or("none").to_owned();
        let all = self.store.join(REPLACED);
        let said = |error: std::io::Error| format!("`{}`: {error}", all.display());
        std::fs::create_dir_all(&all).map_err(said)?;
        for n in self.done.len()..SWAPS_MAX {
            let dir = all.join(format!("{n}-{}-{}", id(was), id(is)));
            match std::fs::create_dir(&dir) {
                Ok(()) => {
                    let room = dir.join(path);
                    room.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(said)?;
                    return Ok(room);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(said(error)),
            }
        }
        Err(format!("`{}` is full", all.display()))
    }

    /// Removes what lies at a name of ours, and the folders that it alone was in.
    fn clear(&self, out: &Path) {
        let _ = std::fs::remove_file(out);
        let all = self.store.join(REPLACED);
        let above = out.ancestors().skip(1).take_while(|dir| dir.starts_with(&all) && **dir != all);
        for dir in above {
            if std::fs::remove_dir(dir).is_err() {
                break;
            }
        }
    }

    /// What a kill left here: one of the two objects that its folder names is worth nothing, anything else is somebody's.
    fn leftovers(&mut self) {
        let all = self.store.join(REPLACED);
        for dir in std::fs::read_dir(&all).into_iter().flatten().flatten().take(SWAPS_MAX) {
            let name = dir.file_name().to_string_lossy().into_owned();
            let ids: Vec<&str> = name.split('-').skip(1).collect();
            let files = walkdir::WalkDir::new(dir.path()).into_iter().flatten();
            let files: Vec<PathBuf> =
                files.filter(|file| !file.file_type().is_dir()).map(walkdir::DirEntry::into_path).collect();
            let writers = writers::of(files.iter().map(PathBuf::as_path));
            for out in files {
                let known = tree::entry_at(self.git, &out);
                let written = writers.contains_key(&out);
                if !written && known.is_ok_and(|entry| entry.blob().is_some_and(|blob| ids.contains(&blob))) {
                    self.clear(&out);
                    continue;
                }
                let path = out.strip_prefix(dir.path()).unwrap_or(&out).to_string_lossy().into_owned();
                let words = format!("`{path}` was saved meanwhile: that version is in `{}`", out.display());
                self.told.insert(path, words);
            }
            let _ = std::fs::remove_dir(dir.path());
        }
    }
}

/// Of a file's bytes and mode, or of a link's target; of what can't be read, its own words.
fn digest_of(path: &Path) -> String {
    let bytes = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => std::fs::read_link(path).map(|to| to.into_os_string().into_vec()),
        Ok(meta) => super::files::read_bounded(path, tree::FILE_MAX)
            .map_err(|why| std::io::Error::other(why.message()))
            .map(|bytes| {
                [bytes.unwrap_or_default(), meta.permissions().mode().to_le_bytes().to_vec()].concat()
            }),
        Err(error) => Err(error),
    };
    bytes.map_or_else(|error| error.to_string(), |bytes| digest(&bytes))
}

fn changed(path: &str) -> String {
    format!("`{path}` was changed meanwhile, and is left as it is")
}

/// Puts a file where `was` stands; afterwards that is at the file's name, if it was anything.
fn exchange(new: &Path, full: &Path, was: &Entry) -> Result<Placed, Errno> {
    if *was == Entry::Absent {
        return put_new(new, full);
    }
    match trade(new, full) {
        Ok(()) => Ok(Placed::Done),
        // Removed meanwhile: that was an edit too.
        Err(Errno::NOENT) => Ok(Placed::Other),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => aside(new, full),
        Err(errno) => Err(errno),
    }
}

/// Where the file system can't exchange: what stands there is renamed, then the file gets its name, then they trade names.
fn aside(new: &Path, full: &Path) -> Result<Placed, Errno> {
    let old = tree::beside(new);
    match rustix::fs::rename(full, &old) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Placed::Other),
        Err(errno) => return Err(errno),
    }
    between(ASIDE);
    match put_new(new, full) {
        Ok(Placed::Done) => {}
        Ok(Placed::Other | Placed::Anew(_)) => return Ok(Placed::Anew(old)),
        Err(errno) => {
            let _ = put_new(&old, full);
            return Err(errno);
        }
    }
    rustix::fs::rename(&old, new).map(|()| Placed::Done)
}

/// Puts a file where nothing stands.
pub(super) fn put_new(new: &Path, full: &Path) -> Result<Placed, Errno> {
    match rustix::fs::renameat_with(CWD, new, CWD, full, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Placed::Done),
        Err(Errno::EXIST) => Ok(Placed::Other),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match rustix::fs::link(new, full) {
            Ok(()) => rustix::fs::unlink(new).map(|()| Placed::Done),
            Err(Errno::EXIST) => Ok(Placed::Other),
            Err(errno) => Err(errno),
        },
        Err(errno) => Err(errno),
    }
}

fn trade(new: &Path, full: &Path) -> Result<(), Errno> {
    #[cfg(test)]
    if CANT_TRADE.get() {
        return Err(Errno::INVAL);
    }
    rustix::fs::renameat_with(CWD, new, CWD, full, RenameFlags::EXCHANGE)
}

/// The moment in which nothing stands there, as [`between`] hears of it.
const ASIDE: &str = "";

/// The moment between the comparison and the replacement.
#[cfg(not(test))]
fn between(_: &str) {}

/// What somebody does in that moment.
#[cfg(test)]
type Happens = Option<Box<dyn FnMut(&str)>>;

#[cfg(test)]
thread_local! {
    /// The file system can't exchange names.
    pub(super) static CANT_TRADE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    pub(super) static BETWEEN: std::cell::RefCell<Happens> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn between(path: &str) {
    BETWEEN.with_borrow_mut(|act| act.as_mut().map(|act| act(path)));
}

#[cfg(test)]
#[path = "fix_swap_tests.rs"]
mod tests;
