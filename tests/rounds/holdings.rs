//! What this process holds (memory, file handles, threads, child processes), as Linux tells it, and how fast it grows.

#![allow(dead_code, reason = "shared by a test and a bench that use different parts")]

use anyhow::{Context, Result, ensure};
use moescope::engine::{Engine, Execution, LoadRequest, Provider, RunRequest, Tensor, TensorData};
use std::fs;
use std::path::Path;

/// What this process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    /// Resident memory.
    pub kib: f64,
    pub file_handles: f64,
    pub threads: f64,
    pub children: f64,
}

impl Holdings {
    pub fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let number = |field: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
            Ok(line.split_whitespace().next().context("no value")?.parse()?)
        };
        let mut children = 0;
        for task in fs::read_dir("/proc/self/task")? {
            // A thread may end meanwhile.
            let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            children += list.split_whitespace().count();
        }
        Ok(Self {
            kib: number("VmRSS:")?,
            file_handles: fs::read_dir("/proc/self/fd")?.count() as f64,
            threads: number("Threads:")?,
            children: children as f64,
        })
    }
}

/// Least-squares growth for each round, without the first fifth, in which things warm up.
#[derive(Debug)]
pub struct Slopes {
    pub kib: f64,
    pub file_handles: f64,
    pub threads: f64,
    pub children: f64,
}

impl Slopes {
    pub fn of(seen: &[Holdings]) -> Self {
        let warm = &seen[seen.len() / 5..];
        let slope = |value: fn(&Holdings) -> f64| {
            let count = warm.len() as f64;
            let (mean_x, mean_y) = ((count - 1.0) / 2.0, warm.iter().map(value).sum::<f64>() / count);
            let over = |(x, seen): (usize, &Holdings)| (x as f64 - mean_x) * (value(seen) - mean_y);
            let covariance: f64 = warm.iter().enumerate().map(over).sum();
            let variance: f64 = (0..warm.len()).map(|x| (x as f64 - mean_x).powi(2)).sum();
            if variance > 0.0 { covariance / variance } else { 0.0 }
        };
        Self {
            kib: slope(|seen| seen.kib),
            file_handles: slope(|seen| seen.file_handles),
            threads: slope(|seen| seen.threads),
            children: slope(|seen| seen.children),
        }
    }

    /// Less than 10 KiB, and a handle, thread or process in a hundred rounds: noise, no leak.
    pub fn are_flat(&self) -> bool {
        self.kib < 10.0 && [self.file_handles, self.threads, self.children].iter().all(|slope| *slope < 0.01)
    }
}

/// Opens, runs and closes the small model.
pub fn round(engine: &Engine) -> Result<()> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_moe.onnx");
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let loaded = engine.load(&LoadRequest::new(model, execution))?;
    let (shape, data) = (vec![1, 3, 8, 8], TensorData::F32(vec![0.5; 192].into()));
    let image = Tensor { name: "pixel_values".into(), shape, data };
    let result = engine.run(&RunRequest { model: loaded.model, inputs: vec![image] })?;
    ensure!(result.outputs.len() == 7, "the model has seven outputs");
    Ok(engine.unload(loaded.model)?)
}
