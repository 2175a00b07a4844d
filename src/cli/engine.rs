//! The hidden command that the program starts for each model: a worker process.

use super::args::{EngineArgs, ProbeArgs};
use super::failure::Failure;
use crate::engine::{WorkerArgs, probe_isolation, serve_worker};
use anyhow::Context as _;
use std::path::PathBuf;

const NO_LIBRARY: &str = "the library that it shall use was not named";

pub(super) fn run(args: EngineArgs, library: Option<PathBuf>) -> Result<(), Failure> {
    let EngineArgs { inputs, outputs, memory_bytes } = args;
    let library = library.context(NO_LIBRARY)?;
    serve_worker(&WorkerArgs { library, memory_bytes, inputs, outputs })
        .context("this command is for the program itself, which starts it for each model")?;
    Ok(())
}

pub(super) fn probe(args: &ProbeArgs, library: Option<PathBuf>) -> Result<(), Failure> {
    let library = library.context(NO_LIBRARY)?;
    Ok(probe_isolation(&args.locked_in_with, &library, &args.other)?)
}
