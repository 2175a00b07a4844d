//! Design tokens: every distance, text size and neutral colour of the window. The data's colours are the only strong
//! ones; they come from [`crate::render::expert_color`].

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, vec2,
};
use std::sync::Arc;

/// Distances in points.
pub mod space {
    /// Between parts of one control.
    pub const XS: f32 = 4.0;
    /// Between controls.
    pub const S: f32 = 8.0;
}

/// Corner radius of everything that has corners.
pub const RADIUS: u8 = 6;
/// Side of the colour swatch of an expert, in points.
pub const SWATCH: f32 = 12.0;

/// The bold text style of headings within a panel.
#[must_use]
pub fn strong_family() -> FontFamily {
    FontFamily::Name("strong".into())
}

/// A heading of a panel.
#[must_use]
pub fn heading(text: &str) -> egui::RichText {
    egui::RichText::new(text).font(FontId::new(14.0, strong_family()))
}

/// Text in the strong weight at body size.
#[must_use]
pub fn strong(text: impl Into<String>) -> egui::RichText {
    egui::RichText::new(text.into()).family(strong_family())
}

/// Sets fonts and both themes. Called once per window.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    for (theme, ramp) in [(Theme::Light, Ramp::LIGHT), (Theme::Dark, Ramp::DARK)] {
        ctx.style_mut_of(theme, |style| apply(style, &ramp));
    }
}

/// IBM Plex Sans has tabular figures, so that numbers do not dance; egui's own fonts stay behind it for symbols.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let faces = [
        ("plex", &include_bytes!("../../assets/fonts/IBMPlexSans-Regular.ttf")[..]),
        ("plex-strong", &include_bytes!("../../assets/fonts/IBMPlexSans-SemiBold.ttf")[..]),
    ];
    for (name, bytes) in faces {
        fonts.font_data.insert(name.into(), Arc::new(FontData::from_static(bytes)));
    }
    let fallback = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    let with_fallback = |first: &str| std::iter::once(first.to_owned()).chain(fallback.clone()).collect();
    fonts.families.insert(FontFamily::Proportional, with_fallback("plex"));
    fonts.families.insert(strong_family(), with_fallback("plex-strong"));
    fonts
}

/// The neutral greys and the one accent of a theme.
struct Ramp {
    panel: Color32,
    window: Color32,
    extreme: Color32,
    faint: Color32,
    line: Color32,
    idle: Color32,
    hover: Color32,
    press: Color32,
    text: Color32,
    weak: Color32,
    strong: Color32,
    accent: Color32,
    accent_fill: Color32,
    error: Color32,
    warn: Color32,
}

impl Ramp {
    const LIGHT: Self = Self {
        panel: Color32::from_gray(248),
        window: Color32::from_gray(255),
        extreme: Color32::from_gray(255),
        faint: Color32::from_gray(240),
        line: Color32::from_gray(218),
        idle: Color32::from_gray(234),
        hover: Color32::from_gray(222),
        press: Color32::from_gray(208),
        text: Color32::from_gray(48),
        weak: Color32::from_gray(98),
        strong: Color32::from_gray(16),
        accent: Color32::from_rgb(30, 94, 200),
        accent_fill: Color32::from_rgb(207, 224, 252),
        error: Color32::from_rgb(178, 32, 32),
        warn: Color32::from_rgb(138, 84, 0),
    };
    const DARK: Self = Self {
        panel: Color32::from_gray(27),
        window: Color32::from_gray(34),
        extreme: Color32::from_gray(16),
        faint: Color32::from_gray(36),
        line: Color32::from_gray(58),
        idle: Color32::from_gray(48),
        hover: Color32::from_gray(62),
        press: Color32::from_gray(76),
        text: Color32::from_gray(212),
        weak: Color32::from_gray(160),
        strong: Color32::from_gray(245),
        accent: Color32::from_rgb(122, 172, 255),
        accent_fill: Color32::from_rgb(38, 66, 112),
        error: Color32::from_rgb(255, 138, 128),
        warn: Color32::from_rgb(240, 190, 96),
    };
}

fn apply(style: &mut egui::Style, ramp: &Ramp) {
    style.text_styles = [
        (TextStyle::Small, FontId::proportional(11.5)),
        (TextStyle::Body, FontId::proportional(13.0)),
        (TextStyle::Button, FontId::proportional(13.0)),
        (TextStyle::Monospace, FontId::proportional(13.0)),
        (TextStyle::Heading, FontId::new(18.0, strong_family())),
    ]
    .into();
    style.spacing.item_spacing = vec2(space::S, space::XS);
    style.spacing.button_padding = vec2(space::S, 3.0);
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.window_margin = Margin::same(16);
    style.spacing.interact_size = vec2(28.0, 22.0);
    style.spacing.slider_width = 120.0;
    style.spacing.tooltip_width = 320.0;
    style.interaction.tooltip_delay = 0.35;
    style.animation_time = 0.1;
    visuals(&mut style.visuals, ramp);
}

fn visuals(visuals: &mut egui::Visuals, ramp: &Ramp) {
    visuals.panel_fill = ramp.panel;
    visuals.window_fill = ramp.window;
    visuals.extreme_bg_color = ramp.extreme;
    visuals.faint_bg_color = ramp.faint;
    visuals.code_bg_color = ramp.faint;
    visuals.window_stroke = Stroke::new(1.0, ramp.line);
    visuals.window_corner_radius = CornerRadius::same(RADIUS);
    visuals.menu_corner_radius = CornerRadius::same(RADIUS);
    visuals.hyperlink_color = ramp.accent;
    visuals.error_fg_color = ramp.error;
    visuals.warn_fg_color = ramp.warn;
    visuals.weak_text_color = Some(ramp.weak);
    visuals.selection.bg_fill = ramp.accent_fill;
    visuals.selection.stroke = Stroke::new(1.0, ramp.strong);
    visuals.slider_trailing_fill = true;
    let widgets = &mut visuals.widgets;
    let states = [
        (&mut widgets.noninteractive, ramp.panel, ramp.line, ramp.text),
        (&mut widgets.inactive, ramp.idle, ramp.idle, ramp.text),
        (&mut widgets.hovered, ramp.hover, ramp.line, ramp.strong),
        (&mut widgets.active, ramp.press, ramp.accent, ramp.strong),
        (&mut widgets.open, ramp.hover, ramp.line, ramp.strong),
    ];
    for (widget, fill, line, text) in states {
        widget.bg_fill = fill;
        widget.weak_bg_fill = fill;
        widget.bg_stroke = Stroke::new(1.0, line);
        widget.fg_stroke = Stroke::new(1.0, text);
        widget.corner_radius = CornerRadius::same(RADIUS - 2);
        widget.expansion = 0.0;
    }
}
