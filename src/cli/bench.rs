//! `moescope bench`: how long each stage takes, by repeated runs in one process.
//!
//! Each round goes the whole way from the file once, then runs the model at its smallest and largest top-k, so that a
//! disturbance of the machine meets all of them alike.

use super::args::{BenchArgs, ModelArgs};
use super::console::print;
use super::failure::Failure;
use super::load::{Session, Source};
use crate::analysis::{Analysis, Setting, StageSeconds};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

/// Rounds that are not counted: caches and memory pools fill.
const WARM_UP_ROUNDS: usize = 3;

/// Everything that was measured.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    image: String,
    model: String,
    provider: &'static str,
    threads: Option<usize>,
    top_k: Option<usize>,
    runs: usize,
    /// Seconds that opening the session took, once.
    load: f64,
    stages: BTreeMap<Stage, Timing>,
    /// Seconds inside the run call by top-k: the smallest and the largest.
    inference_by_top_k: BTreeMap<usize, Timing>,
}

/// What is timed, in the order of the way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// File to pixels.
    Decode,
    /// Pixels to input tensor.
    Preprocess,
    /// Inside ONNX Runtime's run call.
    Inference,
    /// Outputs to checked routing, statistics and predictions.
    Statistics,
    /// The whole way from file to statistics, by the clock.
    Total,
    /// Photo and routing to the GPU, once per analysis; only in a build with the window.
    Upload,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Inference => "inference",
            Self::Statistics => "statistics",
            Self::Total => "total",
            Self::Upload => "upload",
        }
    }
}

/// Seconds of one stage over all runs.
#[derive(Serialize)]
struct Timing {
    median: f64,
    min: f64,
    samples: Vec<f64>,
}

impl Timing {
    /// `samples` has at least one value.
    fn of(samples: Vec<f64>) -> Self {
        let mut rising = samples.clone();
        rising.sort_by(f64::total_cmp);
        let middle = rising.len() / 2;
        let median = if rising.len() % 2 == 1 { rising[middle] } else { (rising[middle - 1] + rising[middle]) / 2.0 };
        Self { median, min: rising[0], samples }
    }
}

pub(super) fn run(args: &BenchArgs, model: &ModelArgs) -> Result<(), Failure> {
    let mut session = Session::open(model)?;
    let top_k = session.top_k(args.top_k)?;
    let source = Source::of(args.image.as_deref());
    let samples = measure(&session, &source, top_k, args.runs)?;
    let report = Report {
        schema: "moescope-bench/1",
        image: source.to_string(),
        model: session.model.path.to_string_lossy().into_owned(),
        provider: session.model.provider.name(),
        threads: model.threads,
        top_k,
        runs: args.runs,
        load: session.model.load_secs,
        stages: timings(samples.stages),
        inference_by_top_k: timings(samples.by_top_k),
    };
    Ok(print(&report, args.json, |out| write_text(out, &report))?)
}

/// Measures `runs` rounds after the warm-up; `top_k` is one that the model can run with.
fn measure(session: &Session, source: &Source, top_k: Option<usize>, runs: usize) -> anyhow::Result<Samples> {
    let extremes: Vec<usize> = session.model.card.top_k.iter().flat_map(|card| [card.min, card.max]).collect();
    let mut samples = Samples::default();
    let mut upload = upload();
    for round in 0..WARM_UP_ROUNDS + runs {
        let started = Instant::now();
        let result = session.analyse(source, top_k)?;
        let total = started.elapsed().as_secs_f64();
        let mut by_top_k = Vec::new();
        for &extreme in &extremes {
            let setting = Setting::of_top_k(Some(extreme));
            by_top_k.push((extreme, session.model.run(&session.engine, &result.tensor, &setting)?.run_secs));
        }
        let upload = upload.as_mut().map(|upload| upload(&result.analysis)).transpose()?;
        if round >= WARM_UP_ROUNDS {
            samples.add(&result.analysis.seconds, total, upload, by_top_k);
        }
    }
    Ok(samples)
}

/// Seconds of every counted round.
#[derive(Default)]
struct Samples {
    stages: BTreeMap<Stage, Vec<f64>>,
    by_top_k: BTreeMap<usize, Vec<f64>>,
}

impl Samples {
    fn add(&mut self, seconds: &StageSeconds, total: f64, upload: Option<f64>, by_top_k: Vec<(usize, f64)>) {
        let stages = [
            (Stage::Decode, Some(seconds.decode)),
            (Stage::Preprocess, Some(seconds.preprocess)),
            (Stage::Inference, Some(seconds.inference)),
            (Stage::Statistics, Some(seconds.statistics)),
            (Stage::Total, Some(total)),
            (Stage::Upload, upload),
        ];
        for (stage, seconds) in stages {
            self.stages.entry(stage).or_default().extend(seconds);
        }
        for (top_k, seconds) in by_top_k {
            self.by_top_k.entry(top_k).or_default().push(seconds);
        }
    }
}

/// Leaves out what was never measured.
fn timings<K: Ord>(samples: BTreeMap<K, Vec<f64>>) -> BTreeMap<K, Timing> {
    let measured = samples.into_iter().filter(|(_, samples)| !samples.is_empty());
    measured.map(|(key, samples)| (key, Timing::of(samples))).collect()
}

/// Gives the seconds of one upload.
type Upload = Box<dyn FnMut(&Analysis) -> anyhow::Result<f64>>;

/// `None` where there is no GPU, which is said on standard error.
#[cfg(feature = "gui")]
fn upload() -> Option<Upload> {
    match super::upload::Uploader::new() {
        Ok(mut uploader) => Some(Box::new(move |analysis| Ok(uploader.seconds(analysis)?))),
        Err(error) => {
            super::console::complain(&format_args!("the upload is not measured: {error}"));
            None
        }
    }
}

#[cfg(not(feature = "gui"))]
fn upload() -> Option<Upload> {
    None
}

fn write_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { image, model, provider, runs, load, .. } = report;
    writeln!(out, "{image} · {model} · {provider} · {runs} runs · model loaded in {:.1} ms", load * 1e3)?;
    writeln!(out, "{:>16} {:>10} {:>10}", "ms", "median", "fastest")?;
    let mut row = |name: &str, timing: &Timing| {
        writeln!(out, "{name:>16} {:10.3} {:10.3}", timing.median * 1e3, timing.min * 1e3)
    };
    for (stage, timing) in &report.stages {
        row(stage.name(), timing)?;
    }
    for (top_k, timing) in &report.inference_by_top_k {
        row(&format!("inference k = {top_k}"), timing)?;
    }
    Ok(())
}
