//! Mutants of small models, each opened and run in a worker process: whatever they do there, this process lives, and the
//! next good model works.
//!
//!     cargo bench --bench mutate -- --models 10000

#![allow(clippy::print_stdout, reason = "it is a program for the terminal")]

#[path = "../tests/mutants/mod.rs"]
mod mutants;
#[path = "../tests/mutants/trial.rs"]
mod trial;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use moescope::engine::{Engine, EngineOptions, Isolation, Limits};
use mutants::{mutant, seeds};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use trial::{Ending, trial};

/// Runs mutants of models in worker processes and counts how they end.
#[derive(Parser)]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    models: u64,
    /// Number of the first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Seconds that a load or a run may take.
    #[arg(long, default_value_t = 5.0)]
    deadline: f64,
    /// The program whose workers are used.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_moescope"))]
    program: PathBuf,
    /// Keep what ended a worker in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let seeds = seeds(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir()?;
    let deadline = Duration::from_secs_f64(args.deadline);
    let limits = Limits { load: deadline, run: deadline, memory_bytes: Some(2 << 30) };
    let isolation = Isolation::Process { program: args.program.clone() };
    let engine = Engine::start(EngineOptions { isolation, limits, ..EngineOptions::default() });
    let (next, counts) = (AtomicU64::new(args.from), Mutex::new(BTreeMap::<Ending, u64>::new()));
    let started = Instant::now();
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= args.from + args.models {
                return Ok(());
            }
            let bytes = mutant(&seeds, number);
            let path = folder.path().join(format!("{number}.onnx"));
            let ending = trial(&engine, &path, &bytes);
            if let (Some(keep), Ending::Died(_) | Ending::Late(_) | Ending::Strange(_)) = (&args.keep, &ending) {
                fs::create_dir_all(keep)?;
                fs::write(keep.join(format!("{number}.onnx")), &bytes)?;
            }
            fs::remove_file(&path)?;
            if number % 500 == 499 {
                println!("{} mutants, {:.0} s", number + 1 - args.from, started.elapsed().as_secs_f64());
            }
            *counts.lock().ok().context("a thread has failed")?.entry(ending).or_default() += 1;
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread has failed")?)
    })?;
    let counts = counts.into_inner().ok().context("a thread has failed")?;
    for (ending, count) in &counts {
        println!("{count:8}  {ending:?}");
    }
    // The last word has a good model, in the same engine.
    let good = seeds.first().context("there are no seeds")?;
    let last = trial(&engine, &folder.path().join("good.onnx"), &good.model.encode_to_vec());
    ensure!(last == Ending::Ran, "after all of them {} ended like this: {last:?}", good.name);
    let strange = counts.keys().filter(|ending| matches!(ending, Ending::Strange(_))).count();
    ensure!(strange == 0, "{strange} strange endings");
    println!("this process lives, and a good model runs; {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
