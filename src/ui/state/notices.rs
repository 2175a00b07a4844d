//! Messages, and what each offers to do about it.

use crate::ui::command::Command;
use std::path::PathBuf;

/// A message that stays until it is dismissed: what went wrong, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What could not be done, in a few words.
    pub title: String,
    /// Why, and what to do next.
    pub details: String,
    /// What buttons on the message do, the most likely first.
    pub actions: Vec<NoticeAction>,
}

/// What a message offers to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeAction {
    /// Open the model anew.
    ReloadModel,
    /// Open a model in spite of what it did.
    TrustModel(PathBuf),
    /// Have a copy of a missing file put where it has to be.
    LocateFile(MissingFile),
    /// Open a model that could not be opened before.
    RetryModel(PathBuf),
}

/// A file that a model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFile {
    /// The model.
    pub model: PathBuf,
    /// Where the file has to be.
    pub place: PathBuf,
}

impl NoticeAction {
    /// Text of the button.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::ReloadModel => "Reload",
            Self::TrustModel(_) | Self::RetryModel(_) => "Try again",
            Self::LocateFile(_) => "Locate…",
        }
    }

    /// What a click does, in one sentence.
    #[must_use]
    pub fn explanation(&self) -> String {
        match self {
            Self::ReloadModel => "Open the file as it is now".to_owned(),
            Self::TrustModel(_) => "Open the model in spite of what it did".to_owned(),
            Self::RetryModel(_) => "Open the model again, when the file is where it has to be".to_owned(),
            Self::LocateFile(MissingFile { place, .. }) => format!(
                "Choose the file: a copy of it is put beside the model, as {}, because a model may read nothing else",
                place.display()
            ),
        }
    }

    /// What a click sends.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::ReloadModel => Command::ReloadModel,
            Self::TrustModel(path) => Command::TrustModel(path.clone()),
            Self::RetryModel(path) => Command::OpenModel(path.clone()),
            Self::LocateFile(missing) => Command::ShowLocateDialog(missing.clone()),
        }
    }
}
