//! The model that is wanted and the one that is open: opening, reloading, trusting, and what it runs on.

use super::{AppState, MissingFile, NoticeAction, file_name};
use crate::analysis::OpenModel;
use crate::engine::{Execution, ProviderChoice};
use crate::report::Copied;
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

impl AppState {
    /// A model that is asked for again may have changed meanwhile.
    pub(super) fn want_model(&mut self, path: Option<PathBuf>) {
        let retry = path.clone().map(NoticeAction::RetryModel);
        self.notices.retain(|notice| retry.as_ref().is_none_or(|retry| !notice.actions.contains(retry)));
        if path == self.model.wanted {
            self.reload_model();
        }
        self.settings.model = path.clone().filter(|path| Some(path) != self.default_model.as_ref());
        self.model.wanted = path;
    }

    pub(super) fn reload_model(&mut self) {
        self.model.reload += 1;
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::ReloadModel));
    }

    pub(super) fn model_changed(&mut self, path: &Path, gone: bool) {
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

    pub(super) fn trust_model(&mut self, path: PathBuf) {
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::TrustModel(path.clone())));
        self.model.pardon += 1;
        self.want_model(Some(path));
    }

    /// A missing file is there now, so that its model can be opened; or why it is not.
    pub(super) fn file_placed(&mut self, missing: MissingFile, result: Result<Copied, String>) {
        self.copying = None;
        match result {
            Ok(Copied::Whole) => self.want_model(Some(missing.model)),
            // The message that offered it is still there.
            Ok(Copied::Stopped) => {}
            Err(message) => {
                let title = format!("Could not put {} beside the model", file_name(&missing.place));
                let retry = NoticeAction::RetryModel(missing.model.clone());
                self.notify_with(title, message, vec![NoticeAction::LocateFile(missing), retry]);
            }
        }
    }

    /// A card lies beside its model now, so that the model can be opened with it; or why not.
    pub(super) fn card_saved(&mut self, model: &Path, result: Result<(), String>) {
        match result {
            Ok(()) if self.model.wanted.as_deref() == Some(model) => self.reload_model(),
            Ok(()) => {}
            Err(message) => self.notify(format!("The card of {} was not saved", file_name(model)), message),
        }
    }

    /// Back to the model that is open, if there is one.
    pub(super) fn cancel_opening(&mut self) {
        if self.model.opening {
            self.model.opening = false;
            self.model.wanted = self.model.open.as_ref().map(|model| model.path.clone());
        }
    }

    /// What the wanted model runs on: what was wished for it, else what the program was started with.
    pub(super) fn set_provider(&mut self, choice: ProviderChoice) {
        let Some(path) = &self.model.wanted else { return };
        if choice == self.model.execution.provider.choice {
            self.settings.providers.remove(path);
        } else {
            self.settings.providers.insert(path.clone(), choice);
        }
    }

    pub(super) fn execution_of(&self, model: &Path) -> Execution {
        let mut execution = self.model.execution.clone();
        if let Some(&choice) = self.settings.providers.get(model) {
            execution.provider.choice = choice;
        }
        execution
    }

    pub(super) fn model_opened(&mut self, model: Arc<OpenModel>) {
        self.model.opening = false;
        // What was said of the files as they were before is over.
        self.notices.retain(|notice| !notice.actions.contains(&NoticeAction::ReloadModel));
        for not_started in &model.not_started {
            self.notify(format!("Running on {} instead", model.provider), not_started.to_string());
        }
        // A top-k or a change that was chosen for another model means nothing for this one, nor does its comparison.
        let (path, version) = (model.path.clone(), model.version.clone());
        let offers = model.known_offers();
        let before = self.model.open.replace(model);
        if before.as_ref().is_some_and(|before| before.path != path) {
            self.top_k = None;
        }
        if before.is_none_or(|before| before.version != version) {
            self.parity.clear();
            self.changes.forget(offers);
        }
    }

    /// The model that was open before stays.
    pub(super) fn model_failed(&mut self, path: &Path, message: String, actions: Vec<NoticeAction>) {
        self.model.opening = false;
        self.updating = false;
        if self.model.wanted.as_deref() == Some(path) {
            self.model.wanted = self.model.open.as_ref().map(|model| model.path.clone());
            self.settings.model = self.model.wanted.clone().filter(|path| Some(path) != self.default_model.as_ref());
        }
        self.notify_with(format!("Could not open the model {}", file_name(path)), message, actions);
    }
}
