//! State files of version 1, checked in: they must load for ever, and what a later version wrote into them must survive.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use watchkeeper::base::time::{Awake, Now, Wall};
use watchkeeper::state::clocks::Clocks;
use watchkeeper::state::heartbeat::Heartbeat;
use watchkeeper::state::json::{self, Loaded};
use watchkeeper::state::mail::Mail;
use watchkeeper::state::tokens::Tokens;
use watchkeeper::state::unit::UnitState;

/// What a later version planted, everywhere.
const LATER: &str = "x_later";

fn now(boot: &str) -> Now {
    Now { wall: Wall(1_795_255_300_000), awake_s: Awake(5_100_000), boot: boot.into(), zone: "UTC".into() }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state/v1").join(name)).unwrap()
}

fn load<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Loaded<T> {
    json::load(bytes, &now("b1")).unwrap_or_else(|broken| panic!("{broken:?}"))
}

/// The paths of everything that was planted.
fn planted(value: &Value) -> Vec<String> {
    fn walk(path: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = format!("{path}/{key}");
                    if key == LATER { out.push(format!("{path} = {inner}")) } else { walk(&path, inner, out) }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(&format!("{path}/{index}"), item, out);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut out = Vec::new();
    walk("", value, &mut out);
    out.sort();
    out
}

/// Loads, says what it means, survives a rewrite, loads again without any one of its keys.
#[track_caller]
fn check<T>(name: &str, touch: impl Fn(&mut T))
where
    T: Serialize + DeserializeOwned + Default + Clone + PartialEq + std::fmt::Debug,
{
    let bytes = file(name);
    let raw: Value = serde_json::from_slice(&bytes).unwrap();
    let loaded: Loaded<T> = load(&bytes);
    every_key_is_known(name, &raw, &serde_json::to_value(&loaded.value).unwrap());

    assert_eq!(json::render(&loaded, &loaded.value, &now("b1")), None, "{name}: unchanged is not written");
    let mut next = loaded.value.clone();
    touch(&mut next);
    let written = json::render(&loaded, &next, &now("b1")).unwrap();
    let again: Value = serde_json::from_slice(&written).unwrap();
    assert!(!planted(&raw).is_empty(), "{name}");
    assert_eq!(planted(&again), planted(&raw), "{name}");
    assert_eq!(load::<T>(&written).value, next, "{name}");

    for key in raw.as_object().unwrap().keys() {
        let mut less = raw.clone();
        less.as_object_mut().unwrap().remove(key);
        let _: Loaded<T> = load(&serde_json::to_vec(&less).unwrap());
        // One level down too: an older version knew less of each slice.
        let Some(inner) = raw[key].as_object().filter(|_| optional_inside(key)) else { continue };
        for inner_key in inner.keys() {
            let mut less = raw.clone();
            less[key].as_object_mut().unwrap().remove(inner_key);
            let _: Loaded<T> = load(&serde_json::to_vec(&less).unwrap());
        }
    }
    for empty in ["{}", "{\"v\": 1}"] {
        assert_eq!(load::<T>(empty.as_bytes()).value, T::default(), "{name}: {empty}");
    }
}

/// An end, a hold and an act are whole or not there.
fn optional_inside(key: &str) -> bool {
    !["ending", "hold", "last_act", "server"].contains(&key)
}

/// Keys of version 1 that stand in another slice by now; their own test says where.
const MOVED: [&str; 3] = ["tier", "remedy_awake_s", "alert_awake_s"];

/// Every key of the file still means something: one that is renamed or dropped would be lost without a word.
#[track_caller]
fn every_key_is_known(name: &str, raw: &Value, value: &Value) {
    let (Some(raw), Some(value)) = (raw.as_object(), value.as_object()) else { return };
    for (key, inner) in raw {
        let moved = name == "unit.json/stall" && MOVED.contains(&key.as_str());
        if moved || [LATER, "v", "boot", "written_awake_s"].contains(&key.as_str()) {
            continue;
        }
        assert!(value.contains_key(key), "{name}: `{key}` is known no more");
        every_key_is_known(&format!("{name}/{key}"), inner, &value[key]);
    }
}

#[test]
fn a_unit_file_of_version_1_loads_for_ever() {
    check::<UnitState>("unit.json", |state| state.acts += 1);
    let state: Loaded<UnitState> = load(&file("unit.json"));
    let known = serde_json::to_value(&state.value).unwrap();
    assert_eq!(known["ending"]["step"]["termed"]["processes"][0]["pid"], 4242);
    assert_eq!(known["limit"]["active"]["until"], "2026-11-21T15:00:45Z");
}

/// The ladder's memory was part of `stall` once.
#[test]
fn a_ladder_of_version_1_stands_where_it_stood() {
    let loaded: Loaded<UnitState> = load(&file("unit.json"));
    let ladder = &loaded.value.ladder;
    assert_eq!((ladder.tier, ladder.remedy_awake_s), (1, Some(Awake(4_800_000))));
    assert_eq!(ladder.alert_awake_s, Some(Awake(4_600_000)));
    // Once only: the ladder that is written later is not overwritten by what stands in `stall`.
    let mut next = loaded.value.clone();
    next.ladder.tier = 0;
    let written = json::render(&loaded, &next, &now("b1")).unwrap();
    assert_eq!(load::<UnitState>(&written).value.ladder.tier, 0);
    let both = r#"{"v":1,"stall":{"tier":3},"ladder":{"tier":2}}"#;
    assert_eq!(load::<UnitState>(both.as_bytes()).value.ladder.tier, 2);
    let hostile = r#"{"v":1,"stall":3}"#;
    assert!(json::load::<UnitState>(hostile.as_bytes(), &now("b1")).is_err());
}

#[test]
fn the_other_files_of_version_1_load_for_ever() {
    check::<Clocks>("clocks.json", |clocks| {
        clocks.units.values_mut().for_each(|unit| unit.tools.as_mut().unwrap().used_ms += 1);
    });
    check::<Mail>("mail.json", |mail| mail.inbox_done += 1);
    check::<Tokens>("tokens.json", |tokens| {
        tokens.agents.values_mut().for_each(|agent| std::sync::Arc::make_mut(agent).used.messages += 1);
    });
    check::<Heartbeat>("heartbeat.json", |heartbeat| heartbeat.tick += 1);
}

#[test]
fn instants_follow_a_reboot_also_those_of_a_later_version() {
    let bytes = file("unit.json");
    let loaded: Loaded<UnitState> = json::load(&bytes, &now("b2")).unwrap();
    // Written at 5000 s of the old boot, read at 5100 s of the new one.
    assert_eq!(loaded.value.seen.since_awake_s, Awake(5_000_000));
    assert_eq!(loaded.value.restart.past_awake_s, [Awake(1_100_000), Awake(2_100_000)]);
    let mut next = loaded.value.clone();
    next.acts += 1;
    let written = json::render(&loaded, &next, &now("b2")).unwrap();
    let again: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(again["x_later"]["at_awake_s"], 5090.0);
    // And stays there when it is read once more.
    assert_eq!(json::load::<UnitState>(&written, &now("b2")).unwrap().value, next);
}

#[test]
fn what_is_no_state_file_is_refused_with_its_place() {
    for text in ["", "[]", "null", "{\"v\": 2}", "{\"acts\": \"many\"}", "{\"acts\": 1", "\u{0}"] {
        let broken = json::load::<UnitState>(text.as_bytes(), &now("b1"));
        assert!(broken.is_err(), "{text:?}");
    }
}
