//! `moescope inspect`: what an ONNX file says about itself, and where its routers are. Nothing is run.

use super::args::InspectArgs;
use super::console::print;
use super::failure::Failure;
use crate::model::geometry::{PlacedGate, gates, meant};
use crate::model::graph::ModelGraph;
use crate::model::routers::{FixedRouting, Part, Router, RouterReport, TopKSource, find_routers};
use crate::model::{ModelDescription, decode_model, map_file};
use crate::report::InspectRecord;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Near misses that are told as text; the JSON has all.
const MAX_TOLD: usize = 12;

/// Reads the model and writes what was found.
pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let file = map_file(&args.file).map_err(anyhow::Error::new)?;
    let model = decode_model(&args.file, &file).map_err(anyhow::Error::new)?;
    let description = ModelDescription::of(&args.file, file.len() as u64, &model);
    let graph = ModelGraph::new(&model).map_err(anyhow::Error::new)?;
    let report = find_routers(&graph);
    if let Some(words) = &args.tensors {
        let words = words.as_deref().unwrap_or_default();
        let (card, ..) = description.card_or_guess(&model, &report).map_err(anyhow::Error::new)?;
        let gates = gates(&model, &card, &report).map_err(anyhow::Error::new)?;
        let gates: Vec<PlacedGate> = meant(&gates, words).into_iter().map(|at| gates[at].clone()).collect();
        let record = InspectRecord::new(&description, &report).with_gates(&gates);
        return Ok(print(&record, args.json, |out| gates.iter().try_for_each(|gate| write_gate(out, gate)))?);
    }
    Ok(print(&InspectRecord::new(&description, &report), args.json, |out| {
        write_model(out, &description, &report.parts)?;
        write_report(out, &report)
    })?)
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
    if !report.routers.is_empty() {
        writeln!(out, "{}", report.execution_sentence(parameters))?;
    }
    for router in &report.routers {
        write_router(out, router)?;
    }
    for fixed in &report.fixed {
        write_fixed(out, fixed)?;
    }
    if report.routers.is_empty() {
        writeln!(out, "no routers: {}", report.looked_at.sentence())?;
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

/// A layer whose experts no gate chooses.
fn write_fixed(out: &mut impl Write, fixed: &FixedRouting) -> io::Result<()> {
    writeln!(out, "fixed routing {}: {}", fixed.name, fixed.sentence())?;
    let experts = fixed.assignment();
    for expert in experts.iter().take(MAX_TOLD) {
        writeln!(out, "  {expert}")?;
    }
    if experts.len() > MAX_TOLD {
        writeln!(out, "  and {} more", experts.len() - MAX_TOLD)?;
    }
    for sentence in &fixed.evidence {
        writeln!(out, "  {sentence}")?;
    }
    Ok(())
}

/// A tensor that may be a gate, in three lines.
fn write_gate(out: &mut impl Write, placed: &PlacedGate) -> io::Result<()> {
    let gate = &placed.gate;
    writeln!(out, "{}", placed.path)?;
    let seems = match gate.top_k {
        Some(k) => format!("{}, k = {k}", gate.rule.name()),
        None => gate.rule.name().to_owned(),
    };
    writeln!(out, "  {}: {} of {seems}, given by {}", gate.tensor, gate.values.name(), gate.operator)?;
    let why = match (&gate.router, &gate.near_miss) {
        (Some(router), _) => format!("found as the router {router}"),
        (None, Some(reason)) => format!("near miss: {reason}"),
        (None, None) => gate.evidence.join("; "),
    };
    writeln!(out, "  {why}{}{}", if why.is_empty() { "" } else { ". " }, placed.reason)
}

fn write_router(out: &mut impl Write, router: &Router) -> io::Result<()> {
    let source = match &router.top_k_source {
        TopKSource::None | TopKSource::Operator => String::new(),
        source => format!(", k from {}", source.words()),
    };
    let (rule, choice, confidence) = (router.rule.name(), router.choice(), router.confidence.word());
    writeln!(out, "router {}: {rule}, {choice}{source} ({confidence})", router.name)?;
    let extras = router.extras();
    if !extras.is_empty() {
        writeln!(out, "  {}", extras.join(", "))?;
    }
    for (what, tensor) in router.tensors.named() {
        let place: Vec<&str> = tensor.place.iter().map(|step| step.label.as_str()).collect();
        let place = if place.is_empty() { String::new() } else { format!(" in {}", place.join(", ")) };
        writeln!(out, "  {what}: {}, {tensor}{place}", tensor.name)?;
    }
    let experts = &router.experts;
    writeln!(out, "  {} experts found: {}, {} parameters", experts.found, experts.form.words(), experts.parameters)?;
    for sentence in &router.evidence {
        writeln!(out, "  {sentence}")?;
    }
    for warning in &router.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}
