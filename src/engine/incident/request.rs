//! A request to an interactive agent that nobody waits for any more: answered, late, or overtaken. It goes to its incident's
//! folder, and an answer that lies there goes (into quarantine, when nobody has read it), so that neither is taken for one about
//! the next failure.

use super::PAGE_MAX;
use crate::base::names::UnitName;
use crate::config::{Config, HealingAgent};
use crate::detect::secrets::Secrets;
use crate::policy::process::wants_answer;
use crate::state::process::RemedyStep;
use crate::state::table;
use crate::state::unit::UnitState;
use crate::sys::{Files, Sync};

/// Puts the request away, if there is one and no answer is awaited.
pub(super) fn put_away<F: Files>(
    files: &mut F,
    config: &Config,
    name: &UnitName,
    unit: &UnitState,
    secrets: &Secrets,
) -> Result<(), String> {
    let asks = config
        .units
        .get(name)
        .and_then(|unit| unit.process())
        .is_some_and(|process| process.healing.agent == HealingAgent::Interactive);
    if !asks || wants_answer(unit) {
        return Ok(());
    }
    let [request, response, asked] =
        [table::REQUEST, table::RESPONSE, table::ASKED].map(|file| table::in_unit(name, file));
    if files.stamp(&request).is_some() {
        let bytes = files.read(&request, PAGE_MAX).map_err(|error| error.message())?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        if let Some(id) = table::incident_of(&text).filter(|id| crate::model::incident::is_id(id))
            && files.stamp(&table::in_incident(id, "report.md")).is_some()
        {
            let to = table::in_incident(id, "fix/request.md");
            let old = files.read(&to, PAGE_MAX).ok().flatten();
            let _ = files.replace(&to, old.as_deref(), secrets.mask(&text).as_bytes(), Sync::Cheap);
        }
        files.remove(&request).map_err(|error| error.message())?;
    }
    if files.stamp(&asked).is_some() {
        files.remove(&asked).map_err(|error| error.message())?;
    }
    if files.stamp(&response).is_some() {
        let bytes = files.read(&response, PAGE_MAX).ok().flatten();
        let read = bytes.is_some_and(|bytes| is_read(unit, &String::from_utf8_lossy(&bytes)));
        let gone = if read { files.remove(&response) } else { files.quarantine(&response).map(|_| ()) };
        gone.map_err(|error| error.message())?;
    }
    Ok(())
}

/// Was this the answer that was taken?
fn is_read(unit: &UnitState, text: &str) -> bool {
    let closing =
        unit.process.remedy.as_ref().is_some_and(
            |remedy| matches!(&remedy.step, RemedyStep::Closing { answer, .. } if answer == text),
        );
    closing || unit.incident.fixes.iter().any(|note| note.response == text)
}
