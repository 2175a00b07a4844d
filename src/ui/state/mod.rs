//! What the window knows and wants. Only [`AppState`] changes it: by commands of the person and events of the worker.

mod changes;
mod images;
mod model;
mod notices;
mod outline;
mod overlay;
mod parity;
mod results;
mod view;

pub use changes::ChangeState;
pub(super) use images::file_name;
pub use images::{ImageEntry, ImageList};
pub use model::ModelState;
pub use notices::{MissingFile, Notice, NoticeAction};
pub use outline::{Iteration, Outline, OutlineRow};
pub use parity::{ParityStage, ParityState};
pub use results::{LayerUsage, Multiple, Results, Unchanged};
pub use view::{OverlayKind, Sheet, Side, View};

use super::command::Command;
use super::settings::Settings;
use crate::analysis::{
    Event, ImageId, ImageSpec, ModelVersion, ModelWish, Outcome, RoutingChange, Setting, ShownLayer, TokenPlace, Wanted,
};
use crate::input::DecodedImage;
use crate::report::CopyProgress;
use crate::routing::{LayerRouting, SlotIdx};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that the window knows and wants.
#[derive(Debug)]
pub struct AppState {
    /// The open images.
    pub images: ImageList,
    /// The model.
    pub model: ModelState,
    /// Experts per token; `None` is the model's default.
    pub top_k: Option<usize>,
    /// What is changed about the routing beside that.
    pub changes: ChangeState,
    /// The layer to begin with, from 0; the middle one if there is none.
    pub first_layer: Option<usize>,
    /// What the person looks at.
    pub view: View,
    /// What the worker found.
    pub results: Results,
    /// The comparison with another provider.
    pub parity: ParityState,
    /// The image whose pixels are there, and the pixels: shown until a result replaces it.
    pub decoded: Option<(ImageId, Arc<DecodedImage>)>,
    /// What is remembered from start to start.
    pub settings: Settings,
    /// The model and the change whose odd values were pointed out last.
    odd: Option<(ModelVersion, RoutingChange)>,
    /// Messages on screen, the oldest first.
    pub notices: Vec<Notice>,
    /// The file that is being copied to where a model needs it, and how far that is.
    pub copying: Option<(MissingFile, CopyProgress)>,
    /// The sheet that is open.
    pub sheet: Option<Sheet>,
    /// Whether the worker still works toward the latest wish.
    pub updating: bool,
    /// The model that is bundled with the program, if it was found.
    pub default_model: Option<PathBuf>,
}

impl AppState {
    /// More messages than this would cover the picture; the oldest go.
    const MAX_NOTICES: usize = 3;

    /// The state before anything was opened.
    #[must_use]
    pub fn new(settings: Settings, default_model: Option<PathBuf>) -> Self {
        let wanted = settings.model.clone().filter(|path| path.exists()).or_else(|| default_model.clone());
        Self {
            images: ImageList::default(),
            model: ModelState { wanted, ..ModelState::default() },
            top_k: None,
            changes: ChangeState::default(),
            first_layer: None,
            view: View::default(),
            results: Results::default(),
            parity: ParityState::default(),
            decoded: None,
            settings,
            odd: None,
            notices: Vec::new(),
            copying: None,
            sheet: None,
            updating: false,
            default_model,
        }
    }

    /// What the worker should work toward.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let image = self.images.current().filter(|entry| entry.error.is_none());
        Wanted {
            model: self.model.wanted.clone().map(|path| ModelWish {
                execution: self.execution_of(&path),
                path,
                reload: self.model.reload,
                pardon: self.model.pardon,
            }),
            image: image.map(|entry| (entry.id, entry.spec.clone())),
            setting: Setting { top_k: self.top_k, change: self.changes.wanted.clone() },
            compare: true,
        }
    }

    /// The result that is shown.
    #[must_use]
    pub fn shown(&self) -> Option<&Outcome> {
        self.results.shown()
    }

    /// The routing of the layer that is shown.
    #[must_use]
    pub fn shown_layer(&self) -> Option<&LayerRouting> {
        self.shown()?.analysis.trace.layers.get(self.view.layer.0)
    }

    /// Where the tokens of that layer lie.
    #[must_use]
    pub fn shown_place(&self) -> Option<TokenPlace> {
        Some(self.shown()?.analysis.places.get(self.view.layer.0)?.tokens)
    }

    /// What the model knows of that layer: its card, and what of its routing had to be computed again.
    #[must_use]
    pub fn shown_source(&self) -> Option<&ShownLayer> {
        let shown = self.shown()?;
        shown.model.layers.get(shown.analysis.places.get(self.view.layer.0)?.source)
    }

    /// Applies a wish of the person. Commands that need the window itself (dialogs, clipboard, quitting) are not for
    /// the state and change nothing here.
    pub fn apply(&mut self, command: Command) {
        match command {
            Command::OpenPaths(paths) => self.open_paths(paths),
            Command::OpenSample(id) => self.open_image(ImageSpec::Sample(id)),
            Command::OpenModel(path) => self.want_model(Some(path)),
            Command::OpenDefaultModel => self.want_model(self.default_model.clone()),
            Command::ReloadModel => self.reload_model(),
            Command::TrustModel(path) => self.trust_model(path),
            Command::FileCopied(missing, progress) => self.copying = Some((missing, progress)),
            Command::FilePlaced(missing, result) => self.file_placed(missing, result),
            Command::CardSaved(model, result) => self.card_saved(&model, result),
            Command::CancelOpening => self.cancel_opening(),
            Command::SetProvider(choice) => self.set_provider(choice),
            Command::Paste(image) => self.open_image(ImageSpec::Decoded(image)),
            Command::SelectImage(id) => self.retry_and(id, ImageList::select),
            Command::StepImage(places) => self.images.step(places),
            Command::CloseImage(id) => self.close_image(id),
            Command::SelectLayer(layer) => self.set_layer(layer),
            Command::StepLayer(places) => self.step_layer(places),
            Command::SelectTask(task) => self.select_task(task),
            Command::StepTask(places) => self.step_task(places),
            Command::SetOverlay(overlay) => {
                self.settings.overlay = overlay;
                self.view.hide_overlay = false;
            }
            Command::SetOverlayIndex(index) => self.set_overlay_index(index),
            Command::SelectSlot(slot) => self.select_slot(slot),
            Command::StepSlot(places) => self.select_slot(SlotIdx(self.view.slot.0.saturating_add_signed(places))),
            Command::SetOpacity(opacity) => self.settings.opacity = opacity.clamp(0.0, 1.0),
            Command::ToggleOverlay => self.view.hide_overlay = !self.view.hide_overlay,
            Command::ToggleGrid => self.settings.grid = !self.settings.grid,
            Command::ToggleCrop => self.settings.crop = !self.settings.crop,
            Command::SetTopK(top_k) => self.set_top_k(top_k),
            Command::StepTopK(places) => {
                if let Some(top_k) = self.wanted_top_k() {
                    self.set_top_k(top_k.saturating_add_signed(places));
                }
            }
            Command::ToggleBan(expert) => self.toggle_ban(expert),
            Command::ToggleBanOfLit => {
                if let Some(expert) = self.view.lit_expert {
                    self.toggle_ban(expert);
                }
            }
            Command::ToggleRank(rank) => self.toggle_rank(rank),
            Command::ResetRouting => self.changes.wanted = RoutingChange::default(),
            Command::LightExpert(expert) => self.view.toggle_lit(expert),
            Command::Pin(patch) => self.view.pinned = if self.view.pinned == Some(patch) { None } else { Some(patch) },
            Command::MovePin { rows, cols } => self.move_pin(rows, cols),
            Command::ClearSelection => (self.view.pinned, self.view.lit_expert) = (None, None),
            Command::StartParity(other) => self.start_parity(other),
            Command::StopParity => self.parity.stop(),
            Command::ShowPatch { layer, patch } => {
                (self.view.layer, self.view.pinned) = (layer, Some(patch));
                self.clamp_view();
            }
            Command::ToggleSide(side) => {
                self.view.narrow_side = if self.view.narrow_side == Some(side) { None } else { Some(side) };
            }
            Command::SetTheme(theme) => self.settings.theme = theme,
            Command::SetZoom(zoom) => self.settings.zoom = zoom,
            Command::ToggleSheet(sheet) => self.sheet = if self.sheet == Some(sheet) { None } else { Some(sheet) },
            Command::DismissNotice(at) if at < self.notices.len() => drop(self.notices.remove(at)),
            Command::DismissNotice(_)
            | Command::ShowImageDialog
            | Command::ShowModelDialog
            | Command::ShowLocateDialog(_)
            | Command::PlaceFile(..)
            | Command::StopCopy
            | Command::ShowLabelsDialog(..)
            | Command::LabelsRead(..)
            | Command::SaveCard(..)
            | Command::ListGates(_)
            | Command::GatesListed(..)
            | Command::FitImage
            | Command::ZoomToPixels
            | Command::CopyText(_)
            | Command::CopyView
            | Command::Quit => {}
        }
    }

    /// Takes what the worker tells.
    pub fn hear(&mut self, event: Event) {
        match event {
            Event::ModelOpening(_) => self.model.opening = true,
            Event::ModelOpened(model) => self.model_opened(model),
            Event::ModelFailed { path, quarantined, missing, message } => {
                let trust = quarantined.then(|| NoticeAction::TrustModel(path.clone()));
                let locate = missing.map(|place| NoticeAction::LocateFile(MissingFile { model: path.clone(), place }));
                let retry = locate.is_some().then(|| NoticeAction::RetryModel(path.clone()));
                self.model_failed(&path, message, trust.into_iter().chain(locate).chain(retry).collect());
            }
            Event::ModelChanged { path, gone } => self.model_changed(&path, gone),
            Event::ImageDecoded { image, decoded } => self.image_decoded(image, decoded),
            Event::ImageFailed { image, message } => self.image_failed(image, message),
            Event::Analysed(outcome) => self.analysed(outcome),
            Event::Offers { model, offers } => self.hear_offers(model, offers),
            Event::ChangeRefused { change, message } => self.change_refused(&change, message),
            Event::RunFailed { quarantined, message } => {
                self.updating = false;
                let trust = self.model.wanted.clone().filter(|_| quarantined).map(NoticeAction::TrustModel);
                self.notify_with("The model could not be run", message, trust.into_iter().collect());
            }
            Event::Idle => {
                self.updating = false;
                self.results.drop_stale();
            }
        }
    }

    /// Puts a message on screen, unless it is there already.
    pub fn notify(&mut self, title: impl Into<String>, details: impl Into<String>) {
        self.notify_with(title, details, Vec::new());
    }

    fn notify_with(&mut self, title: impl Into<String>, details: impl Into<String>, actions: Vec<NoticeAction>) {
        let notice = Notice { title: title.into(), details: details.into(), actions };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
        let surplus = self.notices.len().saturating_sub(Self::MAX_NOTICES);
        self.notices.drain(..surplus);
    }

    fn open_paths(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            self.settings.folder = path.parent().map(Path::to_owned).or(self.settings.folder.take());
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
                self.want_model(Some(path));
            } else {
                self.open_image(ImageSpec::File(path));
            }
        }
    }
}

#[cfg(test)]
pub(in crate::ui) mod tests;
