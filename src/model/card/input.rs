//! The part of the model card about the image input: what the model is fed, and how it is made from an image.

use serde::{Deserialize, Serialize};

/// The image input and its preprocessing: `x = (byte / 255 − mean) / std` after resize and crop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputCard {
    /// Name of the graph input.
    pub name: String,
    /// Order of the axes.
    pub layout: Layout,
    /// Height in pixels that the model takes.
    pub height: u32,
    /// Width in pixels that the model takes.
    pub width: u32,
    /// How the image is scaled first.
    pub resize: ResizeCard,
    /// How the scaled image is cut to `height` × `width`.
    pub crop: CropRule,
    /// Mean of each of R, G, B, in fractions of 255.
    pub mean: [f32; 3],
    /// Standard deviation of each of R, G, B, in fractions of 255; 1/255 (with a mean of 0) for values of 0 to 255.
    pub std: [f32; 3],
    /// The byte that fills what the image leaves free (with [`ResizeRule::LongerSide`]).
    #[serde(default = "default_pad")]
    pub pad: u8,
    /// Order of the colours.
    #[serde(default)]
    pub channels: Channels,
    /// Element type of the graph input.
    #[serde(default)]
    pub element: InputElement,
    /// How many images the graph takes at once, where that is fixed; it is fed the same image as often.
    #[serde(default = "default_batch")]
    pub batch: usize,
}

/// The grey of YOLO's letterbox.
fn default_pad() -> u8 {
    InputCard::PAD
}

fn default_batch() -> usize {
    1
}

impl InputCard {
    /// The grey that YOLO's letterbox has.
    pub const PAD: u8 = 114;
}

/// Order of the colours of the image input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channels {
    /// Red first.
    #[default]
    #[serde(rename = "RGB")]
    Rgb,
    /// Blue first, as OpenCV and Caffe have it.
    #[serde(rename = "BGR")]
    Bgr,
}

/// Element type of the image input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputElement {
    /// 32-bit floats.
    #[default]
    Float32,
    /// 16-bit floats.
    Float16,
    /// Bytes; goes with a mean of 0 and a standard deviation of 1/255.
    Uint8,
}

/// Order of the axes of the image input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// `[batch, 3, height, width]`
    #[serde(rename = "NCHW")]
    Nchw,
    /// `[batch, height, width, 3]`
    #[serde(rename = "NHWC")]
    Nhwc,
}

/// How the image is scaled before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResizeCard {
    /// Which side becomes `size`.
    pub rule: ResizeRule,
    /// Pixels.
    pub size: u32,
    /// Interpolation; antialiased when shrinking, as Pillow does it.
    pub filter: ResizeFilter,
}

/// Which side becomes [`ResizeCard::size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRule {
    /// The shorter side becomes `size`, the other follows the aspect ratio (rounded).
    ShorterSide,
    /// Both sides become the model's input size; the aspect ratio is lost.
    Stretch,
    /// As large as fits into the model's input, in the middle of [`InputCard::pad`] (letterbox); `size` has no effect.
    LongerSide,
}

/// Interpolation, antialiased when shrinking, as Pillow does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// Triangle filter.
    Bilinear,
    /// Catmull-Rom (a = −0.5), Pillow's BICUBIC.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// How the scaled image is cut to the model's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropRule {
    /// The middle; offset `floor((size − crop) / 2)`.
    Center,
    /// Nothing is cut (with [`ResizeRule::Stretch`] and [`ResizeRule::LongerSide`]).
    None,
}
