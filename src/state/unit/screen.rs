//! What was told of, and answered on, a screen: usage limits, dialogs, drafts, errors.

use crate::base::time::{Awake, Wall};
use serde::{Deserialize, Serialize};

/// Usage limit memory of one unit; an account's limit is the sum of its units'.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitState {
    /// The limit that holds now.
    pub active: Option<Limit>,
    /// When a probe of this unit last succeeded: the account's others may follow.
    pub freed: Option<Wall>,
    /// Kind of limit that was freed then.
    pub freed_kind: String,
}

/// A limit that holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// session, weekly, model or usage.
    pub kind: String,
    /// The banner as shown.
    pub text: String,
    /// First seen.
    pub since: Wall,
    /// Reset time plus slack, or the next probe when no time is readable.
    pub until: Wall,
    /// Whether a reset time was readable.
    pub readable: bool,
    /// When the limit last spoke: first seen, or a probe refused.
    pub armed: Wall,
    /// Probes sent so far.
    pub probes: u32,
    /// A probe is under way since.
    pub probing_awake_s: Option<Awake>,
    /// The probe was typed; its answer is awaited since.
    pub asked_awake_s: Option<Awake>,
    /// The loud alert was made.
    pub loud: bool,
    /// The probe is due and a person's draft is in its way: since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_since: Option<Wall>,
    /// That was told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draft_told: bool,
    /// Times that the limit's menu was closed.
    pub menu_presses: u32,
    /// The last time.
    pub menu_awake_s: Option<Awake>,
}

/// Dialogs, drafts and errors told or answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttendState {
    /// Digest of the dialog at the last look: an answer needs two looks at the same one.
    pub dialog_look: Option<String>,
    /// Digest of the dialog that was told or answered last.
    pub dialog: Option<String>,
    /// Times that this dialog was answered.
    pub answers: u32,
    /// Dialogs that were answered before this one, since none was open.
    pub dialogs: u32,
    /// When.
    pub answered_awake_s: Option<Awake>,
    /// The composer's text at the last look, while idle with text in it.
    pub draft: Option<Draft>,
    /// Error nudges since the last progress.
    pub error_nudges: u32,
    /// The last one, or the first sight of the error.
    pub error_awake_s: Option<Awake>,
    /// The condition (auth, billing, …) that was told and stands.
    pub told: Option<String>,
    /// Times that the mode was to be left in which the pane is.
    pub mode_tries: u32,
    /// The last one.
    pub mode_awake_s: Option<Awake>,
    /// That it does not leave it was told.
    pub mode_told: bool,
}

/// A draft in the composer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// Digest of the text.
    pub digest: String,
    /// Looks at which it stood unchanged.
    pub looks: u32,
    /// Since when.
    pub since_awake_s: Awake,
    /// Told to a person or submitted.
    pub handled: bool,
    /// The submit key was pressed at.
    pub submitted_awake_s: Option<Awake>,
    /// Told to a person.
    pub told: bool,
}
