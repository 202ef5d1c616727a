//! What is on the screen in which state: the compiled `[signals]` of a backend.
//!
//! A pattern sees one row of the screen at a time: SGR sequences gone, NBSP a space, right end trimmed. Patterns for
//! dialogs see the dialog's rows without borders, and `^`, `$` match at each of its rows. Deliberately not here: the
//! order of belief, and where on the screen a pattern is looked for (`detect::screen`).

use super::pattern::Pattern;

/// The signals of one backend.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// How the composer is framed: what the bottom of the screen is made of.
    pub frame: Frame,
    /// How the conversation falls into blocks.
    pub blocks: Blocks,
    /// Marks the column from which on a side panel stands (its text in one of the last rows).
    pub sidebar: Option<Pattern>,
    /// Titles that say: it works.
    pub title_busy: Vec<Pattern>,
    /// Titles that say: the turn is over.
    pub title_idle: Vec<Pattern>,
    /// Titles that say: it waits for a person. Believed only where neither composer nor dialog is seen.
    pub title_blocked: Vec<Pattern>,
    /// The beginning of the composer's first row.
    pub prompt: Option<Pattern>,
    /// Texts that the empty composer shows.
    pub placeholders: Vec<Pattern>,
    /// How a placeholder differs from typed text.
    pub placeholder: Placeholder,
    /// A row below the composer (with bands: above it) that is there once the CLI is ready; empty = no such row.
    pub ready: Vec<Pattern>,
    /// Most rows below the composer, not counting blank ones.
    pub footer_rows_max: usize,
    /// Rows below the composer that say: it works. Nothing that an agent writes can stand there.
    pub busy_footer: Vec<Pattern>,
    /// Rows just above the composer that say: it works.
    pub busy_status: Vec<Pattern>,
    /// Rows that may stand between such a row and the composer (beside blank and indented ones).
    pub busy_pass: Vec<Pattern>,
    /// Most blank rows directly above the composer while such a row is there.
    pub busy_gap_max: usize,
    /// Of the rows that say it works: an API call is tried again.
    pub retrying: Vec<Pattern>,
    /// Of the rows that say it works: the conversation is being compacted.
    pub compacting: Vec<Pattern>,
    /// The chosen option of a menu.
    pub cursor: Option<Pattern>,
    /// Rows at the bottom of a dialog that say which keys it takes.
    pub hints: Vec<Pattern>,
    /// Rows that only a dialog has.
    pub dialog_lines: Vec<Pattern>,
    /// Rows that make a dialog a question to a person, whatever else is in it.
    pub questions: Vec<Pattern>,
    /// Dialogs that are known by name; the first that matches.
    pub menus: Vec<Menu>,
    /// Last rows of a viewer or picker that hides the screen.
    pub overlay: Vec<Pattern>,
    /// The first row of a block of the conversation.
    pub head: Option<Pattern>,
    /// The row of a tool's call: a block directly below it is what the tool printed.
    pub tool: Vec<Pattern>,
    /// Rows of the conversation that are not content: completed-turn notes, tips.
    pub skip: Vec<Pattern>,
    /// Rows that end a turn in good order: nothing above them is a final error.
    pub end: Vec<Pattern>,
    /// Rows with which every turn closes. Where there is none and no title tells either, the turn still runs.
    pub closed: Vec<Pattern>,
    /// A block that says: the plan's usage limit stopped the turn.
    pub limit: Vec<Pattern>,
    /// A block that says: the turn ended in an error.
    pub error: Vec<Pattern>,
    /// Which error; the first kind that matches, else server.
    pub kinds: Vec<(Error, Vec<Pattern>)>,
    /// Rows seen while the CLI starts.
    pub starting: Vec<Pattern>,
}

/// What the bottom of the screen is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frame {
    /// The composer stands between two rows of `─`.
    #[default]
    Rules,
    /// Between a row of `▄` and a row of `▀`.
    Bands,
    /// It begins with a glyph in column 0; rows of status stand below it.
    Glyph,
    /// Right of a bar `┃`, closed by `╹▀▀▀`.
    Bar,
    /// A plain prompt below a row of `─` is the last line; while the program works there is none.
    Line,
    /// A shell: its prompt is the last line.
    Shell,
}

/// How the conversation falls into blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// A block begins with a row that matches `head`; blank rows do not end it.
    #[default]
    Heads,
    /// A block is what stands between blank rows.
    Paragraphs,
}

/// How a placeholder differs from typed text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placeholder {
    /// It is dim (SGR 2). Its text counts only where the capture has no attributes.
    #[default]
    Dim,
    /// By its text.
    Text,
}

/// A dialog that is known by name.
#[derive(Clone, Debug)]
pub struct Menu {
    /// For people: what it asks.
    pub name: String,
    /// What it means.
    pub kind: MenuKind,
    /// Each of these matches some row of it.
    pub all: Vec<Pattern>,
    /// tmux keys that answer it; empty = a person must.
    pub keys: Vec<String>,
}

/// What a known dialog means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MenuKind {
    /// It stands at the start: trust, login, theme.
    Onboarding,
    /// The usage limit's own menu.
    Limit,
    /// A picker that a person opened: the state before stands.
    Overlay,
    /// It goes away by itself: the CLI is getting ready (signing in).
    Starting,
}

/// What sort of error ended a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key or login is not accepted.
    Auth,
    /// The account has no money.
    Billing,
    /// The conversation no longer fits.
    Context,
    /// The server failed or refused for now.
    Server,
    /// The connection failed.
    Network,
}
