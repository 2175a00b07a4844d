//! Starts the window, or the headless command that was asked for.

use clap::Parser;
use moescope::cli::{Args, run};
use std::process::ExitCode;

/// The whole process's on Linux, ONNX Runtime and graphics drivers included: the system's own costs a run of the model a
/// twentieth, and the window's thread a quarter of a frame (`benches/README.md`). Nothing was measured on other systems.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // ONNX Runtime would write a device identifier and a database of events into the home folder as soon as it is
    // loaded; asking it later to send nothing comes too late for that.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    run(Args::parse())
}
