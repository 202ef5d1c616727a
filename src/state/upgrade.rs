//! What older state files say in other places, moved to where it is now. On JSON values, before the types see them, so
//! that a slice that was split needs no second definition. Deliberately not here: unknown keys (json).

use serde_json::{Map, Value};

/// Keys of `stall` that became the slice `ladder`.
const LADDER_KEYS: [&str; 3] = ["tier", "remedy_awake_s", "alert_awake_s"];

/// Moves what an older version wrote. A file that has the newer slice is left as it is.
pub(super) fn upgrade(file: &mut Value) {
    let Some(file) = file.as_object_mut().filter(|file| !file.contains_key("ladder")) else { return };
    let Some(stall) = file.get_mut("stall").and_then(Value::as_object_mut) else { return };
    let moved: Map<String, Value> = LADDER_KEYS.iter().filter_map(|key| stall.remove_entry(*key)).collect();
    if !moved.is_empty() {
        file.insert("ladder".to_owned(), Value::Object(moved));
    }
}
