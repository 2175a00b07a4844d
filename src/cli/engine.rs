//! The hidden command that the program starts for each model: a worker process.

use super::args::EngineArgs;
use super::failure::Failure;
use crate::engine::{WorkerArgs, serve_worker};
use anyhow::Context as _;
use std::path::PathBuf;

pub(super) fn run(args: EngineArgs, library: Option<PathBuf>) -> Result<(), Failure> {
    let EngineArgs { inputs, outputs, memory_bytes } = args;
    let library = library.context("the library that it shall use was not named")?;
    serve_worker(&WorkerArgs { library, memory_bytes, inputs, outputs })
        .context("this command is for the program itself, which starts it for each model")?;
    Ok(())
}
