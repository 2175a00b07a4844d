//! The first page: what a person should know before believing the pictures, how much of the model works on a patch, and
//! what the file says about itself.

use super::facts::{fact_ui, part_ui, row_ui, table_ui, warnings_ui};
use super::{ModelUi, Page};
use crate::analysis::OpenModel;
use crate::model::routers::{Parameters, RouterReport};
use crate::model::{CardSource, ValueDescription};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::space;
use crate::ui::widgets::{bar_row, bytes, count, millis, rounded};
use egui::{CollapsingHeader, Color32, Label, Ui};
use std::sync::Arc;

/// Longer lists of inputs or outputs are folded.
const MAX_OPEN: usize = 12;
const BAR_WIDTH: f32 = 620.0;

pub(super) fn overview_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>, local: &mut ModelUi) {
    warnings_ui(ui, warnings(model).iter().map(|(text, whose)| (text.as_str(), whose.clone())));
    fixed_ui(ui, &model.routers);
    if model.routers.routers.is_empty() {
        none_ui(ui, &model.routers, local);
    }
    let top_k = ctx.state.wanted_top_k();
    let parameters = local.parameters(model, top_k).clone();
    parameters_ui(ui, &model.routers, &parameters, top_k);
    file_ui(ui, ctx, model);
    values_ui(ui, "Inputs", &model.description.inputs);
    values_ui(ui, "Outputs", &model.description.outputs);
}

/// Each warning once, with the routers that it is about.
fn warnings(model: &OpenModel) -> Vec<(String, String)> {
    let mut by_text: Vec<(&str, Vec<usize>)> = Vec::new();
    for router in &model.routers.routers {
        for warning in &router.warnings {
            match by_text.iter_mut().find(|(text, _)| text == warning) {
                Some((_, routers)) => routers.push(router.layer + 1),
                None => by_text.push((warning, vec![router.layer + 1])),
            }
        }
    }
    let all = model.routers.routers.len();
    let of_routers = by_text.into_iter().map(|(text, routers)| (text.to_owned(), whose(&routers, all)));
    let unknown = &model.description.unknown_operators;
    let unknown = (!unknown.is_empty())
        .then(|| (format!("ONNX Runtime is not known to have the operators {}", unknown.join(", ")), String::new()));
    let assumed = model.assumption().map(|assumption| (assumption, String::new()));
    let hidden = model.hidden_routing.as_ref();
    let hidden = hidden.map(|reason| (format!("Routers were found that cannot be shown: {reason}"), String::new()));
    hidden.into_iter().chain(of_routers).chain(unknown).chain(assumed).collect()
}

fn whose(routers: &[usize], all: usize) -> String {
    const MOST: usize = 12;
    match routers {
        [router] => format!("Router {router}"),
        routers if routers.len() == all => "All routers".to_owned(),
        routers => {
            let named: Vec<String> = routers.iter().take(MOST).map(usize::to_string).collect();
            let more = if routers.len() > MOST { " …" } else { "" };
            format!("{} of {all} routers: {}{more}", routers.len(), named.join(", "))
        }
    }
}

/// A model without routers: what was looked for, and what came closest.
fn none_ui(ui: &mut Ui, report: &RouterReport, local: &mut ModelUi) {
    const MOST: usize = 5;
    part_ui(ui, "No routers");
    ui.add(Label::new(format!("The finder {}.", report.looked_at.sentence())).wrap());
    for miss in report.near_misses.iter().take(MOST) {
        ui.add(Label::new(format!("{}: {}", miss.node, miss.reason)).wrap());
    }
    let more = report.near_misses.len().saturating_sub(MOST);
    if more > 0 && ui.link(format!("and {more} more near misses")).clicked() {
        local.page = Page::NearMisses;
    }
    if ui.link("Do you know of one? Choose it yourself").clicked() {
        local.page = Page::Choose;
    }
}

/// Layers whose experts no gate chooses: those that are routed alike are told once.
fn fixed_ui(ui: &mut Ui, report: &RouterReport) {
    const MOST: usize = 16;
    let mut told: Vec<(String, Vec<String>, usize)> = Vec::new();
    for fixed in &report.fixed {
        let (sentence, assignment) = (fixed.sentence(), fixed.assignment());
        match told.iter_mut().find(|(known, of, _)| *known == sentence && *of == assignment) {
            Some((_, _, layers)) => *layers += 1,
            None => told.push((sentence, assignment, 1)),
        }
    }
    if told.is_empty() {
        return;
    }
    part_ui(ui, "Experts without a gate");
    for (sentence, assignment, layers) in told {
        let times = if layers == 1 { String::new() } else { format!(" ({layers} layers)") };
        ui.add(Label::new(format!("{sentence}{times}.")).wrap());
        for expert in assignment.iter().take(MOST) {
            ui.add(Label::new(format!("· {expert}")).wrap());
        }
        if assignment.len() > MOST {
            ui.weak(format!("and {} more", assignment.len() - MOST));
        }
    }
}

/// Total, activated and executed as bars below each other, and what that means.
fn parameters_ui(ui: &mut Ui, report: &RouterReport, parameters: &Parameters, top_k: Option<usize>) {
    part_ui(ui, "Parameters");
    let at_k = top_k.map_or(String::new(), |k| format!(" at k = {k}"));
    let wasteful = parameters.executed > parameters.activated && parameters.activated.is_some();
    let (accent, warn) = (ui.visuals().hyperlink_color, ui.visuals().warn_fg_color);
    let idle = ui.visuals().weak_text_color();
    ui.scope(|ui| {
        ui.set_max_width(BAR_WIDTH.min(ui.available_width()));
        let mut bar = |name: &str, value: Option<u64>, color: Color32, help: &str| {
            let share = value.map(|value| value as f32 / parameters.total.max(1) as f32);
            let number = match (value, share) {
                (Some(value), Some(share)) => format!("{} · {:.0} %", count(value), 100.0 * share),
                _ => "differs from token to token".to_owned(),
            };
            bar_row(ui, name, &number, share.unwrap_or(0.0), color).on_hover_text(help);
        };
        bar("Total", Some(parameters.total), idle, "All weights of the graph");
        let activated = format!("Activated for a token{at_k}");
        bar(
            &activated,
            parameters.activated,
            accent,
            "Those that a token passes through: what is no expert, and its chosen experts",
        );
        let executed = format!("Executed by this graph{at_k}");
        let color = if wasteful { warn } else { accent };
        bar(&executed, parameters.executed, color, "Those that the graph really reads for a token, chosen or not");
    });
    let sentence = report.execution_sentence(parameters);
    match (parameters.activated, parameters.executed) {
        (Some(activated), Some(executed)) if wasteful => {
            let text = format!("{sentence}: {} instead of {}", rounded(executed), rounded(activated));
            ui.colored_label(warn, text);
        }
        _ => drop(ui.weak(sentence)),
    }
    if parameters.experts > 0 {
        ui.weak(format!("{} parameters belong to experts", count(parameters.experts)));
    }
}

fn file_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &OpenModel) {
    let description = &model.description;
    part_ui(ui, "File");
    let path = std::path::absolute(&model.path).unwrap_or_else(|_| model.path.clone()).display().to_string();
    row_ui(ui, "Path", |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.label(&path);
            if ui.small_button("Copy path").clicked() {
                ctx.send(Command::CopyText(path.clone()));
            }
        });
    });
    fact_ui(ui, "Size", bytes(description.file_bytes));
    for file in &description.external_files {
        fact_ui(ui, "Weights in", file.display().to_string());
    }
    let opsets = description.opsets.iter().map(|(domain, version)| format!("{domain} {version}"));
    fact_ui(ui, "Opset", opsets.collect::<Vec<_>>().join(", "));
    fact_ui(ui, "ONNX IR", description.ir_version.to_string());
    let or_unknown = |text: &str| if text.is_empty() { "not said".to_owned() } else { text.to_owned() };
    fact_ui(ui, "Written by", or_unknown(&description.producer));
    fact_ui(
        ui,
        "Graph",
        format!("{}, {} nodes", or_unknown(&description.graph_name), count(description.num_nodes as u64)),
    );
    fact_ui(ui, "Model card", card(&model.card_source));
    fact_ui(ui, "Runs on", model.placement.sentence(model.provider));
    fact_ui(ui, "Loaded in", millis(model.load_secs));
    ui.add_space(space::XS);
}

fn card(source: &CardSource) -> String {
    match source {
        CardSource::Metadata => "in the file's metadata".to_owned(),
        CardSource::Sidecar(path) => format!("beside the file: {}", path.display()),
        CardSource::Assumed => "none; how images are fed is assumed".to_owned(),
    }
}

fn values_ui(ui: &mut Ui, heading: &str, values: &[ValueDescription]) {
    let title = crate::ui::design::heading(&format!("{heading} ({})", values.len()));
    CollapsingHeader::new(title).id_salt(heading).default_open(values.len() <= MAX_OPEN).show(ui, |ui| {
        let rows = values.iter().map(|value| {
            let optional = if value.has_default { "optional" } else { "" };
            [value.name.clone(), value.to_string(), optional.to_owned()]
        });
        table_ui(ui, [0.4, 0.45, 0.15], rows);
    });
}
