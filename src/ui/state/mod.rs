//! What the window knows and wants. Only [`AppState`] changes it: by commands of the person and events of the worker.

mod images;
mod notices;
mod parity;
mod results;
mod view;

pub(super) use images::file_name;
pub use images::{ImageEntry, ImageList};
pub use notices::{MissingFile, Notice, NoticeAction};
pub use parity::{ParityStage, ParityState};
pub use results::{LayerUsage, Multiple, Results};
pub use view::{OverlayKind, Sheet, Side, View};

use super::command::Command;
use super::settings::Settings;
use crate::analysis::{
    ComparisonWish, Event, ImageId, ImageSpec, ModelVersion, ModelWish, OpenModel, Outcome, ShownLayer, TokenPlace,
    Wanted,
};
use crate::engine::{Execution, ProviderChoice};
use crate::input::DecodedImage;
use crate::routing::{LayerIdx, LayerRouting};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The model that is wanted and the one that is open.
#[derive(Debug, Default)]
pub struct ModelState {
    /// The file that should be open.
    pub wanted: Option<PathBuf>,
    /// The model that is open.
    pub open: Option<Arc<OpenModel>>,
    /// Whether a model is being loaded.
    pub opening: bool,
    /// How often it was asked for again.
    pub reload: u64,
    /// How often a person asked to open a model in spite of what it did.
    pub pardon: u64,
    /// How models run where nothing else is wished for one.
    pub execution: Execution,
}

/// Everything that the window knows and wants.
#[derive(Debug)]
pub struct AppState {
    /// The open images.
    pub images: ImageList,
    /// The model.
    pub model: ModelState,
    /// Experts per token; `None` is the model's default.
    pub top_k: Option<usize>,
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
    /// The model whose odd values were pointed out last.
    odd: Option<ModelVersion>,
    /// Messages on screen, the oldest first.
    pub notices: Vec<Notice>,
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
            first_layer: None,
            view: View::default(),
            results: Results::default(),
            parity: ParityState::default(),
            decoded: None,
            settings,
            odd: None,
            notices: Vec::new(),
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
            top_k: self.top_k,
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

    /// The top-k that is wanted, if the open model has such an input.
    #[must_use]
    pub fn wanted_top_k(&self) -> Option<usize> {
        let range = self.model.open.as_ref()?.card.top_k.as_ref()?;
        Some(self.top_k.unwrap_or(range.default).clamp(range.min, range.max))
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
            Command::FilePlaced(missing, result) => self.file_placed(missing, result),
            Command::CardSaved(model, result) => self.card_saved(&model, result),
            Command::CancelOpening => self.cancel_opening(),
            Command::SetProvider(choice) => self.set_provider(choice),
            Command::Paste(image) => self.open_image(ImageSpec::Decoded(image)),
            Command::SelectImage(id) => self.retry_and(id, ImageList::select),
            Command::StepImage(places) => self.images.step(places),
            Command::CloseImage(id) => self.close_image(id),
            Command::SelectLayer(layer) => self.set_layer(layer.0),
            Command::StepLayer(places) => self.set_layer(self.view.layer.0.saturating_add_signed(places)),
            Command::SetOverlay(overlay) => {
                self.settings.overlay = overlay;
                self.view.hide_overlay = false;
            }
            Command::SetOverlayIndex(index) => self.set_overlay_index(index),
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
            | Command::ShowLabelsDialog(_)
            | Command::LabelsRead(..)
            | Command::SaveCard(..)
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
            Event::RunFailed { quarantined, message, .. } => {
                self.updating = false;
                let trust = self.model.wanted.clone().filter(|_| quarantined).map(NoticeAction::TrustModel);
                self.notify_with("The model could not be run", message, trust.into_iter().collect());
            }
            Event::Idle => self.updating = false,
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

    fn open_image(&mut self, spec: ImageSpec) {
        let id = self.images.open(spec);
        self.retry_and(id, ImageList::select);
    }

    /// An image that could not be read is tried again when it is asked for again: the file may be whole now.
    fn retry_and(&mut self, id: ImageId, act: impl FnOnce(&mut ImageList, ImageId)) {
        if let Some(entry) = self.images.get_mut(id) {
            entry.error = None;
        }
        act(&mut self.images, id);
    }

    fn close_image(&mut self, id: ImageId) {
        self.images.close(id);
        if self.images.current().is_none() {
            self.results.clear();
            self.decoded = None;
        }
    }

    /// A model that is asked for again may have changed meanwhile.
    fn want_model(&mut self, path: Option<PathBuf>) {
        let retry = path.clone().map(NoticeAction::RetryModel);
        self.notices.retain(|notice| retry.as_ref().is_none_or(|retry| !notice.actions.contains(retry)));
        if path == self.model.wanted {
            self.reload_model();
        }
        self.settings.model = path.clone().filter(|path| Some(path) != self.default_model.as_ref());
        self.model.wanted = path;
    }

    fn reload_model(&mut self) {
        self.model.reload += 1;
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::ReloadModel));
    }

    fn model_changed(&mut self, path: &Path, gone: bool) {
        let name = file_name(path);
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::ReloadModel));
        if gone {
            let details = "The model stays as it was opened until another one is opened or the window is closed.";
            return self.notify(format!("The file {name} is gone"), details);
        }
        let details = "What is shown belongs to the file as it was when it was opened. Reload it to see what the new one \
                       does.";
        self.notify_with(format!("The model {name} has changed"), details, vec![NoticeAction::ReloadModel]);
    }

    fn trust_model(&mut self, path: PathBuf) {
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::TrustModel(path.clone())));
        self.model.pardon += 1;
        self.want_model(Some(path));
    }

    /// A missing file is there now, so that its model can be opened; or why it is not.
    fn file_placed(&mut self, missing: MissingFile, result: Result<(), String>) {
        match result {
            Ok(()) => self.want_model(Some(missing.model)),
            Err(message) => {
                let title = format!("Could not put {} beside the model", file_name(&missing.place));
                let retry = NoticeAction::RetryModel(missing.model.clone());
                self.notify_with(title, message, vec![NoticeAction::LocateFile(missing), retry]);
            }
        }
    }

    /// A card lies beside its model now, so that the model can be opened with it; or why not.
    fn card_saved(&mut self, model: &Path, result: Result<(), String>) {
        match result {
            Ok(()) if self.model.wanted.as_deref() == Some(model) => self.reload_model(),
            Ok(()) => {}
            Err(message) => self.notify(format!("The card of {} was not saved", file_name(model)), message),
        }
    }

    /// Back to the model that is open, if there is one.
    fn cancel_opening(&mut self) {
        if self.model.opening {
            self.model.opening = false;
            self.model.wanted = self.model.open.as_ref().map(|model| model.path.clone());
        }
    }

    /// What the wanted model runs on: what was wished for it, else what the program was started with.
    fn set_provider(&mut self, choice: ProviderChoice) {
        let Some(path) = &self.model.wanted else { return };
        if choice == self.model.execution.provider.choice {
            self.settings.providers.remove(path);
        } else {
            self.settings.providers.insert(path.clone(), choice);
        }
    }

    fn execution_of(&self, model: &Path) -> Execution {
        let mut execution = self.model.execution.clone();
        if let Some(&choice) = self.settings.providers.get(model) {
            execution.provider.choice = choice;
        }
        execution
    }

    /// Compares the CPU with `other` on all open images that can be read.
    fn start_parity(&mut self, other: Execution) {
        let Some(model) = &self.model.open else { return };
        let readable = self.images.entries().iter().filter(|entry| entry.error.is_none());
        let images = readable.map(|entry| (entry.id, entry.spec.clone())).collect();
        let wish = ComparisonWish { number: 0, model: model.path.clone(), other, top_k: self.wanted_top_k(), images };
        self.parity.begin(wish);
    }

    fn set_layer(&mut self, layer: usize) {
        let before = self.view.layer;
        self.view.layer = LayerIdx(layer);
        self.clamp_view();
        self.move_pin_to_grid_of(before);
    }

    /// A layer of another grid has another patch under the same place of the image.
    fn move_pin_to_grid_of(&mut self, before: LayerIdx) {
        let Some((shown, pinned)) = self.results.shown().zip(self.view.pinned) else { return };
        let (from, to) = (shown.analysis.grid(before), shown.analysis.grid(self.view.layer));
        if from != to {
            self.view.pinned = from.zip(to).and_then(|(from, to)| {
                let pixels = from.pixels_from_patch(pinned);
                to.patch_from_pixel(pixels.x + pixels.width / 2.0, pixels.y + pixels.height / 2.0)
            });
        }
    }

    fn set_overlay_index(&mut self, index: usize) {
        match self.settings.overlay {
            OverlayKind::ChosenExpert => self.view.rank = index,
            OverlayKind::GateProbability => self.view.gate_expert = index,
            OverlayKind::GateEntropy | OverlayKind::GateMargin => {}
        }
        self.clamp_view();
    }

    fn move_pin(&mut self, rows: isize, cols: isize) {
        let Some(grid) = self.results.shown().and_then(|shown| shown.analysis.grid(self.view.layer)) else { return };
        let Some(pinned) = self.view.pinned else {
            self.view.pinned = grid.patch_at(grid.rows / 2, grid.cols / 2);
            return self.clamp_view();
        };
        let (row, col) = grid.row_col(pinned);
        let to = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count.saturating_sub(1));
        self.view.pinned = grid.patch_at(to(row, rows, grid.rows), to(col, cols, grid.cols));
    }

    fn set_top_k(&mut self, top_k: usize) {
        if let Some(range) = self.model.open.as_ref().and_then(|model| model.card.top_k.as_ref()) {
            self.top_k = Some(top_k.clamp(range.min, range.max));
        }
    }

    fn clamp_view(&mut self) {
        let layers = self.results.shown().map(|shown| shown.analysis.trace.layers.as_slice()).unwrap_or_default();
        self.view.clamp(layers);
    }

    fn model_opened(&mut self, model: Arc<OpenModel>) {
        self.model.opening = false;
        for not_started in &model.not_started {
            self.notify(format!("Running on {} instead", model.provider), not_started.to_string());
        }
        // A top-k that was chosen for another model means nothing for this one, and a comparison of another one neither.
        let (path, version) = (model.path.clone(), model.version.clone());
        let before = self.model.open.replace(model);
        if before.as_ref().is_some_and(|before| before.path != path) {
            self.top_k = None;
        }
        if before.is_some_and(|before| before.version != version) {
            self.parity.clear();
        }
    }

    /// The model that was open before stays.
    fn model_failed(&mut self, path: &Path, message: String, actions: Vec<NoticeAction>) {
        self.model.opening = false;
        self.updating = false;
        if self.model.wanted.as_deref() == Some(path) {
            self.model.wanted = self.model.open.as_ref().map(|model| model.path.clone());
            self.settings.model = self.model.wanted.clone().filter(|path| Some(path) != self.default_model.as_ref());
        }
        self.notify_with(format!("Could not open the model {}", file_name(path)), message, actions);
    }

    fn image_decoded(&mut self, image: ImageId, decoded: Arc<DecodedImage>) {
        if let Some(entry) = self.images.get_mut(image) {
            entry.size = Some([decoded.width, decoded.height]);
        }
        self.decoded = Some((image, decoded));
    }

    /// What was shown stays; the image keeps its place in the list, marked.
    fn image_failed(&mut self, image: ImageId, message: String) {
        self.updating = false;
        let Some(entry) = self.images.get_mut(image) else { return };
        let title = format!("Could not open {}", entry.title);
        entry.error = Some(message.clone());
        let shown = self.results.shown().map(|shown| shown.image);
        if let Some(shown) = shown.filter(|shown| self.images.get(*shown).is_some()) {
            self.images.select(shown);
        }
        self.notify(title, message);
    }

    fn analysed(&mut self, outcome: Outcome) {
        if !self.is_wanted(&outcome) {
            return self.results.compare(outcome);
        }
        if let (Some(entry), Some(best)) =
            (self.images.get_mut(outcome.image), outcome.analysis.predictions.first().cloned())
        {
            entry.best = Some((best.label, best.probability));
        }
        self.point_out_oddities(&outcome);
        if self.results.shown().is_none() {
            // Early layers follow colours and edges, late ones mix the whole image: the middle explains itself best.
            self.view.layer.0 = self.first_layer.unwrap_or(outcome.analysis.trace.layers.len() / 2);
        }
        self.results.show(outcome);
        self.clamp_view();
    }

    /// Says it once for a model: the panels count for each layer, and most images would repeat it.
    fn point_out_oddities(&mut self, outcome: &Outcome) {
        const MOST: usize = 4;
        if self.odd.as_ref() == Some(&outcome.model.version) {
            return;
        }
        let mut oddities = outcome.analysis.oddities(&outcome.model);
        if oddities.is_empty() {
            return;
        }
        let more = oddities.len().saturating_sub(MOST);
        oddities.truncate(MOST);
        oddities.extend((more > 0).then(|| format!("and {more} more")));
        self.odd = Some(outcome.model.version.clone());
        self.notify("The model gives values that cannot be", oddities.join(". "));
    }

    fn is_wanted(&self, outcome: &Outcome) -> bool {
        let current = self.images.current().map(|entry| entry.id);
        Some(outcome.image) == current
            && Some(&outcome.model.path) == self.model.wanted.as_ref()
            && outcome.model.execution == self.execution_of(&outcome.model.path)
            && outcome.analysis.top_k == self.wanted_top_k()
    }
}

#[cfg(test)]
pub(in crate::ui) mod tests;
