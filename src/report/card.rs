//! Writes a model card beside its model, so that what a person corrected is there the next time.

use super::write_whole;
use crate::model::{ModelCard, ModelDescription};
use std::io::Write;
use std::path::PathBuf;

/// Why a card was not saved. What lay beside the model before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SaveCardError {
    /// It does not fit the model.
    #[error("the model card is not saved, because it does not fit the model: {0}")]
    Unfit(String),
    /// The file cannot be written.
    #[error("{} cannot be written: {reason}. Allow writing to that folder, or copy the model to another one", .path.display())]
    Write {
        /// Where the card would lie.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Saves `card` as the sidecar of the model, in the place of one that is there; gives its path.
///
/// # Errors
/// [`SaveCardError`]; the file appears whole or not at all.
pub fn save_card(model: &ModelDescription, card: &ModelCard) -> Result<PathBuf, SaveCardError> {
    card.check(model).map_err(SaveCardError::Unfit)?;
    let path = model.sidecar_path();
    let written = write_whole(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, card)?;
        Ok(out.write_all(b"\n")?)
    });
    match written {
        Ok(()) => Ok(path),
        Err(error) => Err(SaveCardError::Write { path, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CardSource, GridCard, LayerCard, TokenLayout, TokenOrder, read_model};
    use std::fs;
    use std::path::Path;

    #[test]
    fn a_saved_card_is_read_instead_of_the_models_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_moe.onnx"), &path).unwrap();
        let model = read_model(&path).unwrap();
        let (mut card, _) = model.card().unwrap();
        let order = TokenOrder::Windows { rows: 1, cols: 2, shift_rows: 1, shift_cols: 0 };
        card.layers[0].grid = Some(GridCard { order, suffix_tokens: 3, ..GridCard::patches(2, 2) });
        card.layers[1] =
            LayerCard { router: Some("layer1".into()), tokens: TokenLayout::Image, ..card.layers[1].clone() };
        let saved = save_card(&model, &card).unwrap();
        assert_eq!(saved, folder.path().join("model.card.json"));
        assert_eq!(model.card(), Ok((card.clone(), CardSource::Sidecar(saved.clone()))));

        // Again, in the place of the first; one that does not fit leaves it as it is.
        card.name = "Another".into();
        save_card(&model, &card).unwrap();
        let wrong = ModelCard { name: String::new(), ..card.clone() };
        assert!(save_card(&model, &wrong).unwrap_err().to_string().contains("name is empty"));
        assert_eq!(model.card().unwrap().0, card);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "nothing else is left behind");
    }

    #[test]
    fn a_folder_that_is_gone_is_named() {
        let model =
            read_model(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_moe.onnx")).unwrap();
        let (card, _) = model.card().unwrap();
        let gone = ModelDescription { path: "no/such/folder/model.onnx".into(), ..model };
        let told = save_card(&gone, &card).unwrap_err().to_string();
        assert!(told.contains("model.card.json cannot be written") && told.contains("Allow writing"), "{told}");
    }
}
