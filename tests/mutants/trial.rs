//! One mutant on its whole way: our checks, a worker process, ONNX Runtime's load, a run.

use moescope::engine::{
    Engine, EngineError, Execution, LoadRequest, ModelHandle, Phase, Provider, RunRequest, Tensor, TensorData,
};
use moescope::model::{ModelDescription, read_model};
use std::fs;
use std::path::Path;

/// How a mutant ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It ran.
    Ran,
    /// Our own checks refused it.
    RefusedByUs,
    /// ONNX Runtime refused it.
    RefusedByOnnxRuntime,
    /// ONNX Runtime loaded it and said in the run what is wrong.
    FailedRunning,
    /// It asks for inputs that are too large to be tried.
    InputsTooLarge,
    /// Its worker was ended by a signal; how.
    Died(String),
    /// It took too long.
    Late(&'static str),
    /// Something else, which must not be.
    Strange(String),
}

/// Takes one model, written to `path`, on its way.
pub fn trial(engine: &Engine, path: &Path, bytes: &[u8]) -> Ending {
    if let Err(error) = fs::write(path, bytes) {
        return Ending::Strange(format!("cannot write {}: {error}", path.display()));
    }
    let Ok(description) = read_model(path) else { return Ending::RefusedByUs };
    let Some(inputs) = inputs(&description) else { return Ending::InputsTooLarge };
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let loaded = engine.load(&LoadRequest::new(path, execution));
    match loaded.and_then(|loaded| run(engine, loaded.model, inputs)) {
        Ok(()) => Ending::Ran,
        Err(EngineError::Load { .. }) => Ending::RefusedByOnnxRuntime,
        Err(EngineError::Run { .. }) => Ending::FailedRunning,
        Err(EngineError::Died { how, .. }) => Ending::Died(how),
        Err(EngineError::Deadline { phase: Phase::Loading, .. }) => Ending::Late("loading"),
        Err(EngineError::Deadline { phase: Phase::Running, .. }) => Ending::Late("running"),
        Err(error) => Ending::Strange(error.to_string()),
    }
}

fn run(engine: &Engine, model: ModelHandle, inputs: Vec<Tensor>) -> Result<(), EngineError> {
    let result = engine.run(&RunRequest { model, inputs });
    engine.unload(model)?;
    result.map(|_| ())
}

/// Ones for every input that must be given, and 2 for every size that is open; `None` for more than a million values.
fn inputs(description: &ModelDescription) -> Option<Vec<Tensor>> {
    let required = description.inputs.iter().filter(|input| !input.has_default);
    let ones = required.map(|input| {
        let dims = input.dims.as_deref().unwrap_or_default();
        let shape: Vec<usize> = dims.iter().map(|dim| dim.size().unwrap_or(2)).collect();
        let len = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let data = match input.element {
            _ if len > 1_000_000 => return None,
            "int64" => TensorData::I64(vec![1; len].into()),
            _ => TensorData::F32(vec![1.0; len].into()),
        };
        Some(Tensor { name: input.name.clone(), shape, data })
    });
    ones.collect()
}
