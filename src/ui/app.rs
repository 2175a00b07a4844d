//! The window's life: events and commands change the state, the state says what the worker should do, panels draw it.

use super::arrangement::{PanelState, drop_hint_ui, window_ui};
use super::command::{Command, CommandSender};
use super::ctx::ViewCtx;
use super::file_copy::FileCopy;
use super::panels::card::card_ui;
use super::panels::help;
use super::panels::model::model_ui;
use super::panels::parity::parity_ui;
use super::reopen::Movable;
use super::screenshot::{Photographer, Progress};
use super::settings::Settings;
use super::state::{AppState, MissingFile, Sheet};
use super::thumbnails::ThumbnailTextures;
use super::waker::Waker;
use super::window_gpu::WindowGpu;
use super::{design, dialogs, shortcuts};
use crate::analysis::{AnalysisService, Comparison, ComparisonEvent, Wanted};
use crate::engine::{Engine, Execution};
use crate::input::{DecodedImage, ImageSource};
use egui::Ui;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// What the window starts with.
#[derive(Debug, Default)]
pub struct Start {
    /// Images to open; the first bundled sample if there are none.
    pub images: Vec<PathBuf>,
    /// The model to open; the remembered or the bundled one if there is none.
    pub model: Option<PathBuf>,
    /// The bundled model, if it was found.
    pub default_model: Option<PathBuf>,
    /// How models are run.
    pub execution: Execution,
    /// Experts per token; the model's default if there is none.
    pub top_k: Option<usize>,
    /// The layer to begin with, from 0; the middle one if there is none.
    pub layer: Option<usize>,
    /// The sheet that is open at first.
    pub sheet: Option<Sheet>,
}

/// The window.
pub struct App {
    state: AppState,
    service: AnalysisService,
    commands: CommandSender,
    inbox: Receiver<Command>,
    thumbnails: ThumbnailTextures,
    waker: Waker,
    gpu: WindowGpu,
    panels: PanelState,
    engine: Arc<Engine>,
    /// The comparison that runs, with its number.
    comparison: Option<(u64, Comparison)>,
    /// The copy of a file that a model needs, while it is made.
    copy: Option<FileCopy>,
    /// What was asked of the worker last.
    asked: Option<Wanted>,
    pasted: u32,
    title: String,
    photographer: Option<Photographer>,
}

impl App {
    /// Builds the window's content. Nothing here waits: models, images and pictures come through the worker.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn new(
        cc: &eframe::CreationContext<'_>,
        engine: Arc<Engine>,
        start: &Start,
        settings: Settings,
        photographer: Option<Photographer>,
    ) -> std::io::Result<Self> {
        let ctx = &cc.egui_ctx;
        design::install(ctx);
        let (sender, inbox) = channel();
        let waker = Waker::new(ctx);
        let wake = waker.clone();
        let service = AnalysisService::start(Arc::clone(&engine), move || wake.wake())?;
        let mut state = AppState::new(settings, start.default_model.clone());
        state.model.execution = start.execution.clone();
        let gpu = WindowGpu::open(cc, &waker, &mut state);
        open_first(&mut state, start);
        Ok(Self {
            state,
            service,
            commands: CommandSender::new(sender, waker.clone()),
            waker,
            inbox,
            thumbnails: ThumbnailTextures::start(ctx)?,
            gpu,
            panels: PanelState::default(),
            engine,
            comparison: None,
            copy: None,
            asked: None,
            pasted: 0,
            title: String::new(),
            photographer,
        })
    }

    /// What the window knows and wants, for tests and for saving.
    #[must_use]
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Does a command as if a panel had sent it.
    pub fn send(&self, command: Command) {
        self.commands.send(command);
    }

    fn take_input(&mut self, ctx: &egui::Context) {
        let dropped: Vec<PathBuf> =
            ctx.input(|input| input.raw.dropped_files.iter().map(|file| file.path().to_owned()).collect());
        if !dropped.is_empty() {
            self.commands.send(Command::OpenPaths(dropped));
        }
        let pasted = ctx.input(|input| {
            input.raw.events.iter().find_map(|event| match event {
                egui::Event::PasteImage(image) => Some(Arc::clone(image)),
                _ => None,
            })
        });
        if let Some(image) = pasted {
            self.pasted += 1;
            self.commands.send(Command::Paste(Arc::new(decoded(&image, self.pasted))));
        }
        for command in shortcuts::pressed(ctx, self.state.sheet) {
            self.commands.send(command);
        }
    }

    fn apply_commands(&mut self, ctx: &egui::Context) {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::ShowImageDialog => dialogs::pick_images(&self.commands, self.state.settings.folder.as_ref()),
                Command::ShowModelDialog => dialogs::pick_model(&self.commands, self.state.settings.folder.as_ref()),
                Command::ShowLocateDialog(missing) => {
                    dialogs::pick_missing(&self.commands, missing, self.state.settings.folder.as_ref());
                }
                Command::PlaceFile(missing, from) => self.place(missing, from),
                Command::StopCopy => self.copy.iter().for_each(FileCopy::stop),
                Command::ShowLabelsDialog(model, of) => {
                    dialogs::pick_labels(&self.commands, (model, of), self.state.settings.folder.as_ref());
                }
                Command::LabelsRead(model, of, Ok(labels)) => self.panels.card.take_labels(&model, of, labels),
                Command::LabelsRead(.., Err(message)) => self.state.notify("No class names were read", message),
                Command::ListGates(model) => dialogs::list_gates(&self.commands, model),
                Command::GatesListed(model, gates) => self.panels.model.take_gates(&model, gates),
                Command::SaveCard(model, card) => dialogs::save_beside(&self.commands, model, card),
                Command::FitImage => self.panels.heatmap.camera.fit(),
                Command::ZoomToPixels => self.panels.heatmap.wanted_zoom = Some(1.0),
                Command::CopyText(text) => ctx.copy_text(text),
                Command::CopyView => {
                    let copy_to = ctx.clone();
                    ctx.request_screenshot(move |image| copy_to.copy_image((*image).clone()));
                }
                Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
                command => {
                    if let Command::FilePlaced(..) = command {
                        self.copy = None;
                    }
                    self.state.apply(command);
                }
            }
        }
    }

    /// Puts a copy of a file where a model needs it; one at a time, as a disk does it best.
    fn place(&mut self, missing: MissingFile, from: PathBuf) {
        if self.copy.is_some() {
            return self.state.notify("A file is being copied already", "Wait for it or stop it, and try again.");
        }
        match FileCopy::start(&self.commands, missing.clone(), from) {
            Ok(copy) => self.copy = Some(copy),
            Err(error) => self.state.apply(Command::FilePlaced(missing, Err(error.to_string()))),
        }
    }

    /// Tells the worker what is wanted now, if that changed.
    fn ask(&mut self) {
        let wanted = self.state.wanted();
        if self.asked.as_ref() != Some(&wanted) {
            self.service.want(wanted.clone());
            self.state.updating = true;
            self.asked = Some(wanted);
        }
    }

    /// Starts the comparison that is wanted now, and stops one that is not.
    fn compare(&mut self) {
        let wanted = self.state.parity.wanted();
        if wanted.map(|wish| wish.number) == self.comparison.as_ref().map(|(number, _)| *number) {
            return;
        }
        self.comparison = None;
        let Some(wish) = wanted.cloned() else { return };
        let (number, wake) = (wish.number, self.waker.clone());
        match Comparison::start(&self.engine, wish, move || wake.wake()) {
            Ok(comparison) => self.comparison = Some((number, comparison)),
            Err(error) => self.state.parity.hear(ComparisonEvent::Failed(error.to_string())),
        }
    }

    fn apply_settings(&mut self, ctx: &egui::Context) {
        let settings = &self.state.settings;
        if ctx.options(|options| options.theme_preference) != settings.theme {
            ctx.set_theme(settings.theme);
        }
        if ctx.zoom_factor() != settings.zoom {
            ctx.set_zoom_factor(settings.zoom);
        }
        let title = match self.state.images.current() {
            Some(image) => format!("{} – MoE Scope", image.title),
            None => "MoE Scope".to_owned(),
        };
        if self.title != title {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }

    fn photograph(&mut self, ctx: &egui::Context) {
        let Some(photographer) = &mut self.photographer else { return };
        // Without a model the photo alone is all that there will be.
        let without_model = self.state.model.wanted.is_none() && self.state.decoded.is_some();
        let has_result = self.state.shown().is_some() || without_model;
        let progress = match (has_result, self.state.updating) {
            (false, _) => Progress::Nothing,
            (true, true) => Progress::Result,
            (true, false) => Progress::Settled,
        };
        let trouble = self.state.notices.first().map(|notice| format!("{}: {}", notice.title, notice.details));
        photographer.step(ctx, progress, trouble.as_deref());
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        while let Some(event) = self.service.poll() {
            self.state.hear(event);
        }
        while let Some(event) = self.comparison.as_ref().and_then(|(_, comparison)| comparison.poll()) {
            self.state.parity.hear(event);
        }
        self.thumbnails.update(ctx);
        self.apply_commands(ctx);
        self.ask();
        self.compare();
        self.gpu.update(&mut self.state);
        self.apply_settings(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.take_input(&ctx);
        let view = ViewCtx::new(&self.state, &self.commands, self.gpu.can_draw(), self.panels.heatmap.hovered);
        window_ui(ui, &view, &self.thumbnails, &mut self.panels);
        help::help_ui(ui, &view);
        model_ui(ui, &view, &mut self.panels.model);
        card_ui(ui, &view, &mut self.panels.card);
        parity_ui(ui, &view, &mut self.panels.parity);
        drop_hint_ui(&ctx);
        self.photograph(&ctx);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if self.photographer.is_none() {
            self.state.settings.save(storage);
        }
    }

    fn persist_egui_memory(&self) -> bool {
        self.photographer.is_none()
    }
}

impl Movable for App {
    fn lost_device(&self) -> Option<String> {
        self.gpu.lost_device()
    }

    fn move_to(&mut self, cc: &eframe::CreationContext<'_>, reason: &str) -> std::io::Result<()> {
        design::install(&cc.egui_ctx);
        self.waker.move_to(&cc.egui_ctx);
        self.thumbnails = ThumbnailTextures::start(&cc.egui_ctx)?;
        self.gpu = WindowGpu::open(cc, &self.waker, &mut self.state);
        self.title.clear();
        self.state.notify(
            "The graphics device was lost, and the window was opened again",
            format!(
                "Everything that was open is here. The driver said: {reason}. If it happens again, update the driver"
            ),
        );
        Ok(())
    }
}

fn open_first(state: &mut AppState, start: &Start) {
    if start.images.is_empty() {
        if let Some(sample) = crate::input::SAMPLES.first() {
            state.apply(Command::OpenSample(sample.id));
        }
    } else {
        state.apply(Command::OpenPaths(start.images.clone()));
        if let Some(first) = state.images.entries().first().map(|entry| entry.id) {
            state.apply(Command::SelectImage(first));
        }
    }
    if start.model.is_some() {
        state.model.wanted.clone_from(&start.model);
    }
    state.top_k = start.top_k;
    state.first_layer = start.layer;
    state.sheet = start.sheet;
    if state.model.wanted.is_none() {
        state.notify(
            "No model is open",
            "The bundled model models/default/moescope-default.onnx was not found. Open a model with File → Open a model…",
        );
    }
}

fn decoded(image: &egui::ColorImage, number: u32) -> DecodedImage {
    let [width, height] = image.size.map(|side| side as u32);
    let rgba = image.pixels.iter().flat_map(egui::Color32::to_srgba_unmultiplied).collect();
    DecodedImage { source: ImageSource::Clipboard(number), width, height, rgba }
}
