//! The window. The only module that names egui and eframe.
//!
//! Panels read a frozen [`state::AppState`] and send [`command::Command`]s; [`app::App`] applies them between frames and
//! tells the worker what is wanted. `gpu` is the one file that hands wgpu's types on to our renderer.

pub mod app;
mod arrangement;
mod camera;
pub mod command;
mod ctx;
mod design;
mod dialogs;
mod file_copy;
mod gpu;
mod names;
mod panels;
mod plain;
pub mod reopen;
mod screenshot;
pub mod settings;
mod shortcuts;
pub mod state;
mod thumbnails;
mod waker;
mod widgets;
mod window_gpu;

pub use app::Start;
pub use egui::Theme;
pub use gpu::Adapters;
pub use screenshot::{Screenshot, Shot};
pub use state::Sheet;

use crate::engine::{Engine, EngineOptions};
use anyhow::Context as _;
use app::App;
use reopen::WindowError;
use screenshot::Photographer;
use settings::Settings;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// How the window is started.
#[derive(Debug, Default)]
pub struct Options {
    /// What is open at first.
    pub start: Start,
    /// Where and how models run.
    pub engine: EngineOptions,
    /// Save a picture of the window and end.
    pub screenshot: Option<Screenshot>,
}

/// Opens the window and returns when it is closed; with a screenshot, what was measured on the way.
///
/// # Errors
/// When no window can be opened (the text says what to do instead), or the screenshot cannot be taken.
pub fn run(options: &Options) -> anyhow::Result<Option<Shot>> {
    let started = Instant::now();
    let engine = Arc::new(Engine::start(options.engine.clone()));
    let (photographer, outcome) = match &options.screenshot {
        Some(job) => {
            let (photographer, outcome) = Photographer::new(job.clone(), started);
            (Some(photographer), Some(outcome))
        }
        None => (None, None),
    };
    let native = |adapters| native_options(options.screenshot.as_ref(), adapters);
    reopen::run("MoE Scope", native, |cc| build(cc, engine, options, photographer))
        .map_err(|error| no_window(&error))?;
    let Some(outcome) = outcome else { return Ok(None) };
    let result = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    let closed_early = || Err(anyhow::anyhow!("the window was closed before the result was there"));
    result.unwrap_or_else(closed_early).map(Some).context("the screenshot could not be taken")
}

fn build(
    cc: &eframe::CreationContext<'_>,
    engine: Arc<Engine>,
    options: &Options,
    photographer: Option<Photographer>,
) -> std::io::Result<App> {
    let mut settings = match &options.screenshot {
        Some(job) => Settings { zoom: job.scale, ..Settings::default() },
        None => Settings::load(cc.storage),
    };
    if let Some(theme) = options.screenshot.as_ref().and_then(|job| job.theme) {
        settings.theme = theme.into();
    }
    App::new(cc, engine, &options.start, settings, photographer)
}

/// How a window is opened: at the size of the screenshot, if one is to be taken.
#[must_use]
pub fn native_options(screenshot: Option<&Screenshot>, adapters: Adapters) -> eframe::NativeOptions {
    let [width, height] = screenshot.map_or([1280, 800], |job| job.size);
    let viewport = egui::ViewportBuilder::default()
        .with_title("MoE Scope")
        .with_app_id("moescope")
        .with_icon(icon())
        .with_inner_size([width as f32, height as f32])
        .with_min_inner_size([480.0, 360.0])
        .with_drag_and_drop(true);
    eframe::NativeOptions {
        viewport,
        persist_window: screenshot.is_none(),
        wgpu_options: gpu::configuration(adapters),
        ..eframe::NativeOptions::default()
    }
}

fn icon() -> egui::IconData {
    // The icon is part of the program; if it could not be read the window would merely have none.
    eframe::icon_data::from_png_bytes(include_bytes!("../../assets/icon/icon-256.png")).unwrap_or_default()
}

/// A window that cannot be opened is no reason to give up: the headless commands need none.
fn no_window(error: &WindowError) -> anyhow::Error {
    const HEADLESS: &str = "The headless commands need no window: `moescope classify IMAGE…` for predictions and routing, \
                            `moescope render IMAGE --layer 1 --out heatmap.png` for the picture";
    let reason = match error {
        WindowError::Lost { .. } => error.to_string(),
        WindowError::Open(eframe::Error::Wgpu(error)) => format!(
            "no graphics driver can draw into a window. Install one; without a graphics card a software one does (Debian and \
             Ubuntu: apt install mesa-vulkan-drivers libgl1-mesa-dri libegl1). The driver loader said: {error}"
        ),
        // Its text names a place in the window library's source and nothing that would help.
        WindowError::Open(eframe::Error::Winit(_) | eframe::Error::WinitEventLoop(_)) => {
            "there is no display that it could open on. Set DISPLAY or WAYLAND_DISPLAY, or put `xvfb-run -a` before the \
             command for a virtual one"
                .to_owned()
        }
        WindowError::Open(error) => error.to_string(),
    };
    anyhow::anyhow!("no window can be opened here: {reason}. {HEADLESS}")
}
