//! No command: the window opens. A build without it says which one has it.

use super::args::{ModelArgs, WindowArgs};
use super::failure::Failure;

#[cfg(feature = "gui")]
pub(super) fn run(args: WindowArgs, model: ModelArgs) -> Result<(), Failure> {
    use super::args::{SheetArg, ThemeArg};
    use super::console::output;
    use super::load::engine_options;
    use crate::model::default_model_path;
    use crate::ui::{Options, Screenshot, Sheet, Start, Theme};
    use std::io::Write;

    let WindowArgs { images, screenshot, shot, top_k, layer } = args;
    let theme = shot.theme.map(|theme| match theme {
        ThemeArg::Light => Theme::Light,
        ThemeArg::Dark => Theme::Dark,
    });
    let sheet = shot.show.map(|sheet| match sheet {
        SheetArg::Model => Sheet::Model,
        SheetArg::Card => Sheet::Card,
        SheetArg::Comparison => Sheet::Parity,
        SheetArg::Shortcuts => Sheet::Shortcuts,
    });
    let screenshot = screenshot.map(|png| Screenshot { png, size: shot.size, theme, scale: shot.scale });
    let engine = engine_options(&model)?;
    let start = Start {
        images,
        execution: model.execution(),
        model: model.model,
        default_model: default_model_path(),
        top_k,
        layer: layer.map(|layer| layer - 1),
        sheet,
    };
    let png = screenshot.as_ref().map(|screenshot| screenshot.png.display().to_string());
    let shot = crate::ui::run(&Options { start, engine, screenshot })?;
    if let (Some(shot), Some(png)) = (shot, png) {
        let mut out = output();
        writeln!(out, "{png}: first result on screen {:.2} s after the start", shot.first_result_secs)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(not(feature = "gui"))]
pub(super) fn run(_: WindowArgs, _: ModelArgs) -> Result<(), Failure> {
    Err(Failure::Usage(
        "this build has no window: build it with the feature `gui` (it is on by default), or use a command, such as \
         `moescope classify IMAGE`; `moescope --help` lists them"
            .to_owned(),
    ))
}
