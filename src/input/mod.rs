//! An image file becomes pixels, and pixels become a model's input tensor.

mod decode;
mod error;
mod jpeg;
mod orientation;
mod preprocess;
mod samples;
mod sniff;

pub use decode::{MAX_PIXELS, decode_bytes, decode_file, decode_sample};
pub use error::InputError;
pub use preprocess::preprocess;
pub use samples::{SAMPLES, Sample};

use crate::routing::PixelRect;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an image came from; also its name on screen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A file.
    File(PathBuf),
    /// A sample that is built into the program, by its identifier.
    Sample(&'static str),
    /// Pasted from the clipboard: the n-th of this session.
    Clipboard(u32),
}

/// A decoded image, upright (EXIF orientation applied), 8-bit RGBA with straight alpha, rows from top to bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedImage {
    /// Where it came from.
    pub source: ImageSource,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// `width * height * 4` bytes.
    pub rgba: Arc<[u8]>,
}

/// What a model is fed, and which part of the image that was.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor {
    /// [batch, 3, height, width] or [batch, height, width, 3], as the card says; batch is 1 where the graph allows it.
    pub shape: [usize; 4],
    /// The values, row-major.
    pub data: Arc<[f32]>,
    /// What the model sees, in pixels of the [`DecodedImage`]: a part of it, or with a letterbox more than it.
    pub seen: PixelRect,
}

impl ImageSource {
    /// The name that messages and reports use.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Sample(id) => format!("sample {id}"),
            Self::Clipboard(number) => format!("pasted image {number}"),
        }
    }
}
