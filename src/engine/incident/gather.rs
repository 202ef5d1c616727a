//! Reads what an incident's folder is made of: sources, configs, and the log around the finding. Bounded in files and bytes;
//! what can't be read is said in its place.

use super::repeats;
use crate::base::time::Now;
use crate::detect::incident::Material;
use crate::detect::incident::configs::{CONFIG_MAX, ConfigSeen};
use crate::detect::incident::excerpt::{BYTES_AROUND, Begins, Excerpt, cut, find};
use crate::detect::incident::frames::{self, FrameSeen, SourceSeen};
use crate::detect::secrets::Secrets;
use crate::detect::source::library::{hot, is_library};
use crate::detect::source::{SOURCE_MAX, Syntax};
use crate::model::finding::{Finding, Frame};
use crate::model::incident::IncidentOrder;
use crate::state::unit::UnitState;
use crate::sys::Host;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Source files read for one incident.
const SOURCES_MAX: usize = 20;
/// Configs kept in one incident.
const CONFIGS_MAX: usize = 20;
/// So much of a log's end is searched for a finding that is not where it was, bytes.
const SEARCH_MAX: usize = 4 << 20;
/// What is said of an excerpt that its text was found by.
const BY_TEXT: &str =
    "not sure: the log was cut or replaced since, and this is the last place where the same text stands";
/// Older parts of a log that are searched: `out.log.1` is the newest of them (`sys::hosts`).
const OLDER_MAX: usize = 4;

/// All of it, of an order whose secrets are hidden already; `told` is the same one as it was found.
pub(super) fn material<'a, H: Host>(
    host: &mut H,
    told: &IncidentOrder,
    order: &'a IncidentOrder,
    secrets: &'a Secrets,
    unit: &'a UnitState,
    now: &'a Now,
) -> Material<'a> {
    let outlook = unit.incident.outlook.iter().find(|page| page.incident == order.id);
    let mut state = unit.clone();
    // What is owed of incidents is in the folder itself.
    state.incident = crate::state::incident::IncidentState::default();
    Material {
        order,
        repeats: repeats(&unit.incident, order),
        zone: &now.zone,
        state: serde_json::to_string_pretty(&state).unwrap_or_default(),
        excerpt: hidden(excerpt(host, told), secrets),
        frames: sources(host, order),
        configs: configs(host, order),
        outlook: outlook.map(|page| page.text.as_str()),
        secrets,
    }
}

/// Before lines are shortened for the page.
fn hidden(mut excerpt: Excerpt, secrets: &Secrets) -> Excerpt {
    for (line, _) in &mut excerpt.lines {
        *line = secrets.hide(line);
    }
    excerpt
}

fn configs<H: Host>(host: &mut H, order: &IncidentOrder) -> Vec<ConfigSeen> {
    let mut read = |path: &String| {
        let text = match host.part_of(Path::new(path), 0, CONFIG_MAX) {
            Ok(None) => Err("no such file".to_owned()),
            Ok(Some((bytes, length))) => {
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                if length > bytes.len() as u64 {
                    text.push_str(&format!("\n# … cut: the file is {length} bytes long\n"));
                }
                Ok(text)
            }
            Err(why) => Err(why),
        };
        ConfigSeen { path: path.clone(), text }
    };
    order.place.configs.iter().take(CONFIGS_MAX).map(&mut read).collect()
}

fn sources<H: Host>(host: &mut H, order: &IncidentOrder) -> Vec<FrameSeen> {
    let finding = &order.finding;
    let hot = hot(finding);
    let mut texts: BTreeMap<String, Result<String, String>> = BTreeMap::new();
    frames::chosen(finding)
        .into_iter()
        .filter_map(|at| Some((at, finding.frames.get(at)?)))
        .map(|(at, frame)| {
            let source = source(host, finding, frame, &order.place.dir, &mut texts);
            FrameSeen { frame: frame.clone(), source, hot: hot == Some(at) }
        })
        .collect()
}

fn source<H: Host>(
    host: &mut H,
    finding: &Finding,
    frame: &Frame,
    dir: &str,
    texts: &mut BTreeMap<String, Result<String, String>>,
) -> SourceSeen {
    if is_library(frame, finding.language) {
        return SourceSeen::Library;
    }
    if !frames::is_wanted(frame, finding.language) {
        let known = Syntax::of(&frame.file).is_some();
        let why = if known { "the trace names no line" } else { "it is no source file that is known" };
        return SourceSeen::Unseen { why: why.to_owned() };
    }
    let mut why = format!("`{}` is not on this machine", frame.file);
    for path in frames::candidates(frame, dir, finding.language) {
        if !texts.contains_key(&path) && texts.len() >= SOURCES_MAX {
            return SourceSeen::Unseen { why: format!("{SOURCES_MAX} files were read already") };
        }
        let text = texts.entry(path.clone()).or_insert_with(|| read_source(host, &path));
        match text {
            Ok(text) => return frames::shown(&path, text, frame.line),
            Err(missing) if missing.is_empty() => {}
            Err(reason) => why = format!("`{path}`: {reason}"),
        }
    }
    SourceSeen::Unseen { why }
}

/// A source's text; "" as error = it is not there.
fn read_source<H: Host>(host: &mut H, path: &str) -> Result<String, String> {
    match host.part_of(Path::new(path), 0, SOURCE_MAX) {
        Ok(Some((_, length))) if length > SOURCE_MAX as u64 => Err(format!("it is {length} bytes long")),
        Ok(Some((bytes, _))) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(None) => Err(String::new()),
        Err(why) => Err(why),
    }
}

/// The log around the finding: where its bytes stand now, else wherever its text is found, which is said, else the end.
fn excerpt<H: Host>(host: &mut H, order: &IncidentOrder) -> Excerpt {
    let log = &order.place.log;
    let finding = &order.finding;
    if log.is_empty() {
        return Excerpt::nothing("", "this process has no log");
    }
    if let Some(found) = at_its_place(host, order) {
        return found;
    }
    if finding.line > 0 && !finding.text.trim().is_empty() {
        let older = (1..=OLDER_MAX).map(|n| format!("{log}.{n}"));
        for path in std::iter::once(log.clone()).chain(older) {
            let Ok(Some((_, length))) = host.part_of(Path::new(&path), 0, 0) else { continue };
            let from = length.saturating_sub(SEARCH_MAX as u64);
            if let Some(mut found) = by_text(host, &path, from, order) {
                found.note = BY_TEXT.to_owned();
                return found;
            }
        }
    }
    let end = |host: &mut H| {
        let (_, length) = host.part_of(Path::new(log), 0, 0)?.ok_or_else(|| "no such file".to_owned())?;
        let from = length.saturating_sub(BYTES_AROUND as u64);
        Ok::<_, String>((host.part_of(Path::new(log), from, BYTES_AROUND)?, from))
    };
    match end(host) {
        Ok((part, from)) => {
            let bytes = part.map(|(bytes, _)| bytes).unwrap_or_default();
            let begins = if from == 0 { Begins::AtLine } else { Begins::Within };
            let (bytes, begins) = with_older(host, log, bytes, begins);
            let mut excerpt = cut(log, &bytes, None, begins);
            excerpt.note = match finding.line > 0 {
                true => "the finding's lines are not in the log any more; this is the log's end".to_owned(),
                false => "the end of the log".to_owned(),
            };
            excerpt
        }
        Err(why) => Excerpt::nothing(log, format!("the log could not be read: {why}")),
    }
}

/// The excerpt around the finding's own bytes, wherever they are now.
fn at_its_place<H: Host>(host: &mut H, order: &IncidentOrder) -> Option<Excerpt> {
    let finding = &order.finding;
    if finding.line == 0 {
        return None;
    }
    let (path, place) = match &finding.log {
        Some(_) => host.log_place(Path::new(&order.place.log), finding)?,
        None => (PathBuf::from(&order.place.log), finding.at),
    };
    let path = path.to_string_lossy().into_owned();
    let length = usize::try_from(finding.end.saturating_sub(finding.at)).unwrap_or(0).min(BYTES_AROUND);
    let from = place.saturating_sub(BYTES_AROUND as u64);
    let (mut bytes, _) = host.part_of(Path::new(&path), from, 2 * BYTES_AROUND + length).ok()??;
    let start = usize::try_from(place - from).unwrap_or(0);
    // What was freed where it stood reads as zeros.
    let freed = bytes.iter().take(start).take_while(|byte| **byte == 0).count();
    bytes.drain(..freed);
    let start = start - freed;
    let mut hot = start..(start + length).min(bytes.len());
    // Of a long line only what was found in it.
    match bytes.get(hot.clone()).and_then(|part| find(part, &finding.text)) {
        Some(said) => hot = hot.start + said.start..hot.start + said.end,
        None if finding.log.is_none() => return None,
        None => {}
    }
    let begins = if from == 0 || freed > 0 { Begins::AtLine } else { Begins::Within };
    Some(around(host, &path, bytes, hot, begins))
}

/// The excerpt around the last place with the finding's text, in the end of a file.
fn by_text<H: Host>(host: &mut H, path: &str, from: u64, order: &IncidentOrder) -> Option<Excerpt> {
    let (bytes, _) = host.part_of(Path::new(path), from, SEARCH_MAX).ok()??;
    let hot = find(&bytes, &order.finding.text)?;
    let begins = if from == 0 { Begins::AtLine } else { Begins::Within };
    Some(around(host, path, bytes, hot, begins))
}

fn around<H: Host>(host: &mut H, path: &str, bytes: Vec<u8>, hot: Range<usize>, begins: Begins) -> Excerpt {
    let length = bytes.len();
    let (bytes, begins) = with_older(host, path, bytes, begins);
    let shift = bytes.len() - length;
    cut(path, &bytes, Some(hot.start + shift..hot.end + shift), begins)
}

/// What stands before the beginning of a log: the end of the older part, if the log was rotated.
fn with_older<H: Host>(host: &mut H, path: &str, bytes: Vec<u8>, begins: Begins) -> (Vec<u8>, Begins) {
    let older = match path.rsplit_once('.').and_then(|(base, n)| Some((base, n.parse::<usize>().ok()?))) {
        Some((base, n)) => format!("{base}.{}", n + 1),
        None => format!("{path}.1"),
    };
    let mut end = || {
        let (_, length) = host.part_of(Path::new(&older), 0, 0).ok()??;
        let from = length.saturating_sub(BYTES_AROUND as u64);
        Some((host.part_of(Path::new(&older), from, BYTES_AROUND).ok()??.0, from))
    };
    match begins {
        Begins::Within => (bytes, begins),
        Begins::AtLine => match end() {
            Some((mut all, from)) => {
                all.extend(bytes);
                (all, if from == 0 { Begins::AtLine } else { Begins::Within })
            }
            None => (bytes, begins),
        },
    }
}
