//! (placeholder)
use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(command) if command == "demo-agent" => crate::demo::agent::run(args.collect()),
        Some(_) | None => ExitCode::SUCCESS,
    }
}
