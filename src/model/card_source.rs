//! Finds a model's card: beside the file, in the file, or, where there is none, in what the graph says.

use super::geometry::{Geometry, Reason, guess_in};
use super::graph::Indexed;
use super::proto::ModelProto;
use super::routers::RouterReport;
use super::text_file::read_text;
use super::{ModelCard, ModelDescription, ModelError};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// Where a card came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardSource {
    /// `metadata_props` of the ONNX file.
    Metadata,
    /// The file beside the model.
    Sidecar(PathBuf),
    /// There is none: it was guessed from the graph, and what that does not tell was assumed. To be marked wherever
    /// results are shown.
    Assumed,
}

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

    /// The card that came with the model, checked against the graph. A card beside the file wins over one in the file, so
    /// that a person can correct a card without touching the model.
    ///
    /// # Errors
    /// [`ModelError::Card`] when a card is wrong, [`ModelError::NoCard`] when there is none.
    pub fn card(&self) -> Result<(ModelCard, CardSource), ModelError> {
        let (card, source) = self.given_card()?.ok_or_else(|| ModelError::NoCard {
            path: self.path.clone(),
            reason: "nothing was to be guessed".into(),
            sidecar: self.sidecar_path(),
        })?;
        self.checked(card, source)
    }

    /// The same, or for a model that came without a card one that is guessed from its graph, with what its fields rest on;
    /// of a card that was given, those that nobody looked at yet.
    /// `model` is the file's content, and `routers` what was found in it.
    ///
    /// # Errors
    /// [`ModelError::Card`] when a card is wrong, [`ModelError::NoCard`] when there is none and the graph does not say
    /// how it is fed an image.
    pub fn card_or_guess(
        &self,
        model: &ModelProto,
        routers: &RouterReport,
    ) -> Result<(ModelCard, CardSource, Vec<Reason>), ModelError> {
        self.card_or_guess_in(&Indexed::new(model), routers)
    }

    /// The same for a model whose graph is indexed already.
    ///
    /// # Errors
    /// Those of [`card_or_guess`](Self::card_or_guess).
    pub fn card_or_guess_in(
        &self,
        model: &Indexed<'_>,
        routers: &RouterReport,
    ) -> Result<(ModelCard, CardSource, Vec<Reason>), ModelError> {
        if let Some((card, source)) = self.given_card()? {
            let reasons = card.assumed.clone();
            return self.checked(card, source).map(|(card, source)| (card, source, reasons));
        }
        let Geometry { card, reasons } = guess_in(self, model, routers)?;
        self.checked(card, CardSource::Assumed).map(|(card, source)| (card, source, reasons))
    }

    fn given_card(&self) -> Result<Option<(ModelCard, CardSource)>, ModelError> {
        if let Some(text) = self.sidecar_text()? {
            let path = self.sidecar_path();
            return Ok(Some((parse(&text, path.clone())?, CardSource::Sidecar(path))));
        }
        let text = self.metadata.get(ModelCard::METADATA_KEY);
        text.map(|text| Ok((parse(text, self.path.clone())?, CardSource::Metadata))).transpose()
    }

    fn checked(&self, card: ModelCard, source: CardSource) -> Result<(ModelCard, CardSource), ModelError> {
        let checked = card.check(self).map_err(|reason| match &source {
            CardSource::Sidecar(path) => ModelError::Card { place: path.clone(), reason },
            CardSource::Metadata => ModelError::Card { place: self.path.clone(), reason },
            CardSource::Assumed => ModelError::NoCard {
                path: self.path.clone(),
                reason: format!("what its graph says is not enough: {reason}"),
                sidecar: self.sidecar_path(),
            },
        });
        checked.map(|()| (card, source))
    }

    fn sidecar_text(&self) -> Result<Option<String>, ModelError> {
        let path = self.sidecar_path();
        match read_text(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ModelError::Card { place: path, reason: error.to_string() }),
        }
    }
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
