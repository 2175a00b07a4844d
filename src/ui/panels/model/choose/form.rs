//! What a person says of the tensor, and what would follow from it.

use super::super::facts::row_ui;
use crate::analysis::OpenModel;
use crate::model::geometry::{Basis, PlacedGate};
use crate::model::routers::{GateValues, GatingRule};
use crate::model::{LayerCard, TokenLayout};
use crate::ui::widgets::{count, warning_sign};
use egui::{ComboBox, DragValue, Label, Role, Sense, TextEdit, Ui, WidgetInfo, vec2};

/// Rules with a k of their own.
fn has_top_k(rule: GatingRule) -> bool {
    !matches!(rule, GatingRule::Soft | GatingRule::ArgMax)
}

/// Name, what the numbers are, rule and k.
pub(super) fn form_ui(ui: &mut Ui, gate: &PlacedGate, layer: &mut LayerCard) {
    row_ui(ui, "Name", |ui| {
        let edit = ui.add(TextEdit::singleline(&mut layer.name).desired_width(320.0));
        edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Name of the layer"));
    });
    row_ui(ui, "It holds", |ui| {
        let mut values = layer.gate().map_or(GateValues::Logits, |(_, values)| values);
        let chosen = values.name();
        let menu = ComboBox::from_id_salt("gate values").selected_text(chosen).show_ui(ui, |ui| {
            let logits = "Scores of any size: the rule's function is still to be applied";
            ui.selectable_value(&mut values, GateValues::Logits, "logits").on_hover_text(logits);
            let probabilities = "Scores to which softmax or sigmoid was applied: they are taken as they are";
            ui.selectable_value(&mut values, GateValues::Probabilities, "probabilities").on_hover_text(probabilities);
        });
        menu.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("It holds: {chosen}")));
        layer.set_gate(&gate.path, values);
    });
    row_ui(ui, "Rule", |ui| {
        let mut rule = layer.rule.unwrap_or(GatingRule::SoftmaxThenTopK);
        let menu = ComboBox::from_id_salt("rule").width(280.0).selected_text(rule.name()).show_ui(ui, |ui| {
            for other in LayerCard::RULES {
                ui.selectable_value(&mut rule, other, other.name()).on_hover_text(other.sentence());
            }
        });
        menu.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Rule: {}", rule.name())));
        layer.rule = Some(rule);
        ui.add(Label::new(egui::RichText::new(rule.sentence()).small().weak()).wrap());
    });
    row_ui(ui, "Experts", |ui| {
        ui.horizontal(|ui| {
            if gate.gate.num_experts.is_some() {
                ui.label(count(layer.num_experts as u64));
            } else {
                let experts = DragValue::new(&mut layer.num_experts).range(2..=crate::model::routers::MAX_EXPERTS);
                let help = "The graph does not tell the size of the tensor's axis of experts";
                let number = ui.add(experts).on_hover_text(help);
                number.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Number of experts"));
            }
            let rule = layer.rule.unwrap_or(GatingRule::SoftmaxThenTopK);
            if !has_top_k(rule) {
                layer.top_k = None;
                return;
            }
            let mut top_k = layer.top_k.unwrap_or(2).clamp(1, layer.num_experts);
            ui.label("of which a token takes");
            let number = ui.add(DragValue::new(&mut top_k).range(1..=layer.num_experts).speed(0.1));
            number.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Experts per token of the layer"));
            layer.top_k = Some(top_k);
        });
    });
}

/// What would be seen, as far as it is known before the model runs; each line with a sign where a person should look.
pub(super) fn checks_ui(ui: &mut Ui, model: &OpenModel, gate: &PlacedGate, layer: &LayerCard) {
    for (is_fine, text) in checks(model, gate, layer) {
        ui.horizontal_top(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(14.0, 18.0), Sense::hover());
            if is_fine {
                ui.painter().circle_filled(rect.center(), 2.5, ui.visuals().weak_text_color());
            } else {
                warning_sign(ui.painter(), rect, ui.visuals().warn_fg_color);
            }
            ui.add(Label::new(text).wrap());
        });
    }
}

/// Sentences, and whether each is as it should be.
pub(super) fn checks(model: &OpenModel, gate: &PlacedGate, layer: &LayerCard) -> Vec<(bool, String)> {
    let batch = model.card.input.batch.max(1);
    let mut checks = vec![tokens(gate, layer, model, batch)];
    if gate.basis != Basis::Graph {
        checks.push((false, gate.reason.clone()));
    }
    let inside: Vec<&str> = gate.gate.tensor.place.iter().filter_map(|step| step.body.as_deref()).collect();
    if inside.contains(&"body") {
        checks.push((true, "It is computed in a loop: each iteration is a layer of its own.".to_owned()));
    }
    if inside.iter().any(|body| body.ends_with("_branch")) {
        let text = "It is computed in one branch of an If: where an image takes the other one, nothing can be shown.";
        checks.push((false, text.to_owned()));
    }
    if let Some(router) = &gate.gate.router {
        let text = format!("The finder has it as the router {router} already: it would be shown twice.");
        checks.push((false, text));
    } else if let Some(reason) = &gate.gate.near_miss {
        checks.push((false, format!("The finder took it for no router: {reason}.")));
    }
    let text = "Experts and weights will be computed again from it. Whether experts really follow is not checked.";
    checks.push((true, text.to_owned()));
    checks
}

fn tokens(gate: &PlacedGate, layer: &LayerCard, model: &OpenModel, batch: usize) -> (bool, String) {
    let experts = layer.num_experts;
    let Some(rows) = gate.gate.num_rows() else {
        return (false, format!("{experts} experts; how many tokens it has shows when the model runs."));
    };
    let tokens = rows / batch;
    let grid = model.card.grid_of(layer);
    match layer.tokens {
        TokenLayout::Image => (tokens == 1, format!("1 × {experts}: one decision for the whole image.")),
        TokenLayout::Patches if tokens == grid.num_tokens() => {
            let others = match grid.prefix_tokens + grid.suffix_tokens {
                0 => String::new(),
                others => format!(" and {others} other tokens"),
            };
            let fits = format!("{} × {} patches{others}", grid.rows, grid.cols);
            (true, format!("{tokens} × {experts}: the tokens are the {fits}."))
        }
        TokenLayout::Patches => {
            let text = format!(
                "{tokens} × {experts}, but {} × {} patches and others are {} tokens: it will be a list without places.",
                grid.rows,
                grid.cols,
                grid.num_tokens()
            );
            (false, text)
        }
        TokenLayout::Unplaced => {
            (false, format!("{tokens} × {experts}: tokens without a place on the image, shown as a list."))
        }
    }
}
