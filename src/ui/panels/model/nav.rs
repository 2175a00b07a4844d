//! The list of the sheet's pages: what every model has, then its routers in the order in which they run.

use super::{ModelUi, Page};
use crate::analysis::OpenModel;
use crate::model::routers::Router;
use crate::ui::design::{self, RADIUS, space};
use crate::ui::widgets::warning_sign;
use egui::text::{LayoutJob, TextWrapping};
use egui::{Color32, ComboBox, Pos2, Rect, Role, ScrollArea, Sense, TextStyle, Ui, WidgetInfo, vec2};

const ROW_HEIGHT: f32 = 40.0;

/// The whole list; of thousands of routers only the rows in view are laid out.
pub(super) fn nav_ui(ui: &mut Ui, model: &OpenModel, local: &mut ModelUi) {
    for page in Page::GENERAL {
        let picked = local.page == page;
        if ui.selectable_label(picked, title(page, model)).on_hover_text(about(page)).clicked() {
            local.page = page;
        }
    }
    ui.add_space(space::S);
    let routers = &model.routers.routers;
    ui.label(design::heading(&match routers.len() {
        0 => "No routers".to_owned(),
        1 => "1 router".to_owned(),
        count => format!("{count} routers"),
    }))
    .on_hover_text("Where the model decides which experts handle what, in the order in which they run (keys: ↑ and ↓)");
    let mut area = ScrollArea::vertical().id_salt("routers").auto_shrink(false);
    if let Some(router) = local.scroll_to.take() {
        let row = ROW_HEIGHT + ui.spacing().item_spacing.y;
        area = area.vertical_scroll_offset((row * router as f32 - ui.available_height() / 2.0).max(0.0));
    }
    area.show_rows(ui, ROW_HEIGHT, routers.len(), |ui, rows| {
        for at in rows {
            if row_ui(ui, at, &routers[at], local.page == Page::Router(at)) {
                local.page = Page::Router(at);
            }
        }
    });
}

/// The same in a narrow window.
pub(super) fn menu_ui(ui: &mut Ui, model: &OpenModel, local: &mut ModelUi) {
    let routers = (0..model.routers.routers.len()).map(Page::Router);
    let current = title(local.page, model);
    let menu = ComboBox::from_id_salt("page").selected_text(&current).width(240.0).show_ui(ui, |ui| {
        for page in Page::GENERAL.into_iter().chain(routers) {
            ui.selectable_value(&mut local.page, page, title(page, model));
        }
    });
    menu.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Page: {current}")));
}

fn title(page: Page, model: &OpenModel) -> String {
    match page {
        Page::Overview => "Overview".to_owned(),
        Page::Placement => "Where its nodes run".to_owned(),
        Page::Parts => "Parts and operators".to_owned(),
        Page::Metadata => format!("Metadata ({})", model.description.metadata.len()),
        Page::NearMisses => format!("Near misses ({})", model.routers.near_misses.len()),
        Page::Choose => "Choose a router yourself".to_owned(),
        Page::Router(at) => model.routers.routers.get(at).map(|router| row_name(at, router)).unwrap_or_default(),
    }
}

fn about(page: Page) -> &'static str {
    match page {
        Page::Overview => "The file, its inputs and outputs, and how much of it works on a patch",
        Page::Placement => "Which nodes ONNX Runtime put on which execution provider",
        Page::Parts => "Parameters and bytes by part, and how often each operator occurs",
        Page::Metadata => "What the file says in words, such as its model card",
        Page::NearMisses => "What looked like a router at first, and why it is none",
        Page::Choose => "Tell the program of a router that the finder does not see, by its tensor",
        Page::Router(_) => "One router, and why it is one",
    }
}

fn row_name(at: usize, router: &Router) -> String {
    format!("{}  {}", at + 1, router.name)
}

/// Two lines about a router; whether it was chosen.
fn row_ui(ui: &mut Ui, at: usize, router: &Router, picked: bool) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let rule = format!("{} · {} · {}", router.rule.name(), router.choice(), router.confidence.word());
    let name = format!("Router {}: {}", at + 1, router.name);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, picked, &name));
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact_selectable(&response, picked);
        if picked || response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, RADIUS, visuals.bg_fill);
        }
        let (text, weak) = (visuals.text_color(), ui.visuals().weak_text_color());
        let corner = rect.min + vec2(space::S, 3.0);
        let width = rect.width() - 2.0 * space::S;
        let marked = !router.warnings.is_empty();
        line(ui, corner, (width - if marked { 20.0 } else { 0.0 }, TextStyle::Body), &row_name(at, router), text);
        line(ui, corner + vec2(0.0, 17.0), (width, TextStyle::Small), &rule, if picked { text } else { weak });
        if marked {
            let sign = Rect::from_min_size(rect.right_top() + vec2(-space::S - 13.0, 5.0), vec2(13.0, 13.0));
            warning_sign(ui.painter(), sign, ui.visuals().warn_fg_color);
        }
    }
    let warnings = router.warnings.iter().map(|warning| format!("\nWarning: {warning}")).collect::<String>();
    response.on_hover_text(format!("{name}\n{}\n{rule}{warnings}", router.rule.sentence())).clicked()
}

fn line(ui: &Ui, at: Pos2, (width, style): (f32, TextStyle), text: &str, color: Color32) {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), style.resolve(ui.style()), color);
    job.wrap = TextWrapping::truncate_at_width(width);
    ui.painter().galley(at, ui.painter().layout_job(job), color);
}
