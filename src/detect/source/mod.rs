//! Source code around a frame: which frames are the user's, and the function that encloses a line.
//!
//! Deliberately not here: reading files (the engine hands their text in), and how it is shown (`detect::incident`).

pub mod library;
