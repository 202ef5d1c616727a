//! The checkpoint that a unit wrote: read only when it may be needed, bounded, and hostile until it is parsed.

use crate::base::names::UnitName;
use crate::base::text::{digest, one_line};
use crate::config::Unit;
use crate::model::seen::{CheckpointSeen, PaneSeen};
use crate::state::State;
use crate::state::table;
use crate::sys::Files;

/// Largest checkpoint, bytes.
const CHECKPOINT_BYTES: u64 = 64 << 10;
/// Of its pretty form that much is carried on, characters.
const TEXT_MAX: usize = 16 << 10;

/// Reads it for an agent that is not at work, or whose conversation is being compacted.
pub(super) fn look<F: Files>(
    files: &mut F,
    name: &UnitName,
    unit: &Unit,
    state: &State,
    pane: &PaneSeen,
) -> Option<CheckpointSeen> {
    let agent = unit.agent()?;
    let known = state.units.get(name).map(|state| &state.seen);
    let changes = known.is_some_and(|seen| seen.process.is_none() || seen.compacting_since_awake_s.is_some());
    let gone = match pane {
        PaneSeen::Absent | PaneSeen::Dead { .. } => true,
        PaneSeen::Alive(_) | PaneSeen::Unknown => false,
    };
    if agent.recovery.max == 0 || !(changes || gone) {
        return None;
    }
    let broken = |why: String| Some(CheckpointSeen::Broken { why: one_line(&why, 200) });
    match files.read(&table::in_unit(name, table::CHECKPOINT), CHECKPOINT_BYTES) {
        Ok(None) => None,
        Err(error) => broken(error.message()),
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok(text) => Some(CheckpointSeen::Json { text, digest: digest(&bytes) }),
            Err(why) => broken(why),
        },
    }
}

/// Any JSON; its pretty form, bounded. (serde_json bounds the depth itself.)
fn parse(bytes: &[u8]) -> Result<String, String> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    let text = serde_json::to_string_pretty(&value).map_err(|error| error.to_string())?;
    let mut short: String = text.chars().take(TEXT_MAX).collect();
    if short.len() < text.len() {
        short.push_str("\n… (cut)");
    }
    Ok(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], want: Result<&str, &str>) {
        match (parse(bytes), want) {
            (Ok(text), Ok(want)) => assert_eq!(text, want),
            (Err(why), Err(want)) => assert!(why.contains(want), "{why}"),
            (got, want) => panic!("{got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn any_json_will_do_and_nothing_else() {
        check(br#"{"step":3}"#, Ok("{\n  \"step\": 3\n}"));
        check(b"7", Ok("7"));
        check(b"\"a\\u001b[2Jb\"", Ok("\"a\\u001b[2Jb\""));
        check(b"", Err("no JSON"));
        check(b"{\"a\":", Err("no JSON"));
        check(b"\xff\xfe", Err("no JSON"));
        check("[".repeat(60_000).as_bytes(), Err("no JSON"));
        let wide = format!("{}0{}", "[".repeat(100), ",0".repeat(20_000) + &"]".repeat(100));
        assert!(parse(wide.as_bytes()).is_ok_and(|text| text.chars().count() < TEXT_MAX + 20));
    }
}
