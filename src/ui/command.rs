//! Everything that a person can ask of the window, as plain data. Panels send commands; only the state applies them.

use super::state::{MissingFile, OverlayKind, Sheet, Side};
use super::waker::Waker;
use crate::analysis::{ImageId, OpenModel};
use crate::engine::{Execution, ProviderChoice};
use crate::input::DecodedImage;
use crate::model::ModelCard;
use crate::model::geometry::PlacedGate;
use crate::report::{Copied, CopyProgress};
use crate::routing::{ExpertIdx, LayerIdx, PatchIdx, SlotIdx};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// One wish of the person in front of the window.
#[derive(Clone, Debug)]
pub enum Command {
    /// Show the dialog that opens images.
    ShowImageDialog,
    /// Show the dialog that opens a model.
    ShowModelDialog,
    /// Open files: `.onnx` as the model, everything else as images.
    OpenPaths(Vec<PathBuf>),
    /// Open a bundled sample by its identifier.
    OpenSample(&'static str),
    /// Open a model, whatever its file is called.
    OpenModel(PathBuf),
    /// Open the bundled model again.
    OpenDefaultModel,
    /// Open the model anew, as its files are now.
    ReloadModel,
    /// Open a model that ended its process too often.
    TrustModel(PathBuf),
    /// Show the dialog that asks for a file which a model needs.
    ShowLocateDialog(MissingFile),
    /// Put a copy of this file where a model needs it.
    PlaceFile(MissingFile, PathBuf),
    /// How far that is.
    FileCopied(MissingFile, CopyProgress),
    /// Stop it.
    StopCopy,
    /// A copy was put there, or could not be.
    FilePlaced(MissingFile, Result<Copied, String>),
    /// Show the dialog that asks for a file with names of classes, for the card of a model.
    ShowLabelsDialog(PathBuf, LabelsOf),
    /// Names of classes for the card of a model were read, or why not.
    LabelsRead(PathBuf, LabelsOf, Result<Vec<String>, String>),
    /// Write a card beside its model, to be used from then on.
    SaveCard(Arc<OpenModel>, Box<ModelCard>),
    /// The card of a model was written, or why not.
    CardSaved(PathBuf, Result<(), String>),
    /// List the tensors of a model that may be gates of routers.
    ListGates(Arc<OpenModel>),
    /// The tensors of a model that may be gates, the likeliest first, or why they cannot be listed.
    GatesListed(Arc<OpenModel>, Result<Arc<Vec<PlacedGate>>, String>),
    /// Stop opening a model and stay with the one that is open.
    CancelOpening,
    /// Choose what the wanted model runs on.
    SetProvider(ProviderChoice),
    /// Open pixels from the clipboard.
    Paste(Arc<DecodedImage>),
    /// Show an opened image.
    SelectImage(ImageId),
    /// Show the image so many places further in the list.
    StepImage(isize),
    /// Take an image off the list.
    CloseImage(ImageId),
    /// Show a layer.
    SelectLayer(LayerIdx),
    /// Show the layer so many places further.
    StepLayer(isize),
    /// Show the layers of a task, and of them the one in the place of the layer on screen.
    SelectTask(usize),
    /// Show the task so many places further, around the ends.
    StepTask(isize),
    /// Choose what the heatmap shows.
    SetOverlay(OverlayKind),
    /// Choose the rank, the expert or the slot of an expert that the heatmap shows, counted from 0.
    SetOverlayIndex(usize),
    /// Choose the slot that the heatmap shows.
    SelectSlot(SlotIdx),
    /// Choose the slot so many places further, over the slots of all experts.
    StepSlot(isize),
    /// Opacity of the heatmap, 0 to 1.
    SetOpacity(f32),
    /// Show or hide the heatmap.
    ToggleOverlay,
    /// Show or hide the patch grid.
    ToggleGrid,
    /// Show or hide what the model saw.
    ToggleCrop,
    /// Fit the whole image into its pane.
    FitImage,
    /// One pixel of the image is one pixel of the screen.
    ZoomToPixels,
    /// Run the model with another top-k.
    SetTopK(usize),
    /// Run the model with a top-k that is so much larger.
    StepTopK(isize),
    /// Ban an expert of the layer on screen, or allow it again: the model is run with it.
    ToggleBan(ExpertIdx),
    /// The same with the expert that is lit.
    ToggleBanOfLit,
    /// Leave a rank of the layer on screen out, counted from 0, or take it in again.
    ToggleRank(usize),
    /// Run the model with its own routing again; its top-k stays.
    ResetRouting,
    /// Only this expert's patches stay lit; the same expert again lights all.
    LightExpert(ExpertIdx),
    /// Keep a patch in the inspector.
    Pin(PatchIdx),
    /// Pin the patch so many rows and columns further; the middle one if none is pinned.
    MovePin {
        /// Rows down.
        rows: isize,
        /// Columns to the right.
        cols: isize,
    },
    /// Nothing is pinned or lit any more.
    ClearSelection,
    /// Compare the CPU with something else on the open images.
    StartParity(Execution),
    /// Stop the comparison that runs.
    StopParity,
    /// Show a layer and pin a patch there.
    ShowPatch {
        /// The layer.
        layer: LayerIdx,
        /// The patch.
        patch: PatchIdx,
    },
    /// Open or close a side panel of a narrow window.
    ToggleSide(Side),
    /// Light, dark, or as the system says.
    SetTheme(egui::ThemePreference),
    /// Scale of the whole window, 1 is 100 %.
    SetZoom(f32),
    /// Open or close a sheet; one that is open already makes room.
    ToggleSheet(Sheet),
    /// Take a message off the screen.
    DismissNotice(usize),
    /// Copy a text to the clipboard.
    CopyText(String),
    /// Copy what the window shows to the clipboard, as a picture.
    CopyView,
    /// End the program.
    Quit,
}

/// What the names of classes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelsOf {
    /// What the model takes the image for.
    Classes,
    /// The boxes of a detector.
    Boxes,
}

/// Where panels put their commands; they are applied before the next frame.
#[derive(Clone)]
pub struct CommandSender {
    sender: Sender<Command>,
    waker: Waker,
}

impl CommandSender {
    /// Commands go to `sender`, and `waker`'s window draws the next frame.
    #[must_use]
    pub fn new(sender: Sender<Command>, waker: Waker) -> Self {
        Self { sender, waker }
    }

    /// Sends a command. May be called from any thread.
    pub fn send(&self, command: Command) {
        // The receiver lives as long as the window; after that nobody can see the effect.
        if self.sender.send(command).is_ok() {
            self.waker.wake();
        }
    }
}
