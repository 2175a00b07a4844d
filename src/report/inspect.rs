//! What is known of a model without running it, as JSON: the same for `moescope inspect --json` and for the window.
//! `docs/inspect-json.md` describes it.

use crate::model::geometry::PlacedGate;
use crate::model::routers::RouterReport;
use crate::model::{ModelDescription, ValueDescription};
use serde::Serialize;
use std::collections::BTreeMap;

/// The version of the JSON.
const SCHEMA: &str = "moescope-inspect/1";

/// One model, borrowed from what was read of it.
#[derive(Serialize)]
pub struct InspectRecord<'a> {
    schema: &'static str,
    model: String,
    file_bytes: u64,
    external_files: Vec<String>,
    ir_version: i64,
    opsets: &'a BTreeMap<String, i64>,
    producer: &'a str,
    graph_name: &'a str,
    inputs: Vec<ValueRecord>,
    outputs: Vec<ValueRecord>,
    metadata: &'a BTreeMap<String, String>,
    operators: &'a BTreeMap<String, usize>,
    unknown_operators: &'a [String],
    #[serde(flatten)]
    report: &'a RouterReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_tensors: Option<&'a [PlacedGate]>,
}

impl<'a> InspectRecord<'a> {
    /// The record of a model and of what the finder made of its graph.
    #[must_use]
    pub fn new(model: &'a ModelDescription, report: &'a RouterReport) -> Self {
        Self {
            schema: SCHEMA,
            model: model.path.display().to_string(),
            file_bytes: model.file_bytes,
            external_files: model.external_files.iter().map(|file| file.display().to_string()).collect(),
            ir_version: model.ir_version,
            opsets: &model.opsets,
            producer: &model.producer,
            graph_name: &model.graph_name,
            inputs: model.inputs.iter().map(ValueRecord::new).collect(),
            outputs: model.outputs.iter().map(ValueRecord::new).collect(),
            metadata: &model.metadata,
            operators: &model.operators,
            unknown_operators: &model.unknown_operators,
            report,
            gate_tensors: None,
        }
    }

    /// The same with the tensors that may be gates, the likeliest first.
    #[must_use]
    pub fn with_gates(self, gates: &'a [PlacedGate]) -> Self {
        Self { gate_tensors: Some(gates), ..self }
    }
}

#[derive(Serialize)]
struct ValueRecord {
    name: String,
    r#type: String,
    optional: bool,
}

impl ValueRecord {
    fn new(value: &ValueDescription) -> Self {
        Self { name: value.name.clone(), r#type: value.to_string(), optional: value.has_default }
    }
}
