//! The command line: what the window shows, for scripts and for machines without a display.
//!
//! Standard output carries results only (text, or JSON Lines as `docs/classify-json.md` describes); whatever failed is
//! named on standard error, one line each. Exit codes: 0 done, 1 some inputs failed, 2 usage.

mod args;
mod bench;
mod change;
mod classify;
mod console;
mod dump;
mod engine;
mod failure;
mod inspect;
mod load;
mod parity;
mod placement;
mod record;
#[cfg(feature = "gui")]
mod render;
mod runtime;
mod text;
#[cfg(feature = "gui")]
mod upload;
mod window;

pub use args::Args;

use args::Command;
use console::complain;
use std::process::ExitCode;

/// Carries out what the command line asks for and gives the exit code.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let result = match args.command {
        Some(Command::Classify(command)) => classify::run(&command, &args.model),
        Some(Command::Bench(command)) => bench::run(&command, &args.model),
        Some(Command::Parity(command)) => parity::run(&command, &args.model),
        Some(Command::Inspect(command)) => inspect::run(&command),
        Some(Command::Placement(command)) => placement::run(&command, &args.model),
        Some(Command::Runtime(command)) => runtime::run(&command, &args.model),
        #[cfg(feature = "gui")]
        Some(Command::Render(command)) => render::run(&command, &args.model),
        Some(Command::Engine(command)) => engine::run(command, args.model.ort_library),
        Some(Command::ProbeIsolation(command)) => engine::probe(&command, args.model.ort_library),
        None => window::run(args.window, args.model),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                complain(&text);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
