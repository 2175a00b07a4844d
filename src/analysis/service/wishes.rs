//! What is asked of the worker and what it tells: plain data.

use super::super::{Analysis, LayerOffer, OpenModel, RoutingChange, Setting};
use crate::engine::Execution;
use crate::input::{DecodedImage, InputError, decode_file, decode_sample};
use std::path::PathBuf;
use std::sync::Arc;

/// Names an image of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u64);

/// Names one result of this session; also the key under which the GPU keeps its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutcomeId(pub u64);

/// How the pixels of an image are obtained.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSpec {
    /// From a file.
    File(PathBuf),
    /// From a sample that is built in, by its identifier.
    Sample(&'static str),
    /// They are there already (pasted).
    Decoded(Arc<DecodedImage>),
}

impl ImageSpec {
    /// Its pixels.
    ///
    /// # Errors
    /// Why a file is no image that can be shown.
    pub(in crate::analysis) fn decode(&self) -> Result<Arc<DecodedImage>, InputError> {
        match self {
            Self::File(path) => decode_file(path).map(Arc::new),
            Self::Sample(sample) => decode_sample(sample).map(Arc::new),
            Self::Decoded(decoded) => Ok(Arc::clone(decoded)),
        }
    }
}

/// The whole state that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The model; `None` shows the image alone.
    pub model: Option<ModelWish>,
    /// The image; `None` only opens the model.
    pub image: Option<(ImageId, ImageSpec)>,
    /// How the model is run. A top-k outside of the model's range is clamped. With a change the model is run without it as
    /// well, so that the two can be compared.
    pub setting: Setting,
    /// Also run the other values of top-k that [`compared_top_ks`] names.
    pub compare: bool,
}

/// A model, and how it shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelWish {
    /// The ONNX file.
    pub path: PathBuf,
    /// On what.
    pub execution: Execution,
    /// Counts how often the model was asked for again: another number opens it anew if its files have changed.
    pub reload: u64,
    /// Counts how often a person asked to open it in spite of what it did: another number lets it out of quarantine.
    pub pardon: u64,
}

/// One result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Unique in this session.
    pub id: OutcomeId,
    /// The image.
    pub image: ImageId,
    /// The model.
    pub model: Arc<OpenModel>,
    /// What came out.
    pub analysis: Arc<Analysis>,
}

/// What the worker tells the window.
#[derive(Clone, Debug)]
pub enum Event {
    /// A model is being opened.
    ModelOpening(PathBuf),
    /// A model is open and ready.
    ModelOpened(Arc<OpenModel>),
    /// A model could not be opened; the one before stays.
    ModelFailed {
        /// The file.
        path: PathBuf,
        /// Whether it waits for a person to trust it; see [`ModelWish::pardon`].
        quarantined: bool,
        /// Where a file of weights has to be put for the model to open, where that is all that is missing.
        missing: Option<PathBuf>,
        /// What, why, and what to do next.
        message: String,
    },
    /// The files of the open model are not what was opened. It goes on as it was opened until it is asked for again.
    ModelChanged {
        /// The file.
        path: PathBuf,
        /// Whether it is no longer there.
        gone: bool,
    },
    /// The pixels of an image are there.
    ImageDecoded {
        /// Which image.
        image: ImageId,
        /// Its pixels.
        decoded: Arc<DecodedImage>,
    },
    /// An image could not be read or fed to the model.
    ImageFailed {
        /// Which image.
        image: ImageId,
        /// What, why, and what to do next.
        message: String,
    },
    /// What can be changed about the routing of the open model is known now.
    Offers {
        /// The model, with its controls: its card may have a k to set now.
        model: Arc<OpenModel>,
        /// For each of its layers.
        offers: Arc<[LayerOffer]>,
    },
    /// The routing cannot be changed as it was wished.
    ChangeRefused {
        /// The wish.
        change: RoutingChange,
        /// What, why, and what to do next.
        message: String,
    },
    /// A run finished, or its result was still there.
    Analysed(Outcome),
    /// The run of the model failed.
    RunFailed {
        /// Whether the model waits for a person to trust it; see [`ModelWish::pardon`].
        quarantined: bool,
        /// What, why, and what to do next.
        message: String,
    },
    /// Everything of the latest wish is done.
    Idle,
}

/// The values of top-k that stand side by side: 1, 2, 4 and the largest.
#[must_use]
pub fn compared_top_ks(max: usize) -> Vec<usize> {
    let mut top_ks: Vec<usize> = [1, 2, 4].into_iter().filter(|&k| k < max).collect();
    top_ks.push(max);
    top_ks
}
