//! Starts the window, or the headless command that was asked for.

use clap::Parser;
use moescope::cli::{Args, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    // ONNX Runtime would write a device identifier and a database of events into the home folder as soon as it is
    // loaded; asking it later to send nothing comes too late for that.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    run(Args::parse())
}
