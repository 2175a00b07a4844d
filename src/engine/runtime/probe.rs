//! Whether a provider truly starts: it has to load a tiny model, run it, and compute the right numbers.
//!
//! What a library says of itself is not enough: a build with CUDA calls CUDA available on every machine, and a driver may
//! fail only when the first kernel is compiled.

use crate::engine::{Engine, EngineError, Execution, LoadRequest, Provider, RunRequest, RunResult, Tensor, TensorData};
use crate::model::proto::{
    DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use prost::Message;
use serde::{Deserialize, Serialize};

/// A provider that started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Seconds that loading the tiny model took.
    pub load_secs: f64,
    /// Seconds of its first run.
    pub run_secs: f64,
}

/// The tiny model's matrix is SIDE × SIDE.
const SIDE: usize = 4;

/// Starts a provider and has it compute.
///
/// # Errors
/// What the engine says, or [`EngineError::Provider`] when the numbers are wrong.
pub fn probe(engine: &Engine, provider: Provider) -> Result<Probe, EngineError> {
    let internal = |error: std::io::Error| EngineError::Provider {
        provider,
        reason: format!("the model to try it with cannot be written: {error}"),
        remedy: "Make room in the folder for temporary files".to_owned(),
    };
    let folder = tempfile::tempdir().map_err(internal)?;
    let path = folder.path().join("probe.onnx");
    std::fs::write(&path, tiny_model().encode_to_vec()).map_err(internal)?;
    let loaded = engine.load(&LoadRequest::new(path, Execution::on(provider)))?;
    let values: Vec<f32> = (0..SIDE * SIDE).map(|index| index as f32).collect();
    let input = Tensor { name: "x".to_owned(), shape: vec![SIDE, SIDE], data: TensorData::F32(values.into()) };
    let run = engine.run(&RunRequest { model: loaded.model, inputs: vec![input] });
    engine.unload(loaded.model)?;
    let run = run?;
    if is_right(&run) {
        Ok(Probe { load_secs: loaded.load_secs, run_secs: run.run_secs })
    } else {
        Err(EngineError::Provider {
            provider,
            reason: "it starts and computes wrong numbers".to_owned(),
            remedy: "Update its driver".to_owned(),
        })
    }
}

/// y = x · x, which every provider has a kernel for.
fn tiny_model() -> ModelProto {
    let side = || DimensionProto { dim_value: Some(SIDE as i64), ..DimensionProto::default() };
    let shape = TensorShapeProto { dim: vec![side(), side()] };
    // 1 is ONNX's number for 32-bit floats.
    let tensor_type = Some(TensorTypeProto { elem_type: 1, shape: Some(shape) });
    let matrix = |name: &str| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type: tensor_type.clone(), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    };
    let product = NodeProto {
        input: vec!["x".to_owned(); 2],
        output: vec!["y".to_owned()],
        op_type: "MatMul".to_owned(),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        node: vec![product],
        name: "probe".to_owned(),
        input: vec![matrix("x")],
        output: vec![matrix("y")],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// Whether a run of the tiny model on 0, 1, 2, … gave the product, exactly: the numbers are small whole ones.
fn is_right(run: &RunResult) -> bool {
    let x = |row: usize, column: usize| (row * SIDE + column) as f32;
    let product = |index: usize| (0..SIDE).map(|inner| x(index / SIDE, inner) * x(inner, index % SIDE)).sum::<f32>();
    let expected = TensorData::F32((0..SIDE * SIDE).map(product).collect());
    run.outputs.iter().any(|output| output.data == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineOptions;

    #[test]
    fn the_cpu_starts_and_computes() {
        let engine = Engine::start(EngineOptions::default());
        let found = probe(&engine, Provider::Cpu).unwrap();
        assert!(found.run_secs > 0.0 && found.load_secs > 0.0, "{found:?}");
    }

    #[test]
    fn wrong_numbers_are_noticed() {
        let run = |values: Vec<f32>| {
            let output = Tensor { name: "y".to_owned(), shape: vec![SIDE, SIDE], data: TensorData::F32(values.into()) };
            is_right(&RunResult { outputs: vec![output], run_secs: 0.0, provider: Provider::Cpu })
        };
        let right = [56, 62, 68, 74, 152, 174, 196, 218, 248, 286, 324, 362, 344, 398, 452, 506];
        assert!(run(right.map(|value| value as f32).to_vec()));
        assert!(!run(vec![0.0; 16]));
    }
}
