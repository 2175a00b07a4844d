//! Everything about the open model, on a sheet over the picture: what its file says, how much of it works on a patch, and
//! which routers were found in its graph, each with the evidence, so that nobody has to believe the pictures blindly.

mod choose;
mod facts;
mod graph;
mod nav;
mod overview;
mod router;
#[cfg(test)]
mod tests;

use crate::analysis::OpenModel;
use crate::model::geometry::PlacedGate;
use crate::model::routers::Parameters;
use crate::report::InspectRecord;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::space;
use crate::ui::state::Sheet;
use choose::ChooseUi;
use egui::{Align, Frame, Id, Key, Layout, Modal, Modifiers, ScrollArea, Ui, UiBuilder, vec2};
use std::sync::Arc;

/// Largest size of the sheet, and what is left free around it, in points.
const MOST: egui::Vec2 = vec2(1160.0, 980.0);
const AROUND: egui::Vec2 = vec2(80.0, 90.0);
/// Width of the list of pages; below this width of the sheet they are in a menu.
const NAV_WIDTH: f32 = 300.0;
const MIN_WIDTH_FOR_NAV: f32 = 720.0;

/// What the sheet remembers by itself.
#[derive(Default)]
pub struct ModelUi {
    page: Page,
    /// The router in the list that has to be brought into view.
    scroll_to: Option<usize>,
    /// The parameters of a model at a top-k, counted once.
    counted: Option<(Arc<OpenModel>, Option<usize>, Parameters)>,
    choose: ChooseUi,
}

/// A part of the sheet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    Overview,
    Placement,
    Parts,
    Metadata,
    NearMisses,
    Choose,
    Router(usize),
}

impl Page {
    /// The pages that every model has, in the order of the list.
    const GENERAL: [Self; 6] =
        [Self::Overview, Self::Placement, Self::Parts, Self::Metadata, Self::NearMisses, Self::Choose];

    /// The page so many places further, of a model with so many routers.
    fn step(self, places: isize, routers: usize) -> Self {
        let at = match self {
            Self::Router(router) => Self::GENERAL.len() + router,
            page => Self::GENERAL.iter().position(|general| *general == page).unwrap_or(0),
        };
        let at = at.saturating_add_signed(places).min(Self::GENERAL.len() + routers - 1);
        Self::GENERAL.get(at).copied().unwrap_or(Self::Router(at.saturating_sub(Self::GENERAL.len())))
    }
}

impl ModelUi {
    /// Takes the tensors of a model that were asked for.
    pub fn take_gates(&mut self, model: &Arc<OpenModel>, gates: Result<Arc<Vec<PlacedGate>>, String>) {
        self.choose.take(model, gates);
    }

    /// The parameters at the top-k that is wanted.
    fn parameters(&mut self, model: &Arc<OpenModel>, top_k: Option<usize>) -> &Parameters {
        let known = |(of, at, _): &(Arc<OpenModel>, _, _)| Arc::ptr_eq(of, model) && *at == top_k;
        let counted = self.counted.take().filter(known);
        &self.counted.insert(counted.unwrap_or_else(|| (Arc::clone(model), top_k, model.parameters_at(top_k)))).2
    }
}

/// The sheet, if it is open.
pub fn model_ui(ui: &Ui, ctx: &ViewCtx<'_>, local: &mut ModelUi) {
    local.choose.show_saved(ctx);
    if ctx.state.sheet != Some(Sheet::Model) {
        return;
    }
    let frame = Frame::window(ui.style());
    let size = (ui.ctx().content_rect().size() - AROUND).min(MOST);
    let modal = Modal::new(Id::unique("model")).frame(frame).show(ui.ctx(), |ui| {
        ui.set_min_size(size);
        ui.set_max_size(size);
        let closes = header_ui(ui, ctx);
        ui.separator();
        match ctx.state.model.open.clone() {
            Some(model) => pages_ui(ui, ctx, &model, local),
            None => drop(ui.weak("No model is open: open one with Ctrl+M")),
        }
        closes
    });
    if modal.inner || modal.should_close() {
        ctx.send(Command::ToggleSheet(Sheet::Model));
    }
}

/// The model's name and the buttons of the sheet; whether it shall be closed.
fn header_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) -> bool {
    let model = ctx.state.model.open.as_ref();
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let closes = ui.button("Close").on_hover_text("Keys: Esc or I").clicked();
            if let Some(model) = model
                && ui.button("Copy as JSON").on_hover_text("What `moescope inspect --json` writes").clicked()
            {
                copy_json(ctx, model);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let name = model.map_or("Model", |model| &model.card.name);
                ui.add(egui::Label::new(egui::RichText::new(name).heading()).truncate());
            });
            closes
        })
        .inner
    })
    .inner
}

fn copy_json(ctx: &ViewCtx<'_>, model: &OpenModel) {
    // Every value of a report can be written as JSON.
    if let Ok(json) = serde_json::to_string(&InspectRecord::new(&model.description, &model.routers)) {
        ctx.send(Command::CopyText(json));
    }
}

/// The list of pages, and the chosen one beside it.
fn pages_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>, local: &mut ModelUi) {
    let routers = model.routers.routers.len();
    if matches!(local.page, Page::Router(at) if at >= routers) {
        local.page = Page::Overview;
    }
    step_by_keys(ui, local, routers);
    let room = ui.available_rect_before_wrap();
    if room.width() < MIN_WIDTH_FOR_NAV {
        nav::menu_ui(ui, model, local);
        page_ui(ui, ctx, model, local);
        return;
    }
    let nav = room.with_max_x(room.left() + NAV_WIDTH);
    ui.scope_builder(UiBuilder::new().max_rect(nav), |ui| nav::nav_ui(ui, model, local));
    let page = room.with_min_x(nav.right() + 2.0 * space::S);
    ui.painter().vline(nav.right() + space::S, room.y_range(), ui.visuals().widgets.noninteractive.bg_stroke);
    ui.scope_builder(UiBuilder::new().max_rect(page), |ui| page_ui(ui, ctx, model, local));
}

/// ↑ and ↓ step through the pages, unless a control has the focus.
fn step_by_keys(ui: &Ui, local: &mut ModelUi, routers: usize) {
    if ui.memory(|memory| memory.focused().is_some()) {
        return;
    }
    let pressed = |key| ui.input_mut(|input| input.count_and_consume_key(Modifiers::NONE, key)) as isize;
    let places = pressed(Key::ArrowDown) - pressed(Key::ArrowUp);
    if places != 0 {
        local.page = local.page.step(places, routers);
        local.scroll_to = match local.page {
            Page::Router(router) => Some(router),
            _ => Some(0),
        };
    }
}

fn page_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>, local: &mut ModelUi) {
    let page = local.page;
    ScrollArea::vertical().id_salt(("page", format!("{page:?}"))).auto_shrink(false).show(ui, |ui| match page {
        Page::Overview => overview::overview_ui(ui, ctx, model, local),
        Page::Placement => graph::placement_ui(ui, model),
        Page::Parts => graph::parts_ui(ui, model),
        Page::Metadata => graph::metadata_ui(ui, ctx, model),
        Page::NearMisses => graph::near_misses_ui(ui, &model.routers),
        Page::Choose => choose::choose_ui(ui, ctx, model, &mut local.choose),
        Page::Router(at) => router::router_ui(ui, ctx, model, at),
    });
}
