//! A thousand rounds of opening, running and closing a model in a worker process: what this process holds must not grow.
//!
//!     cargo bench --bench rounds -- --rounds 1000

#![allow(clippy::print_stdout, reason = "it is a program for the terminal")]

#[path = "../tests/rounds/holdings.rs"]
mod holdings;

use anyhow::{Result, ensure};
use clap::Parser;
use holdings::{Holdings, Slopes, round};
use moescope::engine::{Engine, EngineOptions, Isolation, Limits};
use std::path::PathBuf;

/// Opens, runs and closes a model again and again, and looks at what this process holds.
#[derive(Parser)]
struct Args {
    /// How often.
    #[arg(long, default_value_t = 1000)]
    rounds: usize,
    /// The program whose workers are used.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_moescope"))]
    program: PathBuf,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let isolation = Isolation::Process { program: args.program };
    let options = EngineOptions { isolation, limits: Limits::default(), ..EngineOptions::default() };
    let engine = Engine::start(options);
    let mut seen: Vec<Holdings> = Vec::new();
    for number in 1..=args.rounds {
        round(&engine)?;
        seen.push(Holdings::now()?);
        if number % 100 == 0 {
            println!("{number} rounds: {:?}", seen[seen.len() - 1]);
        }
    }
    let slopes = Slopes::of(&seen);
    println!("growth for each round, of the last four fifths: {slopes:?}");
    ensure!(slopes.are_flat(), "this process grows");
    Ok(())
}
