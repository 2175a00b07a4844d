//! One colour per expert; a click lights only that expert's patches.

use crate::routing::ExpertIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::widgets;

/// With more experts than this the legend would be longer than the picture is wide.
const MAX_CHIPS: usize = 64;

/// A chip for each expert of the layer on screen.
pub fn legend_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_layer(), ctx.state.shown()) else { return };
    let lit = ctx.state.view.lit_expert;
    let balance = shown.analysis.layers.get(ctx.state.view.layer.0).map(|stats| &stats.balance);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
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
