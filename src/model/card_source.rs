//! Finds a model's card: beside the file, in the file, or, for a plain classifier, none.

use super::{
    Channels, CropRule, Dim, GatingCard, GridCard, InputCard, InputElement, Layout, ModelCard, ModelDescription,
    ModelError, ResizeCard, ResizeFilter, ResizeRule, ValueDescription,
};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a card came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardSource {
    /// `metadata_props` of the ONNX file.
    Metadata,
    /// The file beside the model.
    Sidecar(PathBuf),
    /// There is none: the preprocessing is the usual one of ImageNet classifiers, and no routers are known. To be
    /// marked wherever results are shown.
    Assumed,
}

/// A label list of a million classes stays below this; a file beyond it is not a card.
const MAX_CARD_BYTES: u64 = 64 << 20;

/// Mean and standard deviation of ImageNet's R, G, B, which torchvision and timm use.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Where a card beside the model at `path` would lie: `model.onnx` has `model.card.json`.
#[must_use]
pub fn sidecar_path(path: &Path) -> PathBuf {
    path.with_extension("card.json")
}

impl ModelDescription {
    /// Where a card beside the model would lie.
    #[must_use]
    pub fn sidecar_path(&self) -> PathBuf {
        sidecar_path(&self.path)
    }

    /// The model's card, checked against the graph. A card beside the file wins over one in the file, so that a person
    /// can correct a card without touching the model. A classifier without a card gets an assumed one.
    ///
    /// # Errors
    /// [`ModelError::Card`] when a card is wrong, [`ModelError::NoCard`] when there is none and the graph is not plainly
    /// an image classifier.
    pub fn card(&self) -> Result<(ModelCard, CardSource), ModelError> {
        let (card, source) = if let Some(text) = self.sidecar_text()? {
            let path = self.sidecar_path();
            (parse(&text, path.clone())?, CardSource::Sidecar(path))
        } else if let Some(text) = self.metadata.get(ModelCard::METADATA_KEY) {
            (parse(text, self.path.clone())?, CardSource::Metadata)
        } else {
            (self.assumed_card()?, CardSource::Assumed)
        };
        let place = match &source {
            CardSource::Sidecar(path) => path.clone(),
            CardSource::Metadata | CardSource::Assumed => self.path.clone(),
        };
        card.check(self).map_err(|reason| ModelError::Card { place, reason })?;
        Ok((card, source))
    }

    fn sidecar_text(&self) -> Result<Option<String>, ModelError> {
        let path = self.sidecar_path();
        let wrong = |reason: String| ModelError::Card { place: path.clone(), reason };
        match path.metadata() {
            Ok(metadata) if metadata.len() > MAX_CARD_BYTES => Err(wrong("it is too large to be a card".into())),
            Ok(_) => fs::read_to_string(&path).map(Some).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// A card for a classifier that has none: one image input of fixed size, one output with a score for each class.
    fn assumed_card(&self) -> Result<ModelCard, ModelError> {
        let unclear =
            |reason: String| ModelError::NoCard { path: self.path.clone(), reason, sidecar: self.sidecar_path() };
        let required: Vec<&ValueDescription> = self.inputs.iter().filter(|input| !input.has_default).collect();
        let &[input] = required.as_slice() else {
            return Err(unclear(format!("it has {} inputs: which takes the image is not clear", required.len())));
        };
        let (layout, height, width) = image_axes(input)
            .ok_or_else(|| unclear(format!("its input {} is {input}, not an image of fixed size", input.name)))?;
        let is_scores = |value: &&ValueDescription| {
            value.element.starts_with("float") && sizes(value).is_some_and(|dims| dims.len() == 2)
        };
        let scores = self.outputs.iter().find(is_scores);
        let scores = scores.ok_or_else(|| unclear("no output is a table of class scores".into()))?;
        let size = assumed_resize(height.max(width));
        Ok(ModelCard {
            schema: ModelCard::SCHEMA.into(),
            name: self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            description: format!(
                "No model card: assumed are ImageNet's mean and deviation, the shorter side at {size} pixels and its \
                 middle {height}×{width}; no routers are known."
            ),
            license: String::new(),
            input: InputCard {
                name: input.name.clone(),
                layout,
                height,
                width,
                resize: ResizeCard { rule: ResizeRule::ShorterSide, size, filter: ResizeFilter::Bilinear },
                crop: CropRule::Center,
                mean: IMAGENET_MEAN,
                std: IMAGENET_STD,
                pad: InputCard::PAD,
                channels: Channels::Rgb,
                element: InputElement::Float32,
                batch: 1,
            },
            inputs: Vec::new(),
            top_k: None,
            logits: scores.name.clone(),
            labels: Vec::new(),
            detection: None,
            grid: GridCard::patches(1, 1),
            gating: GatingCard::default(),
            layers: Vec::new(),
            parameters: None,
        })
    }
}

/// 256 for 224 pixels, as torchvision's classifiers have it.
pub(super) fn assumed_resize(size: u32) -> u32 {
    (f64::from(size) * 256.0 / 224.0).round() as u32
}

/// The part of a card that every version has.
#[derive(Deserialize)]
struct AnyCard {
    schema: String,
}

/// A card of another version is told as such, not by the first field that differs.
fn parse(text: &str, place: PathBuf) -> Result<ModelCard, ModelError> {
    let known = match serde_json::from_str(text) {
        Ok(AnyCard { schema }) if schema != ModelCard::SCHEMA => Err(unknown_schema(&schema)),
        _ => serde_json::from_str(text).map_err(|error| error.to_string()),
    };
    known.map_err(|reason| ModelError::Card { place, reason })
}

fn unknown_schema(schema: &str) -> String {
    format!("its schema is {schema:?}, but this version reads {:?}", ModelCard::SCHEMA)
}

/// Sizes of the axes; `None` inside for any size.
fn sizes(value: &ValueDescription) -> Option<Vec<Option<usize>>> {
    value.dims.as_ref().map(|dims| dims.iter().map(Dim::size).collect())
}

/// Layout, height and width, where an input is clearly an RGB image.
fn image_axes(input: &ValueDescription) -> Option<(Layout, u32, u32)> {
    let (layout, height, width) = match sizes(input)?.as_slice() {
        // With 3 on both sides either order is possible.
        [_, Some(3), _, Some(3)] => return None,
        [_, Some(3), Some(height), Some(width)] => (Layout::Nchw, *height, *width),
        [_, Some(height), Some(width), Some(3)] => (Layout::Nhwc, *height, *width),
        _ => return None,
    };
    let size = |size| u32::try_from(size).ok();
    (input.element == "float32").then_some((layout, size(height)?, size(width)?))
}
