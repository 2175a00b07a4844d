//! Banning experts and leaving ranks out: the controls, and what says so for as long as the picture is not what the model
//! does by itself.

use crate::analysis::Outcome;
use crate::routing::ExpertIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{RADIUS, space};
use crate::ui::state::Unchanged;
use crate::ui::widgets::warning_frame;
use egui::{Align, Button, Key, Label, Layout, Rect, Response, RichText, Sense, Stroke, Ui};

/// With more layers than this only the one on screen and the extremes are told; the tooltip has them all.
const MAX_TOLD_LAYERS: usize = 6;
/// More ranks than this get no button each.
const MAX_RANKS: usize = 16;

/// What is changed, what that changed, and the way back; nothing while the model routes by itself.
pub fn banner_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    if !ctx.state.is_changed() {
        return;
    }
    let warn = ui.visuals().warn_fg_color;
    warning_frame(ui).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Reset").on_hover_text("The model's own routing again (key: R)").clicked() {
                    ctx.send(Command::ResetRouting);
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let text = statement(ctx);
                    ui.add(Label::new(RichText::new(&text).color(warn)).truncate()).on_hover_text(text);
                });
            });
        });
        let (short, full) = comparison(ctx);
        ui.add(Label::new(short).truncate()).on_hover_text(full);
    });
    ui.add_space(space::XS);
}

/// What the result on screen is, or what is on its way to be.
fn statement(ctx: &ViewCtx<'_>) -> String {
    if ctx.state.is_proving() {
        return "Making the routing changeable: an edited model is loaded and proved to compute the same…".to_owned();
    }
    let Some(shown) = ctx.state.shown() else { return "Changing the routing…".to_owned() };
    match shown.analysis.change.is_none() {
        true => format!("Changing the routing: {}…", shown.analysis.in_words(&ctx.state.changes.wanted)),
        false => sentence(shown),
    }
}

fn sentence(shown: &Outcome) -> String {
    format!("Changed routing: {}; not what the model does by itself", shown.analysis.change_in_words())
}

/// How the result on screen differs from the unchanged one, in a line and in full.
fn comparison(ctx: &ViewCtx<'_>) -> (String, String) {
    let shown = ctx.state.shown().filter(|shown| !shown.analysis.change.is_none());
    let Some((shown, unchanged)) = shown.zip(ctx.state.results.unchanged()) else {
        let text = "What it changes is compared with the unchanged run of the same image and top-k";
        return (text.to_owned(), text.to_owned());
    };
    let shares: Vec<Option<f64>> =
        unchanged.changed.iter().map(|layer| layer.map(|layer| layer.changed_share * 100.0)).collect();
    let of_layer =
        |at: usize| shares.get(at).copied().flatten().map_or("—".to_owned(), |share| format!("{share:.0} %"));
    let all: Vec<String> = (0..shares.len()).map(|at| format!("layer {} {}", at + 1, of_layer(at))).collect();
    let told = if shares.len() <= MAX_TOLD_LAYERS {
        all.join(", ")
    } else {
        let known = shares.iter().copied().flatten();
        let (least, most) =
            known.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), x| (least.min(x), most.max(x)));
        format!("{} in this layer, {least:.0} to {most:.0} % in all", of_layer(ctx.state.view.layer.0))
    };
    let best = best_class(unchanged, shown);
    let explanation =
        "Against the unchanged run of the same image at the same top-k.\nPatches with another set of experts:";
    (
        format!(
            "{}Patches with other experts: {told}",
            best.as_ref().map(|best| format!("{best}  ·  ")).unwrap_or_default()
        ),
        format!("{}{explanation}\n{}", best.map(|best| format!("{best}\n")).unwrap_or_default(), all.join("\n")),
    )
}

/// The best class before and after, with its probability: `Top-1 tabby 71.2 % → 68.0 %`.
fn best_class(before: &Unchanged, after: &Outcome) -> Option<String> {
    let (old, new) = (before.outcome.analysis.predictions.first()?, after.analysis.predictions.first()?);
    let percent = |probability: f32| format!("{:.1} %", probability * 100.0);
    let kept = before.best_kept;
    Some(match old.index == new.index {
        true => format!("Top-1 {} {} → {}", old.label, percent(old.probability), percent(kept)),
        false => format!(
            "Top-1 {} {} (now {}) → {} {}",
            old.label,
            percent(old.probability),
            percent(kept),
            new.label,
            percent(new.probability)
        ),
    })
}

/// A small sign beside the heading of what a change has changed.
pub fn mark_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(shown) = ctx.state.shown().filter(|shown| !shown.analysis.change.is_none()) else { return };
    let text = RichText::new("changed").small().color(ui.visuals().warn_fg_color);
    ui.label(text).on_hover_text(sentence(shown));
}

/// The controls for the layer on screen.
pub fn changes_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    if ctx.state.shown_layer().is_none() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        ban_button_ui(ui, ctx);
        if ctx.state.num_ranks() > 1 {
            ranks_ui(ui, ctx);
        }
    });
}

/// For the expert that is lit.
fn ban_button_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let lit = ctx.state.view.lit_expert;
    let is_banned = lit.is_some_and(|expert| ctx.state.is_ban_wanted(expert));
    let how = "Click an expert below the picture first, or right-click it to ban it at once";
    let obstacle = ctx.state.ban_obstacle().or_else(|| lit.is_none().then(|| how.to_owned()));
    let obstacle = obstacle.filter(|_| !is_banned);
    let text = match lit {
        Some(expert) => format!("{} expert {}", if is_banned { "Allow" } else { "Ban" }, expert.0),
        None => "Ban an expert".to_owned(),
    };
    let layer = ctx.state.results.outline().number(ctx.state.view.layer);
    let explanation = match is_banned {
        true => format!("Patches of layer {layer} may choose it again (key: B)"),
        false => format!(
            "No patch of layer {layer} may choose it: the next best takes its place, and the model is run again (key: B, or \
             right-click an expert)"
        ),
    };
    let button = ui.add_enabled(obstacle.is_none(), Button::new(text)).on_hover_text(explanation);
    let button = button.on_disabled_hover_text(obstacle.unwrap_or_default());
    if let (true, Some(expert)) = (button.clicked(), lit) {
        ctx.send(Command::ToggleBan(expert));
    }
}

/// A switch for each rank of the layer.
fn ranks_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.add_space(space::XS);
    ui.weak("Ranks").on_hover_text(
        "Which of a patch's experts have a say in this layer, the best first. One that is switched off is chosen, and its \
         weight is 0",
    );
    let obstacle = ctx.state.rank_obstacle();
    for rank in 0..ctx.state.num_ranks().min(MAX_RANKS) {
        let on = !ctx.state.is_rank_out_wanted(rank);
        let is_possible = obstacle.is_none() || !on;
        let button = ui.add_enabled(is_possible, Button::selectable(on, (rank + 1).to_string()));
        let name = format!("Rank {} has a say", rank + 1);
        button.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, is_possible, on, &name));
        let button = button.on_disabled_hover_text(obstacle.as_deref().unwrap_or_default());
        if button
            .on_hover_text(if on { "Click to take its weight away" } else { "Click to give its weight back" })
            .clicked()
        {
            ctx.send(Command::ToggleRank(rank));
        }
    }
}

/// For whatever stands for an expert of the layer on screen: a menu that bans it, the key B while it has the focus, and a
/// stroke through it where it is banned in the shown result.
pub fn expert_menu(ui: &Ui, ctx: &ViewCtx<'_>, response: &Response, expert: ExpertIdx) {
    let layer = ctx.state.view.layer;
    let shown = ctx.state.shown().map(|shown| &shown.analysis);
    let is_banned = shown.is_some_and(|shown| {
        shown.places.get(layer.0).is_some_and(|place| shown.change.is_banned(place.source, expert))
    });
    if is_banned {
        strike(ui, response.rect);
    }
    let response = if response.sense.senses_click() { response.clone() } else { response.interact(Sense::click()) };
    if response.has_focus() && ui.input(|input| input.key_pressed(Key::B)) {
        ctx.send(Command::ToggleBan(expert));
    }
    response.context_menu(|ui| {
        let wanted = ctx.state.is_ban_wanted(expert);
        let obstacle = ctx.state.ban_obstacle().filter(|_| !wanted);
        let verb = if wanted { "Allow" } else { "Ban" };
        let text = format!("{verb} expert {} in {}", expert.0, ctx.state.layer_title(layer));
        let button = ui.add_enabled(obstacle.is_none(), Button::new(text));
        if button.on_disabled_hover_text(obstacle.unwrap_or_default()).clicked() {
            ctx.send(Command::ToggleBan(expert));
        }
    });
}

/// Fades what stands for a banned expert, and draws a stroke through it; of a whole row, through its beginning.
fn strike(ui: &Ui, rect: Rect) {
    let is_row = rect.width() > 4.0 * rect.height();
    let rect = if is_row { rect.with_max_x(rect.left() + rect.height()) } else { rect };
    ui.painter().rect_filled(rect, RADIUS / 2, ui.visuals().panel_fill.gamma_multiply(0.4));
    ui.painter()
        .line_segment([rect.left_bottom(), rect.right_top()], Stroke::new(1.5, ui.visuals().strong_text_color()));
}
