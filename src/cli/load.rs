//! From the command line's wishes to a model that is ready, and from a file to its analysis with every stage timed.

use super::args::{ModelArgs, Switch};
use super::console::complain;
use super::failure::Failure;
use crate::analysis::{Analysis, AnalysisError, OpenModel, Setting};
use crate::engine::{Engine, EngineOptions, Execution, Isolation, Limits, RunResult};
use crate::input::{DecodedImage, InputError, InputTensor, SAMPLES, Sample, decode_file, decode_sample, preprocess};
use crate::model::default_model_path;
use anyhow::Context;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// An engine with one open model.
pub(super) struct Session {
    pub(super) engine: Engine,
    pub(super) model: OpenModel,
}

impl Session {
    /// Starts the engine and opens the model. A provider that was wished for and did not start is told on standard error.
    pub(super) fn open(args: &ModelArgs) -> Result<Self, Failure> {
        Self::open_as(args, None, &args.execution())
    }

    /// Like [`open`](Self::open), with another file than the arguments name, if one is given, and run in another way.
    pub(super) fn open_as(args: &ModelArgs, file: Option<&Path>, execution: &Execution) -> Result<Self, Failure> {
        let engine = Engine::start(engine_options(args)?);
        let path = file.map_or_else(|| model_path(args), |file| Ok(file.to_path_buf()))?;
        let model = OpenModel::open(&engine, &path, execution)?;
        for not_started in &model.not_started {
            complain(&format_args!("{not_started}; {} is used", model.provider));
        }
        Ok(Self { engine, model })
    }

    /// The k to run with. Where the model's card has none to set, it is found out whether the graph's can be changed.
    pub(super) fn top_k(&mut self, wish: Option<usize>) -> Result<Option<usize>, Failure> {
        self.model.prepare_for(&self.engine, wish).map_err(AnalysisError::from)?;
        Ok(self.model.top_k(wish)?)
    }

    /// Everything from the file to the statistics. `top_k` is one that the model can run with. An error names the image.
    pub(super) fn analyse(&self, source: &Source, top_k: Option<usize>) -> anyhow::Result<SourceAnalysis> {
        self.analyse_with(source, Setting::of_top_k(top_k))
    }

    /// The same with a setting, whose k is one that the model can run with.
    pub(super) fn analyse_with(&self, source: &Source, setting: Setting) -> anyhow::Result<SourceAnalysis> {
        let started = Instant::now();
        let image = Arc::new(source.decode()?);
        let decode = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let tensor = preprocess(&image, &self.model.card.input)?;
        let preprocess = started.elapsed().as_secs_f64();
        let run = self.model.run(&self.engine, &tensor, &setting).with_context(|| source.to_string())?;
        let mut analysis = self.model.read(&image, &tensor, setting, &run).with_context(|| source.to_string())?;
        analysis.seconds.decode = decode;
        analysis.seconds.preprocess = preprocess;
        Ok(SourceAnalysis { analysis, tensor, run })
    }
}

/// Where an image of the command line is.
pub(super) enum Source {
    File(PathBuf),
    Sample(&'static Sample),
}

impl Source {
    /// The file that was given, else the first bundled sample.
    pub(super) fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Sample(&SAMPLES[0]), |path| Self::File(path.to_path_buf()))
    }

    fn decode(&self) -> Result<DecodedImage, InputError> {
        match self {
            Self::File(path) => decode_file(path),
            Self::Sample(sample) => decode_sample(sample.id),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Sample(sample) => write!(f, "sample {}", sample.id),
        }
    }
}

/// An analysis with what went into the model and what came out.
pub(super) struct SourceAnalysis {
    pub(super) analysis: Analysis,
    pub(super) tensor: InputTensor,
    pub(super) run: RunResult,
}

/// How the command line wants models to run.
pub(super) fn engine_options(args: &ModelArgs) -> Result<EngineOptions, Failure> {
    let wish = &args.isolation;
    let isolation = match wish.isolate {
        Switch::Off => Isolation::Off,
        Switch::On => {
            let program = std::env::current_exe().context("this program cannot find itself to start its worker")?;
            Isolation::Process { program }
        }
    };
    let default = Limits::default();
    let limits = Limits {
        load: wish.load_deadline.unwrap_or(default.load),
        run: wish.run_deadline.unwrap_or(default.run),
        memory_bytes: wish.memory_limit.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
    };
    Ok(EngineOptions { library: args.ort_library.clone(), isolation, limits })
}

/// The model that was asked for, else the bundled one.
fn model_path(args: &ModelArgs) -> Result<PathBuf, Failure> {
    match &args.model {
        Some(path) => Ok(path.clone()),
        None => default_model_path().ok_or_else(|| {
            Failure::Fatal(anyhow::anyhow!(
                "the bundled model is missing: give one with --model, or put {} beside the program",
                crate::model::DEFAULT_MODEL
            ))
        }),
    }
}
