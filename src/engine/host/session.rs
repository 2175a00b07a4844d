//! One loaded model: its session, and what its inputs must look like.

use super::cancel::{Cancels, InFlight};
use super::node_log::NodeLog;
use super::tensor::{self, InputSpec};
use super::{placement, providers};
use crate::engine::{Backend, EditedModel, EngineError, LoadRequest, Placement, Provider, RunResult, Tensor};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A model that is ready to run.
pub(super) struct ModelSession {
    session: Session,
    inputs: Vec<InputSpec>,
    provider: Provider,
    placement: Placement,
}

impl ModelSession {
    /// Has ONNX Runtime read and optimise the model for the backend's provider.
    ///
    /// # Errors
    /// [`EngineError::Provider`] when the provider does not start or can run nothing of the model,
    /// [`EngineError::Load`] with ONNX Runtime's reason, [`EngineError::Cancelled`].
    pub(super) fn load(
        environment: &Environment,
        request: &LoadRequest,
        backend: &Backend,
        cancels: &Cancels,
        ticket: u64,
    ) -> Result<Self, EngineError> {
        let provider = backend.provider;
        let commit = |listen| commit(environment, request, backend, cancels, ticket, listen);
        let (mut session, log) = commit(provider != Provider::Cpu)?;
        let placement = placement::of(&session, provider, log.as_ref());
        if placement.num_nodes() > 0 && placement.num_nodes_on(provider) == 0 {
            return Err(providers::runs_nothing(provider, &placement));
        }
        if provider == Provider::WebGpu {
            // A session that logs at all logs every kernel of every run here: 140 lines for the bundled model.
            drop(session);
            session = commit(false)?.0;
        }
        let inputs = tensor::input_specs(&session);
        Ok(Self { session, inputs, provider, placement })
    }

    /// The provider that the session was made with.
    pub(super) fn provider(&self) -> Provider {
        self.provider
    }

    /// Which nodes run on which provider.
    pub(super) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Names of the graph's outputs in order.
    pub(super) fn output_names(&self) -> Vec<String> {
        self.session.outputs().iter().map(|output| output.name().to_owned()).collect()
    }

    /// Runs the model once.
    ///
    /// # Errors
    /// [`EngineError::Run`] when an input does not fit or ONNX Runtime fails, [`EngineError::Cancelled`].
    pub(super) fn run(&mut self, inputs: &[Tensor], cancels: &Cancels, ticket: u64) -> Result<RunResult, EngineError> {
        tensor::check_inputs(&self.inputs, inputs)?;
        let values = inputs.iter().map(|input| tensor::to_ort(&self.inputs, input)).collect::<Result<Vec<_>, _>>()?;
        let options = Arc::new(quiet_options().map_err(|error| failed(&error))?);
        let in_flight = InFlight::Run(Arc::clone(&options));
        let (outputs, run_secs) = cancels.cancellable(ticket, in_flight, || {
            let started = Instant::now();
            (self.session.run_with_options(values, &options), started.elapsed().as_secs_f64())
        })?;
        let outputs = outputs.map_err(|error| match cancels.is_cancelled(ticket) {
            true => EngineError::Cancelled,
            false => failed(&error),
        })?;
        // Texts, lists and maps are for others to read; what a card asks for and is not here is missed where it is used.
        let numbers = outputs.into_iter().filter(|(_, value)| tensor::is_of_numbers(value));
        let outputs = numbers.map(|(name, value)| tensor::from_ort(name, value)).collect::<Result<_, _>>()?;
        Ok(RunResult { outputs, run_secs, provider: self.provider })
    }
}

/// Makes the session, and with `listen` the record of where its nodes ended up.
fn commit(
    environment: &Environment,
    request: &LoadRequest,
    backend: &Backend,
    cancels: &Cancels,
    ticket: u64,
    listen: bool,
) -> Result<(Session, Option<NodeLog>), EngineError> {
    let refused = |error: ort::Error| {
        if cancels.is_cancelled(ticket) {
            EngineError::Cancelled
        } else {
            EngineError::Load { model: request.model.clone(), reason: error.message().trim().to_owned() }
        }
    };
    let mut builder = builder(environment, request.execution.threads).map_err(refused)?;
    if request.edited.is_some() {
        let folder = folder_text(&request.model)?;
        builder = builder.with_config_entry(FOLDER, folder).map_err(|error| refused(error.into()))?;
    }
    let builder = providers::add(builder, environment, backend, &request.execution.provider.options)?;
    let (mut builder, log) = match listen {
        true => NodeLog::listen(builder).map(|(builder, log)| (builder, Some(log))).map_err(refused)?,
        false => (builder, None),
    };
    let in_flight = InFlight::Load(builder.canceler());
    // The bindings panic over an output whose inferred size is below zero, as that of a damaged model may be.
    let session = cancels.cancellable(ticket, in_flight, || {
        catch_unwind(AssertUnwindSafe(|| match &request.edited {
            Some(EditedModel(bytes)) => builder.commit_from_memory(bytes),
            None => builder.commit_from_file(&request.model),
        }))
    })?;
    let session = session.map_err(|_| EngineError::Load {
        model: request.model.clone(),
        reason: "an input or output has an impossible size; the file is damaged, so export it again".to_owned(),
    })?;
    Ok((session.map_err(refused)?, log))
}

/// Tells where weights lie that a model from memory keeps outside of itself.
const FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The folder of a model, as ONNX Runtime takes it; of a link, the folder of the file that it leads to.
fn folder_text(model: &Path) -> Result<String, EngineError> {
    let refused = |reason: &str| EngineError::Load { model: model.to_owned(), reason: reason.to_owned() };
    let real = if model.is_symlink() { model.canonicalize() } else { std::path::absolute(model) };
    let real = real.map_err(|error| refused(&error.to_string()))?;
    let folder = real.parent().and_then(Path::to_str);
    folder.map(str::to_owned).ok_or_else(|| refused("its folder's name is no Unicode text; move it to another one"))
}

/// How long a waiting thread of a run keeps asking for work before it sleeps, in microseconds.
///
/// Between two nodes that share their work lie others that one thread does alone; a thread that falls asleep there has to
/// be woken again. On a quiet machine, the bundled model with two threads takes 1.42 of the Python peer's time without any
/// asking, 1.15 with 100 µs, 1.21 with 1 ms, 1.07 with 4 ms, and 1.02 with 10 ms, as with ONNX Runtime's own time, which
/// is what the peer has. Where two other programs keep both processors busy, asking takes them from the work: 0.98 of the
/// peer's time with 1 ms, 1.22 with 10 ms, 1.30 with ONNX Runtime's own.
const SPIN_MICROS: &str = "10000";

/// How every session is made. Beyond this, ONNX Runtime's defaults were the fastest that was measured: all graph
/// optimisations, since without those of the highest level a run takes twice as long, and prepacked weights.
fn builder(environment: &Environment, threads: Option<usize>) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_config_entry("session.intra_op.spin_duration_us", SPIN_MICROS)?
        .with_config_entry(placement::RECORD, "1")?;
    match threads {
        Some(threads) => Ok(builder.with_intra_threads(threads)?),
        None => Ok(builder),
    }
}

/// Options of a run that logs nothing: a session whose placement was read from its log would go on logging every node.
fn quiet_options() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set_log_level(LogLevel::Fatal)?;
    Ok(options)
}

fn failed(error: &ort::Error) -> EngineError {
    EngineError::Run { reason: error.message().trim().to_owned() }
}
