//! What it costs that a model runs in a process of its own: `cargo bench --bench worker`.
//!
//! Both engines do the same runs in turns. Bars: the bundled model takes at most 1.03 times as long, and a tensor of 4 MB
//! crosses in at most 1 ms. Exits with 1 when one is missed.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, reason = "its result")]

use moescope::engine::{
    Engine, EngineOptions, Execution, Isolation, LoadRequest, ModelHandle, Provider, RunRequest, Tensor, TensorData,
};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const RUNS: usize = 200;

/// The program's, so that both sides have the same.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let image = Tensor {
        name: "pixels".into(),
        shape: vec![1, 3, 224, 224],
        data: TensorData::F32((0..3 * 224 * 224).map(|i| (i % 255) as f32 / 128.0 - 1.0).collect()),
    };
    let model = Turns::measure(&root.join("models/default/moescope-default.onnx"), image);
    let ratio = model.apart / model.here;
    println!("bundled model: {:.2} ms here, {:.2} ms apart: {ratio:.3} (bar 1.03)", model.here, model.apart);

    let data: TensorData = TensorData::F32(vec![0.5; 1 << 20].into());
    let tensor = Tensor { name: "x".into(), shape: vec![1 << 20], data };
    let through = Turns::measure(&root.join("tests/fixtures/models/through.onnx"), tensor);
    // It goes there and comes back.
    let crossing = (through.apart - through.here) / 2.0;
    println!("4 MB tensor: {crossing:.2} ms a crossing (bar 1)");
    if ratio <= 1.03 && crossing <= 1.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Medians in milliseconds.
struct Turns {
    here: f64,
    apart: f64,
}

impl Turns {
    fn measure(model: &Path, input: Tensor) -> Self {
        let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
        let engines =
            [EngineOptions::default(), EngineOptions { isolation, ..EngineOptions::default() }].map(Engine::start);
        let handles = engines.each_ref().map(|engine| load(engine, model));
        let mut millis = [Vec::new(), Vec::new()];
        let inputs = vec![input];
        for turn in 0..RUNS + 10 {
            for side in [turn % 2, 1 - turn % 2] {
                let request = RunRequest { model: handles[side], inputs: inputs.clone() };
                let started = Instant::now();
                let result = engines[side].run(&request).expect("the model runs");
                let elapsed = started.elapsed().as_secs_f64() * 1e3;
                drop(result);
                if turn >= 10 {
                    millis[side].push(elapsed);
                }
                // Threads of this run still ask for work, for 10 ms; they would take the other side's processors.
                std::thread::sleep(std::time::Duration::from_millis(15));
            }
        }
        let [here, apart] = millis.map(median);
        Self { here, apart }
    }
}

fn load(engine: &Engine, model: &Path) -> ModelHandle {
    let request = LoadRequest::new(model, Execution::on(Provider::Cpu));
    engine.load(&request).expect("the model loads").model
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
