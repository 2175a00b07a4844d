//! `moescope inspect`: what an ONNX file says about itself, and where its routers are. Nothing is run.

use super::args::InspectArgs;
use super::console::print;
use super::failure::Failure;
use crate::model::graph::ModelGraph;
use crate::model::routers::{Confidence, ExpertForm, Router, RouterReport, TopKSource, find_routers};
use crate::model::{ModelDescription, ValueDescription, decode_model, map_file};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The version of the JSON that `docs/inspect-json.md` describes.
const SCHEMA: &str = "moescope-inspect/1";

/// Near misses that are told as text; the JSON has all.
const MAX_TOLD: usize = 12;

/// Reads the model and writes what was found.
pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let file = map_file(&args.file).map_err(anyhow::Error::new)?;
    let model = decode_model(&args.file, &file).map_err(anyhow::Error::new)?;
    let description = ModelDescription::of(&args.file, file.len() as u64, &model);
    let graph = ModelGraph::new(&model).map_err(anyhow::Error::new)?;
    let report = find_routers(&graph);
    let parts = parts(&graph);
    let record = Record::new(&description, &report, &parts);
    Ok(print(&record, args.json, |out| {
        write_model(out, &description, &parts)?;
        write_report(out, &report)
    })?)
}

/// Parameters and bytes of one part of the model.
#[derive(Clone, Debug, Default, Serialize)]
struct Part {
    parameters: u64,
    bytes: u64,
}

/// Weights by the first parts of their names, which exporters take from the modules of the model.
fn parts(graph: &ModelGraph<'_>) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for weight in graph.weights() {
        let part = parts.entry(part_name(weight.name)).or_default();
        part.parameters = part.parameters.saturating_add(weight.parameters);
        part.bytes = part.bytes.saturating_add(weight.bytes);
    }
    parts
}

/// `blocks.3.mlp.up.weight` is a part of `blocks.3`, `head.weight` of `head`.
fn part_name(weight: &str) -> String {
    let mut names: Vec<&str> = weight.split(['.', '/']).filter(|name| !name.is_empty()).collect();
    names.pop();
    let numbered = names.iter().position(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    names.truncate(numbered.map_or(1, |at| at + 1));
    if names.is_empty() { "other".to_owned() } else { names.join(".") }
}

/// What is written as JSON.
#[derive(Serialize)]
struct Record<'a> {
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
    parts: &'a BTreeMap<String, Part>,
    #[serde(flatten)]
    report: &'a RouterReport,
}

impl<'a> Record<'a> {
    fn new(model: &'a ModelDescription, report: &'a RouterReport, parts: &'a BTreeMap<String, Part>) -> Self {
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
            parts,
            report,
        }
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

fn write_model(out: &mut impl Write, model: &ModelDescription, parts: &BTreeMap<String, Part>) -> io::Result<()> {
    let opsets: Vec<String> = model.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    writeln!(out, "{}", model.path.display())?;
    writeln!(out, "  {} bytes, ONNX IR {}, opset {}", model.file_bytes, model.ir_version, opsets.join(", "))?;
    if !model.producer.is_empty() {
        writeln!(out, "  written by {}", model.producer)?;
    }
    for file in &model.external_files {
        writeln!(out, "  weights in {}", file.display())?;
    }
    for input in &model.inputs {
        let optional = if input.has_default { " (optional)" } else { "" };
        writeln!(out, "  input   {}: {input}{optional}", input.name)?;
    }
    for output in &model.outputs {
        writeln!(out, "  output  {}: {output}", output.name)?;
    }
    let operators: Vec<String> = model.operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(out, "  {} nodes: {}", model.num_nodes, operators.join(", "))?;
    for key in model.metadata.keys() {
        writeln!(out, "  metadata {key}")?;
    }
    writeln!(out, "parameters by part")?;
    for (name, part) in parts {
        writeln!(out, "  {:>14}  {:>14} bytes  {name}", part.parameters, part.bytes)?;
    }
    Ok(())
}

fn write_report(out: &mut impl Write, report: &RouterReport) -> io::Result<()> {
    let parameters = &report.parameters;
    let count = |count: Option<u64>| count.map_or_else(|| "not fixed".to_owned(), |count| count.to_string());
    writeln!(
        out,
        "parameters: {} in all, {} of experts; activated for one token {}, executed by this graph {}",
        parameters.total,
        parameters.experts,
        count(parameters.activated),
        count(parameters.executed)
    )?;
    for router in &report.routers {
        write_router(out, router)?;
    }
    if report.routers.is_empty() {
        let at = &report.looked_at;
        writeln!(
            out,
            "no routers: looked at {} TopK, {} ArgMax, {} Softmax, {} Sigmoid and {} MoE operators among {} nodes",
            at.top_k, at.arg_max, at.softmax, at.sigmoid, at.moe_operators, at.nodes
        )?;
        for miss in report.near_misses.iter().take(MAX_TOLD) {
            writeln!(out, "  {}: {}", miss.node, miss.reason)?;
        }
        let more = report.near_misses.len().saturating_sub(MAX_TOLD);
        if more > 0 {
            writeln!(out, "  and {more} more")?;
        }
    }
    Ok(())
}

fn write_router(out: &mut impl Write, router: &Router) -> io::Result<()> {
    let confidence = match router.confidence {
        Confidence::Certain => "certain",
        Confidence::Likely => "likely",
        Confidence::Unsure => "unsure",
    };
    let rule = serde_json::to_value(router.rule).ok();
    let rule = rule.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    let top_k = match (&router.top_k_source, router.top_k) {
        (TopKSource::Input { name }, Some(k)) => format!(", top {k} (input {name})"),
        (TopKSource::Input { name }, None) => format!(", top k from input {name}"),
        (_, Some(k)) => format!(", top {k}"),
        (_, None) => String::new(),
    };
    writeln!(out, "router {}: {rule}{top_k} of {} experts ({confidence})", router.name, router.num_experts)?;
    let mut also: Vec<String> = Vec::new();
    also.extend(router.per_image.then(|| "one decision per image".to_owned()));
    also.extend(router.selection_bias.then(|| "chosen with a bias that the weights do not have".to_owned()));
    also.extend(router.groups.map(|groups| format!("{} of {} groups", groups.kept, groups.n)));
    also.extend(router.scale.map(|scale| format!("weights × {scale}")));
    let capacity = router.capacity.and_then(|capacity| capacity.per_expert);
    also.extend(capacity.map(|tokens| format!("at most {tokens} tokens per expert")));
    also.extend((router.shared_experts > 0).then(|| format!("{} shared experts", router.shared_experts)));
    if !also.is_empty() {
        writeln!(out, "  {}", also.join(", "))?;
    }
    let tensors = &router.tensors;
    let named = [
        ("gate logits", &tensors.gate_logits),
        ("gate probabilities", &tensors.gate_probs),
        ("expert ids", &tensors.expert_ids),
        ("combine weights", &tensors.combine_weights),
    ];
    for (what, tensor) in named {
        let Some(tensor) = tensor else { continue };
        let place: Vec<&str> = tensor.place.iter().map(|step| step.label.as_str()).collect();
        let place = if place.is_empty() { String::new() } else { format!(" in {}", place.join(", ")) };
        writeln!(out, "  {what}: {}{place}", tensor.name)?;
    }
    let form = match router.experts.form {
        ExpertForm::Branches => "one branch each",
        ExpertForm::Stacked => "stacked weights",
        ExpertForm::Gathered => "weights gathered per token",
        ExpertForm::Rows => "rows of tables",
        ExpertForm::Kernels => "mixed kernels",
        ExpertForm::Loop => "a loop",
        ExpertForm::Operator => "inside one operator",
    };
    writeln!(out, "  {} experts found: {form}, {} parameters", router.experts.found, router.experts.parameters)?;
    for sentence in &router.evidence {
        writeln!(out, "  {sentence}")?;
    }
    for warning in &router.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}
