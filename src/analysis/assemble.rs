//! A run's named tensors become predictions and checked routing: the one place where outputs meet the model card.

use super::{Analysis, AnalysisError, LayerStats, Prediction, StageSeconds};
use crate::engine::{RunResult, Tensor, TensorData};
use crate::input::{DecodedImage, InputTensor};
use crate::model::{GridCard, LayerCard, ModelCard};
use crate::routing::{LayerRouting, PatchGrid, RoutingTrace, TopK, softmax, top_indices};
use std::sync::Arc;
use std::time::Instant;

/// Reads a run of one image by the card and computes every statistic of it. `top_k` is what the model was run with.
/// The seconds of decoding and preprocessing are left at 0 for the caller to fill in.
///
/// # Errors
/// Every [`AnalysisError`] about outputs and routing: the card and the model do not fit together.
pub fn assemble(
    card: &ModelCard,
    image: &Arc<DecodedImage>,
    tensor: &InputTensor,
    top_k: Option<usize>,
    run: &RunResult,
) -> Result<Analysis, AnalysisError> {
    let started = Instant::now();
    let logits = floats(output(run, &card.logits)?)?.to_vec();
    let predictions = predictions(&logits, &card.labels);
    let layers = card.layers.iter().map(|layer| layer_routing(layer, card.grid, run)).collect::<Result<_, _>>()?;
    let trace = RoutingTrace { layers };
    let layers = trace.layers.iter().map(LayerStats::of).collect();
    let seconds = StageSeconds {
        inference: run.run_secs,
        statistics: started.elapsed().as_secs_f64(),
        ..StageSeconds::default()
    };
    let grid = PatchGrid { rows: card.grid.rows, cols: card.grid.cols, seen: tensor.seen };
    let (image, provider) = (Arc::clone(image), run.provider);
    Ok(Analysis { image, top_k, grid, logits, predictions, trace, layers, seconds, provider })
}

/// The most probable classes, the best first; ties by the lower index, classes whose logit is NaN last.
fn predictions(logits: &[f32], labels: &[String]) -> Vec<Prediction> {
    let probabilities = softmax(logits);
    top_indices(logits, Analysis::NUM_PREDICTIONS)
        .into_iter()
        .map(|index| Prediction {
            label: labels.get(index).cloned().unwrap_or_else(|| format!("class {index}")),
            index,
            probability: probabilities[index],
        })
        .collect()
}

/// One layer's routing, without the tokens before the first patch.
fn layer_routing(layer: &LayerCard, grid: GridCard, run: &RunResult) -> Result<LayerRouting, AnalysisError> {
    let gates = output(run, &layer.gate_probs)?;
    let ids = output(run, &layer.expert_ids)?;
    let weights = output(run, &layer.combine_weights)?;
    let top_k = ids.shape.last().copied().unwrap_or(0);
    let rows = |tensor: &Tensor, columns: usize| patch_rows(tensor, grid, columns);
    Ok(LayerRouting::new(
        layer.name.as_str(),
        layer.num_experts,
        TopK::new(top_k, layer.num_experts)?,
        floats(gates)?[rows(gates, layer.num_experts)?].to_vec(),
        &integers(ids)?[rows(ids, top_k)?],
        floats(weights)?[rows(weights, top_k)?].to_vec(),
    )?)
}

/// Where the values of the patches lie in a tensor of one row per token, prefix tokens first.
fn patch_rows(tensor: &Tensor, grid: GridCard, columns: usize) -> Result<std::ops::Range<usize>, AnalysisError> {
    let patches = grid.rows * grid.cols;
    let tokens = grid.prefix_tokens + patches;
    let fits = tensor.shape.last() == Some(&columns) && tensor.shape.iter().product::<usize>() == tokens * columns;
    if fits {
        Ok(grid.prefix_tokens * columns..tokens * columns)
    } else {
        Err(AnalysisError::OutputShape {
            name: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: format!(
                "[{tokens}, {columns}]: {} × {} patches after {} other tokens",
                grid.rows, grid.cols, grid.prefix_tokens
            ),
        })
    }
}

fn output<'run>(run: &'run RunResult, name: &str) -> Result<&'run Tensor, AnalysisError> {
    run.outputs.iter().find(|tensor| tensor.name == name).ok_or_else(|| AnalysisError::MissingOutput {
        name: name.to_owned(),
        found: run.outputs.iter().map(|tensor| tensor.name.clone()).collect(),
    })
}

fn floats(tensor: &Tensor) -> Result<&[f32], AnalysisError> {
    match &tensor.data {
        TensorData::F32(values) => Ok(values),
        TensorData::I64(_) => Err(wrong_type(tensor, "int64", "float32")),
    }
}

fn integers(tensor: &Tensor) -> Result<&[i64], AnalysisError> {
    match &tensor.data {
        TensorData::I64(values) => Ok(values),
        TensorData::F32(_) => Err(wrong_type(tensor, "float32", "int64")),
    }
}

fn wrong_type(tensor: &Tensor, found: &'static str, expected: &'static str) -> AnalysisError {
    AnalysisError::OutputType { name: tensor.name.clone(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Provider;
    use crate::input::ImageSource;
    use crate::model::{Channels, CropRule, InputCard, InputElement, Layout, ResizeCard, ResizeFilter, ResizeRule};
    use crate::routing::{ExpertIdx, PatchIdx, PixelRect};

    /// A model of one layer with 2 experts over a 1 × 2 grid behind one class token, and 3 classes with one label.
    fn card() -> ModelCard {
        ModelCard {
            schema: ModelCard::SCHEMA.to_owned(),
            name: "tiny".to_owned(),
            description: String::new(),
            license: String::new(),
            input: InputCard {
                name: "image".to_owned(),
                layout: Layout::Nchw,
                height: 1,
                width: 2,
                resize: ResizeCard { rule: ResizeRule::Stretch, size: 1, filter: ResizeFilter::Bilinear },
                crop: CropRule::None,
                mean: [0.0; 3],
                std: [1.0; 3],
                pad: InputCard::PAD,
                channels: Channels::Rgb,
                element: InputElement::Float32,
                batch: 1,
            },
            inputs: Vec::new(),
            top_k: None,
            logits: "logits".to_owned(),
            labels: vec!["zero".to_owned()],
            detection: None,
            grid: GridCard { prefix_tokens: 1, ..GridCard::patches(1, 2) },
            gating: crate::model::GatingCard::default(),
            layers: vec![LayerCard::of_tensors("layer", 2, ["gates", "ids", "weights"])],
            parameters: None,
        }
    }

    fn f32s(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
        Tensor { name: name.to_owned(), shape: shape.to_vec(), data: TensorData::F32(values.into()) }
    }

    fn ids(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor { name: "ids".to_owned(), shape: shape.to_vec(), data: TensorData::I64(values.into()) }
    }

    fn outputs() -> Vec<Tensor> {
        vec![
            f32s("logits", &[1, 3], &[0.0, 0.0, f32::NAN]),
            f32s("gates", &[3, 2], &[0.5, 0.5, 0.25, 0.75, 1.0, 0.0]),
            ids(&[3, 1], &[0, 1, 0]),
            f32s("weights", &[3, 1], &[0.5, 0.75, 1.0]),
        ]
    }

    fn check(outputs: Vec<Tensor>) -> Result<Analysis, AnalysisError> {
        let source = ImageSource::Clipboard(1);
        let image = Arc::new(DecodedImage { source, width: 2, height: 1, rgba: Arc::new([0; 8]) });
        let seen = PixelRect { x: 0.0, y: 0.0, width: 2.0, height: 1.0 };
        let tensor = InputTensor { shape: [1, 3, 1, 2], data: Arc::new([0.0; 6]), seen };
        let run = RunResult { outputs, run_secs: 0.5, provider: Provider::Cpu };
        assemble(&card(), &image, &tensor, Some(1), &run)
    }

    #[test]
    fn prefix_tokens_are_dropped_from_every_tensor() {
        let analysis = check(outputs()).unwrap();
        let layer = &analysis.trace.layers[0];
        assert_eq!((layer.num_tokens(), layer.experts()), (2, &[ExpertIdx(1), ExpertIdx(0)][..]));
        assert_eq!((layer.gate_probs_of(PatchIdx(0)), layer.weights()), (&[0.25, 0.75][..], &[0.75, 1.0][..]));
        assert_eq!(analysis.layers[0].balance.load, [1, 1]);
        assert_eq!(analysis.seconds.inference, 0.5);
    }

    #[test]
    fn classes_without_a_number_come_last_and_without_a_label_are_numbered() {
        let analysis = check(outputs()).unwrap();
        let labels: Vec<&str> = analysis.predictions.iter().map(|prediction| prediction.label.as_str()).collect();
        assert_eq!(labels, ["zero", "class 1", "class 2"]);
        let mut numbers = outputs();
        numbers[0] = f32s("logits", &[1, 6], &[1.0, 3.0, 3.0, 2.0, 0.0, -1.0]);
        let predictions = check(numbers).unwrap().predictions;
        let indices: Vec<usize> = predictions.iter().map(|prediction| prediction.index).collect();
        assert_eq!(indices, [1, 2, 3, 0, 4]);
        // e³ / (e + 2 e³ + e² + 1 + e⁻¹)
        assert!((predictions[0].probability - 0.388_906).abs() < 1e-5, "{}", predictions[0].probability);
    }

    #[test]
    fn outputs_that_do_not_fit_the_card_are_named() {
        for (at, tensor, words) in [
            (
                0,
                f32s("scores", &[1, 3], &[0.0; 3]),
                "names the output \"logits\", but the model gave only scores, gates",
            ),
            (1, f32s("gates", &[2, 2], &[0.5; 4]), "\"gates\" has shape [2, 2]; the model card needs [3, 2]: 1 × 2"),
            (1, f32s("gates", &[2, 3], &[0.5; 6]), "has shape [2, 3]"),
            (2, ids(&[], &[0]), "top-k must be between 1 and 2, not 0"),
            (2, ids(&[3, 3], &[0; 9]), "top-k must be between 1 and 2, not 3"),
            (2, ids(&[3, 1], &[0, 2, 0]), "chose expert 2, but the layer has 2 experts"),
            (2, f32s("ids", &[3, 1], &[0.0; 3]), "holds float32; the model card needs int64"),
            (3, f32s("weights", &[3, 2], &[0.5; 6]), "has shape [3, 2]; the model card needs [3, 1]"),
        ] {
            let mut outputs = outputs();
            outputs[at] = tensor;
            let text = check(outputs).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }
}
