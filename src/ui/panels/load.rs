//! How evenly the experts of one layer are loaded: a chart and its numbers.

use crate::analysis::{LayerSource, LayerStats, Outcome, TokenPlace};
use crate::model::routers::GatingRule;
use crate::routing::{ExpertIdx, LayerBalance, LayerRouting};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::gpu::{self, BarsStyle, PaneId};
use crate::ui::panels::legend::{ABOUT_SHARED, shared_experts};
use crate::ui::panels::{changes, usage};
use crate::ui::widgets::{number_row, shared_swatch};
use egui::{Color32, Rangef, Rect, Ui};
use egui_plot::{AxisHints, Bar, BarChart, HLine, LineStyle, Plot, PlotBounds, PlotPoint};

const PANE: PaneId = PaneId(1);
/// Height of the chart, in points, and what the panels below it need.
const CHART_HEIGHTS: std::ops::RangeInclusive<f32> = 128.0..=260.0;
const HEIGHT_BELOW: f32 = 290.0;

/// Heading, the bars of the layer on screen with the uniform line, and the measures.
pub fn load_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_layer(), ctx.state.shown()) else { return };
    let Some(stats) = shown.analysis.layers.get(ctx.state.view.layer.0) else { return };
    let usage = ctx.state.results.usage(ctx.state.view.layer).filter(|usage| !usage.order.is_empty());
    heading_ui(ui, ctx, layer.name(), usage.is_none());
    let height = (ui.available_height() - HEIGHT_BELOW).clamp(*CHART_HEIGHTS.start(), *CHART_HEIGHTS.end());
    match usage {
        Some(usage) => usage::usage_ui(ui, ctx, &stats.balance, &usage.order, height),
        None => chart_ui(ui, ctx, shown, &stats.balance, height),
    }
    shared_ui(ui, ctx, layer.num_tokens());
    padding_ui(ui, ctx);
    numbers_ui(ui, &stats.balance, layer);
    unknown_drops_ui(ui, ctx);
    let sums_to_one = ctx.state.shown_source().is_none_or(|source| source.gates_sum_to_one(&shown.model.card.gating));
    oddities_ui(ui, stats, layer.num_tokens(), sums_to_one);
}

/// Experts that handle every patch: beside the chart, whose bars they would dwarf.
fn shared_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, patches: usize) {
    let Some(shared) = shared_experts(ctx) else { return };
    ui.horizontal(|ui| {
        shared_swatch(ui);
        ui.label(shared).on_hover_text(ABOUT_SHARED);
        ui.weak(format!("(load {patches})"));
    });
}

/// Tokens that only fill the model's windows up: experts handle them as well, but they lie nowhere on the image.
fn padding_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_source(), ctx.state.shown()) else { return };
    let padding = match ctx.state.shown_place() {
        Some(TokenPlace::Patches(_)) => shown.model.card.grid_of(&layer.card).padding_tokens(),
        Some(TokenPlace::Image | TokenPlace::Unplaced) | None => 0,
    };
    if padding > 0 {
        ui.weak(format!("And {padding} tokens of padding, not counted")).on_hover_text(
            "The model fills its windows up with them. They are routed like all others, but lie nowhere on the image: they \
             are not drawn, and are part of no measure",
        );
    }
}

/// Where experts take a limited number of tokens, and the graph does not tell which ones they had no room for: what is shown
/// is the choice before anything was dropped.
fn unknown_drops_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_source(), ctx.state.shown()) else { return };
    if matches!(&layer.source, LayerSource::Read(recipe) if recipe.knows_drops()) {
        return;
    }
    let mut routers = shown.model.routers.routers.iter();
    let router = routers.find(|router| layer.card.router.as_ref() == Some(&router.name));
    if router.is_some_and(|router| router.capacity.is_some() && router.rule != GatingRule::ExpertChoice) {
        ui.colored_label(ui.visuals().warn_fg_color, "Which choices were dropped is not known").on_hover_text(
            "Its experts take a limited number of tokens, but the graph has no tensor that lists the choices with what became \
             of them. Shown is what each token chose before anything was dropped",
        );
    }
}

/// Values that are counted, and left out of every measure.
fn oddities_ui(ui: &mut Ui, stats: &LayerStats, patches: usize, sums_to_one: bool) {
    let warn = ui.visuals().warn_fg_color;
    let (values, tokens) = (stats.balance.non_finite, &stats.tokens);
    if values > 0 {
        let text = format!("{values} values, of {} of {patches} patches, are NaN or infinite", tokens.non_finite);
        ui.colored_label(warn, text).on_hover_text("They are left out of every measure");
    }
    if tokens.unnormalized > 0 && sums_to_one {
        ui.colored_label(warn, format!("The gates of {} of {patches} patches do not sum to 1", tokens.unnormalized))
            .on_hover_text("They are shown as the model gave them");
    }
}

fn heading_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, layer: &str, has_marks: bool) {
    ui.horizontal(|ui| {
        ui.label(design::heading(&format!("Load · {}", ctx.state.layer_title(ctx.state.view.layer))))
            .on_hover_text(format!("{layer}: how many patches each expert handles"));
        changes::mark_ui(ui, ctx);
        if has_marks {
            let text = egui::RichText::new("marks: importance").small().weak();
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.label(text).on_hover_text(
                    "Where the load would be if loads were shared out as the gate probabilities are: the sum of an expert's \
                     gate probabilities over all patches, on the scale of the loads",
                );
            });
        }
    });
    ui.add_space(space::XS);
}

fn chart_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, shown: &Outcome, balance: &LayerBalance, height: f32) {
    let experts = balance.load.len();
    let total: u64 = balance.load.iter().sum();
    let uniform = total as f64 / experts.max(1) as f64;
    let top = highest(balance, total).max(1.0) * 1.1;
    let line_color = ui.visuals().weak_text_color();
    let layer = ctx.state.view.layer;
    // Redrawn bars need a fresh hover target, but egui_plot keeps its state by this name.
    let plot = load_plot("load chart", height, top)
        .x_grid_spacer(move |_| expert_marks(experts))
        .custom_x_axes(vec![x_axis()]);
    let response = plot.show(ui, |plot| {
        plot.set_plot_bounds(PlotBounds::from_min_max([-0.5, 0.0], [experts as f64 - 0.5, top]));
        if experts <= MAX_HOVERED {
            plot.bar_chart(hover_bars(balance, total, layer.0));
        }
        let line = HLine::new("uniform", uniform).color(line_color).style(LineStyle::dashed_loose()).width(1.0);
        plot.hline(line.allow_hover(false));
    });
    let transform = response.transform;
    let corner = |x: f64, y: f64| transform.position_from_point(&PlotPoint::new(x, y));
    let bars = Rect::from_two_pos(corner(-0.5, 0.0), corner(experts as f64 - 0.5, top));
    let style = BarsStyle { y_max: Some(top as f32), importance_marks: true };
    gpu::bars_ui(ui, ctx, PANE, shown, layer, (bars, style));
    let label = ui.painter().layout_no_wrap("uniform".into(), egui::TextStyle::Small.resolve(ui.style()), line_color);
    let at = corner(experts as f64 - 0.5, uniform) - egui::vec2(label.size().x + 3.0, label.size().y);
    ui.painter().rect_filled(
        Rect::from_min_size(at, label.size()).expand2(egui::vec2(2.0, 0.0)),
        3,
        ui.visuals().extreme_bg_color.gamma_multiply(0.8),
    );
    ui.painter().galley(at, label, Color32::PLACEHOLDER);
    let clicked = response.response.clicked().then(|| response.response.interact_pointer_pos()).flatten();
    if let Some(position) = clicked {
        let expert = transform.value_from_position(position).x.round();
        if (0.0..experts as f64).contains(&expert) {
            ctx.send(Command::LightExpert(ExpertIdx(expert as u32)));
        }
    }
}

/// A chart that stays as it is, with loads from 0 to `top` upward.
pub(super) fn load_plot(name: &'static str, height: f32, top: f64) -> Plot<'static> {
    Plot::new(name)
        .height(height)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .show_crosshair(false)
        .show_grid([false, true])
        .y_grid_spacer(move |_| load_marks(top))
        .y_axis_min_width(28.0)
        .set_margin_fraction(egui::Vec2::ZERO)
}

/// Its other axis.
pub(super) fn x_axis() -> AxisHints<'static> {
    AxisHints::new_x().label_spacing(Rangef::new(6.0, 10.0))
}

/// The highest bar or mark.
fn highest(balance: &LayerBalance, total: u64) -> f64 {
    let load = balance.load.iter().copied().max().unwrap_or(0) as f64;
    let importance: f64 = balance.importance.iter().sum();
    let mark = balance.importance.iter().copied().fold(0.0, f64::max) / importance * total as f64;
    if mark.is_finite() { load.max(mark) } else { load }
}

/// Next to invisible; egui_plot would replace a fully transparent colour by one of its own.
const UNSEEN: Color32 = Color32::from_rgba_premultiplied(0, 0, 0, 1);

/// Bars of more experts are narrower than a pointer can tell apart, and each costs time in every frame.
const MAX_HOVERED: usize = 2048;

/// Bars that cannot be seen: the visible ones are drawn by our shader, these give egui_plot something to hover.
fn hover_bars(balance: &LayerBalance, total: u64, layer: usize) -> BarChart {
    let bars =
        balance.load.iter().enumerate().map(|(expert, &load)| {
            Bar::new(expert as f64, load as f64).width(0.8).fill(UNSEEN).stroke(egui::Stroke::NONE)
        });
    let texts: Vec<String> = (0..balance.load.len()).map(|expert| expert_text(balance, total, expert)).collect();
    BarChart::new(format!("load of layer {layer}"), bars.collect())
        .color(UNSEEN)
        .element_formatter(Box::new(move |bar, _| texts.get(bar.argument as usize).cloned().unwrap_or_default()))
}

/// Every number of one expert, for the tooltip of its bar.
pub(super) fn expert_text(balance: &LayerBalance, total: u64, expert: usize) -> String {
    let load = balance.load[expert];
    let share = load as f64 / total.max(1) as f64 * 100.0;
    format!(
        "Expert {expert}\nLoad {load} of {total} assignments ({share:.1} %)\nImportance {:.2} (sum of gate probabilities)\n\
         Gate mass {:.2} (sum of combine weights)\nClick: only its patches stay lit",
        balance.importance[expert], balance.gate_mass[expert]
    )
}

/// A number under every bar, or under some of them when there are many.
fn expert_marks(experts: usize) -> Vec<egui_plot::GridMark> {
    let step = experts.div_ceil(16).max(1);
    (0..experts)
        .step_by(step)
        .map(|expert| egui_plot::GridMark { value: expert as f64, step_size: step as f64 })
        .collect()
}

/// Four or so round numbers: 1, 2 or 5 times a power of ten.
pub(super) fn load_marks(top: f64) -> Vec<egui_plot::GridMark> {
    let rough = (top / 5.0).max(1.0);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    (0..=(top / step) as usize).map(|at| egui_plot::GridMark { value: at as f64 * step, step_size: step }).collect()
}

fn numbers_ui(ui: &mut Ui, balance: &LayerBalance, layer: &LayerRouting) {
    let num_experts = layer.num_experts();
    let (load, importance) = (&balance.load_stats, &balance.importance_stats);
    egui::Grid::new("load numbers").num_columns(4).spacing([8.0, 2.0]).show(ui, |ui| {
        number_row(ui, "CV of load", format!("{:.3}", load.cv), "Standard deviation ÷ mean of the load: 0 is perfectly even");
        number_row(ui, "CV of importance", if layer.has_gate_probs() { format!("{:.3}", importance.cv) } else { "—".to_owned() }, "The same for importance, the sum of the gate probabilities of each expert over all patches");
        ui.end_row();
        number_row(ui, "Max ÷ mean", format!("{:.2}", load.max_over_mean), "Load of the busiest expert over the mean: 1 is perfectly even; it sets the pace when experts run on different devices");
        number_row(ui, "Dead experts", load.dead.to_string(), "Experts that handle no patch of this image");
        ui.end_row();
        number_row(ui, "Entropy", format!("{:.3} nats", load.entropy_nats), &format!("Entropy of the shares of the load; at most ln {num_experts} = {:.3}", (num_experts as f64).ln()));
        number_row(ui, "Effective experts", format!("{:.2} of {num_experts}", load.effective_experts), "e to the entropy: as many experts, evenly loaded, would have this entropy");
        ui.end_row();
        if balance.dropped > 0 || balance.unserved_tokens > 0 {
            number_row(ui, "Dropped", balance.dropped.to_string(), "Choices with a combine weight of exactly 0: the expert was full, or has no say for another reason. In the picture they have no colour and a ×");
            number_row(ui, "Unserved", balance.unserved_tokens.to_string(), "Tokens that no expert handled: they pass the layer by the residual connection alone");
            ui.end_row();
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn loads_are_marked_at_round_numbers() {
        let cases: [(f64, &[f64]); 4] = [
            (1.1, &[0.0, 1.0]),
            (86.0, &[0.0, 20.0, 40.0, 60.0, 80.0]),
            (200.0, &[0.0, 50.0, 100.0, 150.0, 200.0]),
            (9.0, &[0.0, 2.0, 4.0, 6.0, 8.0]),
        ];
        for (top, expected) in cases {
            let marks: Vec<f64> = super::load_marks(top).iter().map(|mark| mark.value).collect();
            assert_eq!(marks, expected, "up to {top}");
        }
    }
}
