//! Starts the window, or the headless command that was asked for.

use clap::Parser;
use moescope::cli::{Args, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Args::parse())
}
