//! How state files are written and read as JSON: versions, unknown keys, awake instants of another boot.

use crate::base::time::{Awake, Now};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The version of every file format of this program.
pub const VERSION: u64 = 1;

/// Keys that every file begins with; the rest are its type's own.
const OUR_KEYS: [&str; 3] = ["v", "boot", "written_awake_s"];

/// A state file in memory: what it says, and the JSON it was read from if it has keys that we do not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    /// The typed contents, awake instants rebased to this boot.
    pub value: T,
    /// There is a file.
    is_file: bool,
    /// The JSON as read, its awake instants rebased too: also those under keys that we do not know. Null where there are
    /// none of those: a thousand files as JSON values are megabytes.
    raw: Value,
    /// It was written in another boot.
    rebased: bool,
}

impl<T: Default> Default for Loaded<T> {
    fn default() -> Loaded<T> {
        Loaded { value: T::default(), is_file: false, raw: Value::Null, rebased: false }
    }
}

impl<T> Loaded<T> {
    /// Must be written even if nothing changed: left as it is, each later process would rebase it anew, and no duration
    /// in it would ever pass.
    pub fn is_rebased(&self) -> bool {
        self.rebased
    }
}

/// Why a state file could not be loaded: line and column are 1-based, 0 when unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Line of the first error.
    pub line: usize,
    /// Column of the first error.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses a state file and rebases its awake instants to the present boot.
pub fn load<T: Serialize + DeserializeOwned>(bytes: &[u8], now: &Now) -> Result<Loaded<T>, Broken> {
    let parsed: Result<Value, _> = serde_json::from_slice(bytes);
    let mut raw =
        parsed.map_err(|e| Broken { line: e.line(), column: e.column(), message: e.to_string() })?;
    let broken = |message: String| Broken { line: 0, column: 0, message };
    super::upgrade::upgrade(&mut raw);
    let object = raw.as_object().cloned().ok_or_else(|| broken("not a JSON object".into()))?;
    if let Some(v) = object.get("v").and_then(Value::as_u64).filter(|v| *v > VERSION) {
        return Err(broken(format!("written by a newer version (v {v}, this one knows v {VERSION})")));
    }
    let boot = object.get("boot").and_then(Value::as_str).unwrap_or("");
    let written = object.get("written_awake_s").and_then(Value::as_f64).map(|s| Awake((s * 1000.0) as i64));
    let other = written.filter(|_| boot != now.boot);
    if let Some(written) = other {
        shift(&mut raw, (now.awake_s.0.saturating_sub(written.0)) as f64 / 1000.0);
    }
    // The second parse is for its error position: a typed error has none, so name the key instead.
    let value = serde_json::from_value(raw.clone()).map_err(|e| broken(e.to_string()))?;
    if !holds_unknown(&raw, &to_value(&value)) {
        raw = Value::Null;
    }
    Ok(Loaded { value, is_file: true, raw, rebased: other.is_some() })
}

/// Would a rewrite have to carry anything over from `raw`?
fn holds_unknown(raw: &Value, known: &Value) -> bool {
    let mut carried = known.clone();
    carry_unknown(raw, known, &mut carried);
    if let (Value::Object(carried), Value::Object(known)) = (&mut carried, known) {
        carried.retain(|key, _| known.contains_key(key) || !OUR_KEYS.contains(&key.as_str()));
    }
    carried != *known
}

/// The bytes to write for `next`, or None when nothing changed since `previous` was read. Keys of the old file that
/// we do not know are carried over.
pub fn render<T: Serialize>(previous: &Loaded<T>, next: &T, now: &Now) -> Option<Vec<u8>> {
    let old = to_value(&previous.value);
    let mut new = to_value(next);
    if old == new && previous.is_file && !previous.rebased {
        return None;
    }
    carry_unknown(&previous.raw, &old, &mut new);
    let mut file = Map::new();
    file.insert("v".into(), VERSION.into());
    file.insert("boot".into(), now.boot.clone().into());
    file.insert("written_awake_s".into(), (now.awake_s.0 as f64 / 1000.0).into());
    if let Value::Object(fields) = new {
        file.extend(fields.into_iter().filter(|(key, _)| !OUR_KEYS.contains(&key.as_str())));
    }
    let mut bytes = serde_json::to_vec_pretty(&Value::Object(file)).unwrap_or_default();
    bytes.push(b'\n');
    Some(bytes)
}

fn to_value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Copies what `raw` holds beyond what we understood of it (`known`) into `new`, at every level of objects. An item of
/// a list is the same item where it is unchanged.
fn carry_unknown(raw: &Value, known: &Value, new: &mut Value) {
    if let (Value::Array(raw), Value::Array(known), Value::Array(new)) = (raw, known, &mut *new) {
        for (old, understood) in raw.iter().zip(known).filter(|(old, understood)| old != understood) {
            if let Some(same) = new.iter_mut().find(|item| *item == understood) {
                carry_unknown(old, understood, same);
            }
        }
        return;
    }
    let (Value::Object(raw), Value::Object(known), Value::Object(new)) = (raw, known, new) else { return };
    for (key, value) in raw {
        match (known.get(key), new.get_mut(key)) {
            (Some(inner), Some(target)) => carry_unknown(value, inner, target),
            (None, None) => {
                new.insert(key.clone(), value.clone());
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

/// Moves every number under a key that ends in `_awake_s` by `seconds`: instants of another boot become instants of
/// this one, so that a duration that was running goes on from where the file left it.
fn shift(value: &mut Value, seconds: f64) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if key.ends_with("_awake_s") { shift_numbers(inner, seconds) } else { shift(inner, seconds) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, seconds)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn shift_numbers(value: &mut Value, seconds: f64) {
    match value {
        Value::Number(n) => {
            if let Some(n) = n.as_f64() {
                *value = (((n + seconds) * 1000.0).round() / 1000.0).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift_numbers(item, seconds)),
        Value::Object(map) => map.values_mut().for_each(|item| shift_numbers(item, seconds)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use serde::Deserialize;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Toy {
        n: u32,
        since_awake_s: Awake,
        past_awake_s: Vec<Awake>,
    }

    fn now(boot: &str, awake: i64) -> Now {
        Now { wall: Wall(0), awake_s: Awake(awake), boot: boot.into(), zone: "UTC".into() }
    }

    #[test]
    fn unknown_keys_survive_a_rewrite_and_unchanged_is_not_written() {
        let file = br#"{"v":1,"boot":"a","written_awake_s":5.0,"n":1,"since_awake_s":2.0,"later":{"x":[1]}}"#;
        let loaded: Loaded<Toy> = load(file, &now("a", 9000)).unwrap();
        assert_eq!(render(&loaded, &loaded.value, &now("a", 9000)), None);
        let next = Toy { n: 2, ..loaded.value.clone() };
        let text = String::from_utf8(render(&loaded, &next, &now("a", 9000)).unwrap()).unwrap();
        assert!(text.contains("\"later\"") && text.contains("\"n\": 2") && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn unknown_keys_survive_in_lists_and_follow_a_reboot() {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        struct List {
            n: u32,
            items: Vec<Toy>,
        }
        let file = br#"{"v":1,"boot":"a","written_awake_s":100.0,"items":[{"n":1,"note":"one"},{"n":2,"note":"two"}],"later":{"at_awake_s":90.0}}"#;
        let loaded: Loaded<List> = load(file, &now("b", 5000)).unwrap();
        let mut next = loaded.value.clone();
        next.items.remove(0);
        let bytes = render(&loaded, &next, &now("b", 5000)).unwrap();
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(written["items"][0]["note"], "two", "{written}");
        assert_eq!(written["items"].as_array().map(Vec::len), Some(1));
        // Ten seconds before the file was written is ten seconds before now.
        assert_eq!(written["later"]["at_awake_s"], -5.0);
    }

    #[test]
    fn a_duration_goes_on_after_a_reboot() {
        let file =
            br#"{"v":1,"boot":"a","written_awake_s":1000.0,"since_awake_s":940.0,"past_awake_s":[1.0]}"#;
        let loaded: Loaded<Toy> = load(file, &now("b", 30_000)).unwrap();
        assert_eq!(Awake(30_000).since_s(loaded.value.since_awake_s), 60.0);
        assert_eq!(loaded.value.past_awake_s, [Awake(-969_000)]);
    }

    #[test]
    fn a_file_of_another_boot_is_written_again_though_nothing_changed() {
        let file =
            br#"{"v":1,"boot":"a","written_awake_s":1000.0,"since_awake_s":940.0,"past_awake_s":[1.0]}"#;
        let loaded: Loaded<Toy> = load(file, &now("b", 30_000)).unwrap();
        let written = render(&loaded, &loaded.value, &now("b", 30_000)).unwrap();
        // Read by a later process 50 s on: the 60 s that had passed have become 110.
        let later: Loaded<Toy> = load(&written, &now("b", 80_000)).unwrap();
        assert_eq!(Awake(80_000).since_s(later.value.since_awake_s), 110.0);
        assert_eq!(render(&later, &later.value, &now("b", 80_000)), None);
    }

    #[test]
    fn broken_files_say_where() {
        let broken = load::<Toy>(b"{\n  \"n\": x", &now("a", 0)).unwrap_err();
        assert_eq!((broken.line, broken.column), (2, 8));
        assert!(load::<Toy>(br#"{"v":99}"#, &now("a", 0)).unwrap_err().message.contains("newer"));
        assert!(load::<Toy>(b"[]", &now("a", 0)).is_err());
    }
}
