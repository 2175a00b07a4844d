//! The search box over the tensors, and those that are meant: of thousands only the rows in view are laid out.

use crate::model::geometry::{PlacedGate, meant};
use crate::ui::design::{RADIUS, space};
use crate::ui::widgets::count;
use egui::text::{LayoutJob, TextWrapping};
use egui::{Color32, Id, Key, Modifiers, Pos2, Role, ScrollArea, Sense, TextEdit, TextStyle, Ui, WidgetInfo, vec2};

const ROW_HEIGHT: f32 = 38.0;
/// Rows of the list that are in sight.
const ROWS: f32 = 6.0;

/// The tensors that the words mean, kept until those change.
#[derive(Default)]
pub(super) struct Matches {
    of: Option<String>,
    found: Vec<usize>,
    /// The row that Enter picks.
    at: usize,
}

impl Matches {
    fn update(&mut self, gates: &[PlacedGate], words: &str) {
        if self.of.as_deref() != Some(words) {
            self.found = meant(gates, words);
            (self.of, self.at) = (Some(words.to_owned()), 0);
        }
    }
}

/// The box and the list; gives the tensor that was picked. `chosen` is the path of the one that was picked before.
pub(super) fn list_ui(
    ui: &mut Ui,
    gates: &[PlacedGate],
    words: &mut String,
    matches: &mut Matches,
    chosen: Option<&str>,
) -> Option<usize> {
    let mut picked = search_ui(ui, words, matches).filter(|_| !matches.found.is_empty());
    matches.update(gates, words);
    let mut picked = picked.take().and_then(|row| matches.found.get(row).copied());
    let shown = match matches.found.len() {
        found if found == gates.len() => format!("{} tensors, the likeliest first", count(found as u64)),
        found => format!("{} of {} tensors", count(found as u64), count(gates.len() as u64)),
    };
    ui.weak(shown);
    let row = ROW_HEIGHT + ui.spacing().item_spacing.y;
    let area = ScrollArea::vertical().id_salt("gates").auto_shrink([false, true]).max_height(ROWS * row);
    area.show_rows(ui, ROW_HEIGHT, matches.found.len(), |ui, rows| {
        for at in rows {
            let gate = &gates[matches.found[at]];
            if row_ui(ui, gate, chosen == Some(&gate.path), at == matches.at) {
                (picked, matches.at) = (Some(matches.found[at]), at);
            }
        }
    });
    picked
}

/// The box; ↑ and ↓ step through the list from inside it, and Enter gives the row to pick.
fn search_ui(ui: &mut Ui, words: &mut String, matches: &mut Matches) -> Option<usize> {
    let id = Id::unique("search tensors");
    let has_focus = ui.memory(|memory| memory.has_focus(id));
    let mut enter = false;
    if has_focus {
        let pressed = |key| ui.input_mut(|input| input.count_and_consume_key(Modifiers::NONE, key)) as isize;
        let places = pressed(Key::ArrowDown) - pressed(Key::ArrowUp);
        matches.at = matches.at.saturating_add_signed(places).min(matches.found.len().saturating_sub(1));
        enter = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    }
    let hint = "Search: parts of a name, an operator, a size (keys: ↑ ↓ and Enter)";
    let edit = TextEdit::singleline(words).id(id).hint_text(hint).desired_width(f32::INFINITY);
    let response = ui.add(edit);
    response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Search tensors"));
    enter.then_some(matches.at)
}

/// Two lines about a tensor; whether it was chosen.
fn row_ui(ui: &mut Ui, placed: &PlacedGate, picked: bool, marked: bool) -> bool {
    let gate = &placed.gate;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let name = format!("Tensor {}", placed.path);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, picked, &name));
    let shape = gate.tensor.to_string();
    let why = match (&gate.router, &gate.near_miss) {
        (Some(router), _) => format!("found as the router {router}"),
        (None, Some(reason)) => format!("near miss: {reason}"),
        (None, None) => gate.evidence.join("; "),
    };
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact_selectable(&response, picked);
        if picked || response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, RADIUS, visuals.bg_fill);
        }
        if marked {
            ui.painter().rect_stroke(rect, RADIUS, visuals.bg_stroke, egui::StrokeKind::Inside);
        }
        let (text, weak) = (visuals.text_color(), ui.visuals().weak_text_color());
        let corner = rect.min + vec2(space::S, 2.0);
        let width = rect.width() - 2.0 * space::S;
        line(ui, corner, (width, TextStyle::Body), &placed.path, text);
        let below = format!("{shape} · {} · {why}", gate.values.name());
        line(ui, corner + vec2(0.0, 17.0), (width, TextStyle::Small), &below, if picked { text } else { weak });
    }
    let place: Vec<&str> = gate.tensor.place.iter().map(|step| step.label.as_str()).collect();
    let place = if place.is_empty() { String::new() } else { format!("\nin {}", place.join(", ")) };
    let help = format!("{}\n{shape}, given by {}{place}\n{why}\n{}", placed.path, gate.operator, placed.reason);
    response.on_hover_text(help).clicked()
}

fn line(ui: &Ui, at: Pos2, (width, style): (f32, TextStyle), text: &str, color: Color32) {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), style.resolve(ui.style()), color);
    job.wrap = TextWrapping::truncate_at_width(width);
    ui.painter().galley(at, ui.painter().layout_job(job), color);
}
