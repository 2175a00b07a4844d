//! What is done with untrusted bytes before ONNX Runtime sees them. `cargo fuzz` calls it with nightly Rust for as long
//! as one likes, `tests/fuzz.rs` with stable Rust for some seconds.

use bytes::Bytes;
use moescope::model::geometry::guess_in;
use moescope::model::graph::Indexed;
use moescope::model::routers::routers_in;
use moescope::model::{InstrumentPlan, ModelDescription, decode_model, describe_model, instrument, read_model};
use std::path::Path;

/// Bytes of a model file: read, checked, described, its card and its routers found, those edited, its geometry guessed.
/// Whatever they are, that ends with a result.
pub fn model(bytes: &[u8]) {
    let (nowhere, bytes) = (Path::new("/nowhere/model.onnx"), Bytes::copy_from_slice(bytes));
    match decode_model(nowhere, &bytes) {
        Ok(model) => {
            let indexed = Indexed::new(&model);
            let routers = routers_in(&indexed);
            let description = ModelDescription::of(nowhere, bytes.len() as u64, &model);
            let _ = guess_in(&description, &indexed, &routers);
            let shown = routers.routers.iter().flat_map(|router| {
                [&router.tensors.expert_ids, &router.tensors.combine_weights].into_iter().flatten().cloned()
            });
            let plan = InstrumentPlan::everything(shown.collect());
            let _ = instrument(&indexed, &bytes, nowhere, &routers, &plan);
        }
        Err(error) => assert!(error.to_string().len() < 16_384, "a message that nobody can read"),
    }
    if let Ok(description) = describe_model(nowhere, &bytes) {
        let _ = description.unsupported();
        let _ = description.card();
    }
}

/// Text of a model card, put into a small model; `root` is the folder of the repository.
pub fn card(root: &str, text: &str) {
    let fixture = Path::new(root).join("tests/fixtures/models/tiny_moe.onnx");
    let Ok(mut description) = read_model(&fixture) else { return };
    description.metadata.insert(moescope::model::ModelCard::METADATA_KEY.into(), text.into());
    let _ = description.card();
}
