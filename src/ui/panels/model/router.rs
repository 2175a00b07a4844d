//! One router: how it decides, how the finder knows, and which tensors and weights belong to it.

use super::facts::{fact_ui, part_ui, table_ui, warnings_ui};
use crate::analysis::{OpenModel, Recomputed, ShownLayer};
use crate::model::routers::{Router, TopKSource};
use crate::routing::LayerIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design;
use crate::ui::state::Sheet;
use crate::ui::widgets::count;
use egui::{CollapsingHeader, Label, ScrollArea, TextStyle, Ui};

/// Height of the list of weights, in points.
const WEIGHTS_HEIGHT: f32 = 220.0;

pub(super) fn router_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &OpenModel, at: usize) {
    let routers = &model.routers.routers;
    let Some(router) = routers.get(at) else { return };
    let layer = layer_of(model, router);
    ui.horizontal_wrapped(|ui| {
        ui.label(design::heading(&router.name));
        ui.weak(format!("router {} of {}", at + 1, routers.len()));
        if let Some(layer) = layer
            && ui.small_button("Show in the picture").on_hover_text("Close this sheet and show the layer").clicked()
        {
            ctx.send(Command::SelectLayer(layer));
            ctx.send(Command::ToggleSheet(Sheet::Model));
        }
    });
    warnings_ui(ui, router.warnings.iter().map(|warning| (warning.as_str(), String::new())));
    rule_ui(ui, router);
    experts_ui(ui, routers, router);
    shown_ui(ui, model, layer);
    tensors_ui(ui, router);
    part_ui(ui, "Evidence");
    for sentence in &router.evidence {
        ui.add(Label::new(sentence).wrap());
    }
    weights_ui(ui, router);
}

/// The layer that shows this router.
fn layer_of(model: &OpenModel, router: &Router) -> Option<LayerIdx> {
    model.layers.iter().position(|layer| layer.shows(router)).map(LayerIdx)
}

/// Where the numbers of the picture come from.
fn shown_ui(ui: &mut Ui, model: &OpenModel, layer: Option<LayerIdx>) {
    let recomputed = layer.and_then(|layer| model.layers.get(layer.0)).map(ShownLayer::recomputed);
    let text = match recomputed {
        None => "not: none of the model's layers is this router",
        Some(Recomputed { choices: true, .. }) => {
            "computed again from the gate logits, by the rule: the graph does not give its choice"
        }
        Some(Recomputed { gate_probs: true, .. }) => {
            "experts and weights as the model gave them; gate probabilities computed again from the logits"
        }
        Some(Recomputed { .. }) => "as the model gave it",
    };
    fact_ui(ui, "Shown", text);
}

fn rule_ui(ui: &mut Ui, router: &Router) {
    fact_ui(ui, "Rule", format!("{}: {}", router.rule.name(), lower(router.rule.sentence())));
    let source = match &router.top_k_source {
        TopKSource::None => String::new(),
        source => format!("; k is {}", source.words()),
    };
    fact_ui(ui, "Experts per token", format!("{}{source}", router.choice()));
    fact_ui(ui, "Scores", router.score.name());
    for extra in router.extras() {
        fact_ui(ui, "Also", extra);
    }
    let confidence = router.confidence;
    fact_ui(ui, "Confidence", format!("{}: {}", confidence.word(), lower(confidence.sentence())));
}

/// A sentence within another one.
fn lower(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

fn experts_ui(ui: &mut Ui, routers: &[Router], router: &Router) {
    let experts = &router.experts;
    let found = match experts.found == router.num_experts {
        true => format!("all {} found", router.num_experts),
        false => format!("{} of {} found", experts.found, router.num_experts),
    };
    let text = format!("{found}: {}, {} parameters", experts.form.words(), count(experts.parameters));
    fact_ui(ui, "Experts", text);
    if router.runs_all() {
        fact_ui(ui, "Executed", "all of them for every token, whatever is chosen");
    }
    let sharing = |other: &&Router| other.experts.set == experts.set && other.layer != router.layer;
    let shared: Vec<String> = routers.iter().filter(sharing).map(|other| (other.layer + 1).to_string()).collect();
    if !shared.is_empty() {
        fact_ui(ui, "Same experts as", format!("router {}", shared.join(", ")));
    }
}

fn tensors_ui(ui: &mut Ui, router: &Router) {
    part_ui(ui, "Tensors");
    if router.tensors.named().next().is_none() {
        ui.weak("None of the graph's tensors carries the routing as it is");
        return;
    }
    let rows = router.tensors.named().map(|(what, tensor)| {
        let place: Vec<&str> = tensor.place.iter().map(|step| step.label.as_str()).collect();
        let place = if place.is_empty() { String::new() } else { format!(", in {}", place.join(", ")) };
        [tensor.name.clone(), what.to_owned(), format!("{tensor}{place}")]
    });
    table_ui(ui, [0.45, 0.22, 0.33], rows);
}

/// Names of the experts' weights; of thousands only the rows in view are laid out.
fn weights_ui(ui: &mut Ui, router: &Router) {
    let lists = &router.experts.weights;
    // Where all experts lie in the same tensors, there is one list of them.
    let of_each = lists.len() > 1;
    let rows = if of_each { lists.len() } else { lists.first().map_or(0, Vec::len) };
    if rows == 0 {
        return;
    }
    let title = if of_each {
        format!("Weights of {rows} experts")
    } else {
        format!("{rows} tensors hold the weights of all experts")
    };
    CollapsingHeader::new(design::heading(&title)).id_salt("weights").default_open(rows <= 16).show(ui, |ui| {
        let height = ui.text_style_height(&TextStyle::Body);
        ScrollArea::vertical().id_salt("weights").max_height(WEIGHTS_HEIGHT).auto_shrink([false, true]).show_rows(
            ui,
            height,
            rows,
            |ui, rows| {
                for at in rows {
                    let text = match of_each {
                        true => format!("{at}  {}", lists[at].join(", ")),
                        false => lists[0][at].clone(),
                    };
                    ui.add(Label::new(text).truncate());
                }
            },
        );
    });
}
