//! What the colours mean: one per expert, or a scale of values. A click on an expert lights only its patches.

use crate::render::ColorScale;
use crate::routing::ExpertIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::state::OverlayKind;
use crate::ui::widgets;
use egui::{Color32, Rect, Role, Sense, Ui, WidgetInfo, vec2};

/// With more experts than this the legend would be longer than the picture is wide.
const MAX_CHIPS: usize = 64;

/// The scale of a heatmap of values, if one is shown, and a chip for each expert of the layer on screen.
pub fn legend_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_layer(), ctx.state.shown()) else { return };
    let lit = ctx.state.view.lit_expert;
    let balance = shown.analysis.layers.get(ctx.state.view.layer.0).map(|stats| &stats.balance);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        scale_ui(ui, ctx, layer.num_experts());
        ui.weak("Expert");
        for expert in (0..layer.num_experts().min(MAX_CHIPS) as u32).map(ExpertIdx) {
            let picked = lit == Some(expert);
            let load = balance.and_then(|balance| balance.load.get(expert.0 as usize)).copied().unwrap_or(0);
            let chip = widgets::expert_chip(ui, expert, lit.is_none() || picked, picked).on_hover_text(format!(
                "Expert {} handles {load} of {} patches in this layer\nClick: only its patches stay lit",
                expert.0,
                layer.num_tokens()
            ));
            if chip.clicked() {
                ctx.send(Command::LightExpert(expert));
            }
        }
        if layer.num_experts() > MAX_CHIPS {
            ui.weak(format!("and {} more", layer.num_experts() - MAX_CHIPS));
        }
        if lit.is_some() && ui.small_button("Light all").on_hover_text("Key: Esc").clicked() {
            ctx.send(Command::ClearSelection);
        }
    });
}

/// Name, lower end, colours and upper end of the scale of values.
fn scale_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, num_experts: usize) {
    let overlay = ctx.state.settings.overlay;
    let top = match overlay {
        _ if ctx.state.view.hide_overlay => return,
        OverlayKind::ChosenExpert => return,
        OverlayKind::GateProbability | OverlayKind::GateMargin => "1".to_owned(),
        OverlayKind::GateEntropy => format!("ln {num_experts} = {:.2} nats", (num_experts as f64).ln()),
    };
    ui.weak(overlay.label()).on_hover_text(overlay.explanation());
    ui.label("0");
    let (rect, response) = ui.allocate_exact_size(vec2(96.0, 12.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{}: 0 to {top}", overlay.label())));
    const STEPS: usize = 48;
    for step in 0..STEPS {
        let at = |step: usize| rect.left() + rect.width() * step as f32 / STEPS as f32;
        let [r, g, b] = ColorScale::default().color((step as f32 + 0.5) / STEPS as f32);
        let part = Rect::from_x_y_ranges(at(step)..=at(step + 1), rect.y_range());
        ui.painter().rect_filled(part, 0, Color32::from_rgb(r, g, b));
    }
    ui.label(top);
    ui.add_space(12.0);
}
