//! The overview: every MoE layer with the load of its experts, to choose the layer on screen. Where a model has several
//! tasks, a tab for each; where a layer runs several times over the same experts, its iterations together.

use crate::analysis::Outcome;
use crate::routing::{LayerIdx, LayerRouting};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, RADIUS, space};
use crate::ui::gpu::{self, BarsStyle, PaneId};
use crate::ui::names::{first_upper, short_names};
use crate::ui::panels::changes;
use crate::ui::state::{Outline, OutlineRow};
use egui::{Align2, CornerRadius, Role, Sense, TextStyle, TextWrapMode, Ui, WidgetInfo, WidgetText, vec2};

const ROW_HEIGHT: f32 = 26.0;
/// The line above the iterations of a layer.
const NAME_HEIGHT: f32 = 20.0;
const ROW_GAP: f32 = 2.0;
const FIRST_PANE: u64 = 1000;
/// How far iterations are moved in below their layer.
const INDENT: f32 = 14.0;
/// More tasks than this are compared by pointing at their tabs.
const MOST_COMPARED: usize = 2;

/// Height that shows every layer of a small model, and some of a large one, in points.
#[must_use]
pub fn wanted_height(ui: &Ui, ctx: &ViewCtx<'_>) -> f32 {
    const MOST: f32 = 8.0 * (ROW_HEIGHT + ROW_GAP);
    let outline = ctx.state.results.outline();
    let height_of = |line: &Line| if line.layer.is_some() { ROW_HEIGHT } else { NAME_HEIGHT } + ROW_GAP;
    let rows: f32 = lines(outline, ctx.state.view.task).iter().map(height_of).sum();
    34.0 + tasks_height(ui, ctx) + rows.clamp(ROW_HEIGHT + ROW_GAP, MOST)
}

/// Heading, tabs of the tasks, and a row per layer: its number, its name, and small bars of its load.
pub fn layers_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal(|ui| {
        ui.label(design::heading("MoE layers")).on_hover_text(
            "Each bar is one expert: how many patches it handles in that layer. Expert numbers of different layers have nothing to do with each other",
        );
        changes::mark_ui(ui, ctx);
    });
    let Some(shown) = ctx.state.shown() else {
        ui.weak("None yet");
        return;
    };
    if shown.analysis.trace.layers.is_empty() {
        ui.weak("This model has no routers");
        return;
    }
    let outline = ctx.state.results.outline();
    tasks_ui(ui, ctx, outline);
    let lines = lines(outline, ctx.state.view.task);
    let names: Vec<&str> = lines.iter().map(|line| line.name(outline, shown)).collect();
    egui::ScrollArea::vertical().id_salt("layers").auto_shrink(false).min_scrolled_height(ROW_HEIGHT).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = ROW_GAP;
        let short = short_names(&names);
        let texts: Vec<String> = lines.iter().zip(short).map(|(line, short)| line.text(short)).collect();
        let text_width = text_width(ui, &texts);
        for (line, text) in lines.iter().zip(&texts) {
            match line.layer {
                Some(layer) => layer_row_ui(ui, ctx, shown, (layer, line.indent(), text), text_width),
                None => name_ui(ui, text),
            }
        }
    });
}

/// One line of the list.
struct Line<'a> {
    row: &'a OutlineRow,
    /// None for the name of a layer above its iterations.
    layer: Option<LayerIdx>,
}

/// The layers of a task in running order; a name stands above iterations, and again where another layer came between.
fn lines(outline: &Outline, task: usize) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut last = None;
    for layer in outline.layers_of(task) {
        let Some(row) = outline.row(layer) else { continue };
        if row.iteration.is_some() && last != Some(row.number) {
            lines.push(Line { row, layer: None });
        }
        last = Some(row.number);
        lines.push(Line { row, layer: Some(layer) });
    }
    lines
}

impl Line<'_> {
    fn is_iteration(&self) -> bool {
        self.layer.is_some() && self.row.iteration.is_some()
    }

    fn indent(&self) -> f32 {
        if self.is_iteration() { INDENT } else { 0.0 }
    }

    /// The long name that stands for it.
    fn name<'a>(&self, outline: &'a Outline, shown: &'a Outcome) -> &'a str {
        match (self.row.iteration, self.layer) {
            (None, Some(layer)) => shown.analysis.trace.layers.get(layer.0).map_or("", LayerRouting::name),
            _ => outline.name_of(self.row),
        }
    }

    fn text(&self, short: &str) -> String {
        match self.row.iteration.filter(|_| self.is_iteration()) {
            Some(iteration) => format!("iteration {}", iteration.at + 1),
            None => format!("{}  {short}", self.row.number),
        }
    }
}

/// Room for the texts, as far as the bars leave it.
fn text_width(ui: &Ui, texts: &[String]) -> f32 {
    /// The rest is not worth measuring in every frame.
    const MOST_MEASURED: usize = 32;
    let width = |text: &String| {
        let galley = WidgetText::from(text).into_galley(ui, Some(TextWrapMode::Extend), f32::INFINITY, TextStyle::Body);
        galley.size().x + INDENT
    };
    let widest = texts.iter().take(MOST_MEASURED).map(width).fold(0.0, f32::max);
    (widest + 2.0 * space::S).clamp(ui.available_width() * 0.5, ui.available_width() * 0.68)
}

fn name_ui(ui: &mut Ui, text: &str) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), NAME_HEIGHT), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Layer {text}")));
    let font = TextStyle::Body.resolve(ui.style());
    let at = rect.left_center() + vec2(space::S, 0.0);
    ui.painter_at(rect).text(at, Align2::LEFT_CENTER, text, font, ui.visuals().weak_text_color());
}

fn layer_row_ui(
    ui: &mut Ui,
    ctx: &ViewCtx<'_>,
    shown: &Outcome,
    (at, indent, text): (LayerIdx, f32, &str),
    text_width: f32,
) {
    let (Some(layer), Some(stats)) = (shown.analysis.trace.layers.get(at.0), shown.analysis.layers.get(at.0)) else {
        return;
    };
    let current = ctx.state.view.layer == at;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let name = format!("{}: {}", first_upper(&ctx.state.layer_title(at)), layer.name());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, current, &name));
    if response.clicked() {
        ctx.send(Command::SelectLayer(at));
    }
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact_selectable(&response, current);
        if current || response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), visuals.bg_fill);
        }
        let label = egui::RichText::new(text).color(visuals.text_color());
        let room = text_width - indent - space::S;
        let label = WidgetText::from(label).into_galley(ui, Some(TextWrapMode::Truncate), room, TextStyle::Body);
        let corner = rect.left_center() + vec2(space::S + indent, -label.size().y / 2.0);
        ui.painter().galley(corner, label, visuals.text_color());
        let bars = rect.with_min_x(rect.left() + text_width + 4.0).shrink2(vec2(0.0, 3.0));
        let bars = bars.with_max_x(rect.right() - space::S);
        gpu::bars_ui(ui, ctx, PaneId(FIRST_PANE + at.0 as u64), shown, at, (bars, BarsStyle::default()));
    }
    let load = &stats.balance.load_stats;
    let mut told = format!(
        "{name}\n{} experts, {} of them dead for this image\nCV of the load {:.3}, effective experts {:.2}",
        layer.num_experts(),
        load.dead,
        load.cv,
        load.effective_experts
    );
    let is_numbered_otherwise =
        ctx.state.results.outline().row(at).is_some_and(|row| row.number != at.0 + 1 || row.iteration.is_some());
    if is_numbered_otherwise {
        told += &format!("\nRouter {} in running order, as commands count", at.0 + 1);
    }
    response.on_hover_text(told);
}

/// A tab for each task, and how unlike the others its experts are in the layer on screen.
fn tasks_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, outline: &Outline) {
    if outline.tasks().is_empty() {
        return;
    }
    let unlike = outline.row(ctx.state.view.layer).map(|row| row.unlike.as_slice()).unwrap_or_default();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        for (task, name) in outline.tasks().iter().enumerate() {
            let current = task == ctx.state.view.task;
            let tab = ui.add(egui::Button::selectable(current, name.as_str()).frame_when_inactive(true));
            tab.widget_info(|| WidgetInfo::selected(Role::Tab, true, current, format!("Task {name}")));
            if tab.clicked() && !current {
                ctx.send(Command::SelectTask(task));
            }
            let share = unlike.iter().find(|(of, _)| *of == task).map(|&(_, share)| share);
            let compared = share.map(|share| format!("\n{}: {EXPLANATION}", difference(share, name)));
            tab.on_hover_text(format!(
                "The layers with the routers of this task (key: T for the next one){}",
                compared.unwrap_or_default()
            ));
        }
    });
    for &(task, share) in unlike.iter().take(MOST_COMPARED) {
        if let Some(name) = outline.tasks().get(task) {
            ui.weak(difference(share, name)).on_hover_text(EXPLANATION);
        }
    }
}

const EXPLANATION: &str = "the share of patches of this layer whose experts are not the same set for both tasks, of as many \
                           ranks as both have";

fn difference(share: f64, task: &str) -> String {
    format!("{:.0} % differ from {task}", share * 100.0)
}

/// What the tabs and the lines below them take.
fn tasks_height(ui: &Ui, ctx: &ViewCtx<'_>) -> f32 {
    let outline = ctx.state.results.outline();
    if outline.tasks().is_empty() {
        return 0.0;
    }
    let width = |task: &String| {
        let galley =
            WidgetText::from(task).into_galley(ui, Some(TextWrapMode::Extend), f32::INFINITY, TextStyle::Button);
        galley.size().x + 2.0 * ui.spacing().button_padding.x
    };
    let widths: Vec<f32> = outline.tasks().iter().map(width).collect();
    let tabs = num_rows(&widths, ui.available_width(), space::XS) as f32;
    let most = outline.tasks().len().saturating_sub(1).min(MOST_COMPARED) as f32;
    let spacing = ui.spacing();
    tabs * (spacing.interact_size.y + spacing.item_spacing.y)
        + most * (ui.text_style_height(&TextStyle::Body) + spacing.item_spacing.y)
}

/// In how many rows things of these widths lie that are wrapped.
fn num_rows(widths: &[f32], room: f32, gap: f32) -> usize {
    let (mut rows, mut used) = (1, 0.0);
    for width in widths {
        if used > 0.0 && used + gap + width > room {
            (rows, used) = (rows + 1, *width);
        } else {
            used += if used > 0.0 { gap + width } else { *width };
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_does_not_fit_is_wrapped() {
        let cases: [(&[f32], usize); 5] =
            [(&[90.0], 1), (&[40.0, 55.0], 1), (&[40.0, 56.0, 10.0], 2), (&[120.0, 120.0], 2), (&[40.0; 5], 3)];
        for (widths, rows) in cases {
            assert_eq!(super::num_rows(widths, 100.0, 5.0), rows, "{widths:?}");
        }
    }
}
