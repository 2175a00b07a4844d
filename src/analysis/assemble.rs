//! A run's named tensors become predictions and checked routing: the one place where outputs meet the model card.

use super::detections::detections;
use super::places::placed;
use super::{
    Analysis, AnalysisError, LayerPlace, LayerRecipe, LayerSource, LayerStats, Prediction, ReadingError, Setting,
    ShownLayer, StageSeconds, TokenCount,
};
use crate::engine::{RunResult, Tensor, TensorData};
use crate::input::{DecodedImage, InputTensor};
use crate::model::{GridCard, LayerCard, ModelCard, TokenLayout};
use crate::routing::{LayerRouting, PixelRect, RoutingTrace, TopK, softmax, top_indices};
use std::sync::Arc;
use std::time::Instant;

/// How many ranks of a layer have a say, of how many that its router fills; `None` where those are all.
pub(super) type UsedRanks = Option<(usize, usize)>;

/// Reads a run of one image by the card and computes every statistic of it. `layers` are the model's, `setting` is what it
/// was run with; its k is none where the model has none to set. The seconds of decoding and preprocessing are left at 0 for the
/// caller to fill in.
///
/// A layer that the card declares has to be as declared. One that was found in a graph may turn out to be unreadable: it is
/// left out, and [`Analysis::unreadable`] says why.
///
/// # Errors
/// Every [`AnalysisError`] about outputs and routing: the card and the model do not fit together.
pub(super) fn assemble<'l>(
    card: &ModelCard,
    layers: impl Iterator<Item = (&'l ShownLayer, UsedRanks)>,
    image: &Arc<DecodedImage>,
    tensor: &InputTensor,
    Setting { top_k, change }: Setting,
    run: &RunResult,
) -> Result<Analysis, AnalysisError> {
    let started = Instant::now();
    let mut read = ReadLayers::default();
    let logits = class_logits(card, run)?.unwrap_or_else(|reason| {
        read.unreadable.push(reason);
        Vec::new()
    });
    let predictions = predictions(&logits, &card.labels);
    for (source, (layer, ranks)) in layers.enumerate() {
        read.add(card, (source, layer), (tensor.seen, top_k, ranks), run)?;
    }
    let mut detected = Vec::new();
    if let Some(detection) = &card.detection {
        match detections(detection, &card.input, tensor.seen, run) {
            Ok(found) => detected = found,
            Err(error) => read.unreadable.push(error.to_string()),
        }
    }
    let ReadLayers { routings, places, unreadable } = read;
    let trace = RoutingTrace { layers: routings };
    let layers = trace.layers.iter().map(LayerStats::of).collect();
    let seconds = StageSeconds {
        inference: run.run_secs,
        statistics: started.elapsed().as_secs_f64(),
        ..StageSeconds::default()
    };
    let (image, provider, seen) = (Arc::clone(image), run.provider, tensor.seen);
    Ok(Analysis {
        image,
        top_k,
        change,
        seen,
        logits,
        predictions,
        detections: detected,
        trace,
        layers,
        places,
        unreadable,
        seconds,
        provider,
    })
}

/// The logits of the first image; none for a model that classifies nothing. The reason why they are none is given where
/// what came is no row of scores for each image, which the graph does not always tell beforehand.
fn class_logits(card: &ModelCard, run: &RunResult) -> Result<Result<Vec<f32>, String>, AnalysisError> {
    if card.logits.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let tensor = output(run, &card.logits)?;
    let (logits, batch) = (floats(tensor)?, card.input.batch.max(1));
    let of_image = if batch == 1 { Some(tensor.shape.as_slice()) } else { tensor.shape.strip_prefix(&[batch]) };
    // Axes of 1 tell nothing; two others are a map or a sequence.
    let is_row = of_image.is_some_and(|sizes| sizes.iter().filter(|&&size| size != 1).count() <= 1);
    Ok(if is_row {
        Ok(logits[..logits.len() / batch].to_vec())
    } else {
        Err(format!("{} is {:?}: no row of class scores for each image", tensor.name, tensor.shape))
    })
}

/// The layers of one run, as they are read.
#[derive(Default)]
struct ReadLayers {
    routings: Vec<LayerRouting>,
    places: Vec<LayerPlace>,
    unreadable: Vec<String>,
}

impl ReadLayers {
    fn add(
        &mut self,
        card: &ModelCard,
        (source, layer): (usize, &ShownLayer),
        (seen, top_k, ranks): (PixelRect, Option<usize>, UsedRanks),
        run: &RunResult,
    ) -> Result<(), AnalysisError> {
        let (layout, grid) = (layer.card.tokens, card.grid_of(&layer.card));
        let routings = match &layer.source {
            LayerSource::Declared => vec![declared(&layer.card, layout, grid, card.input.batch, run)?],
            // The k of a layer that a person chose is that person's.
            LayerSource::Read(recipe) => match read(
                &recipe.at(top_k.filter(|_| !layer.card.chosen_by_hand)),
                layout,
                grid,
                card.input.batch,
                run,
            ) {
                Ok(routings) => routings,
                Err(error) => {
                    self.unreadable.push(format!("{}: {error}", recipe.name));
                    return Ok(());
                }
            },
        };
        for routing in routings {
            let (routing, tokens) = placed(with_ranks(routing, ranks), layout, grid, seen);
            self.routings.push(routing);
            self.places.push(LayerPlace { tokens, source });
        }
        Ok(())
    }
}

/// Where the graph fills every rank whatever k is, those that k leaves out are no choices of the model.
fn with_ranks(routing: LayerRouting, ranks: UsedRanks) -> LayerRouting {
    // The columns of several heads side by side are no ranks.
    let used = ranks.filter(|&(_, filled)| routing.top_k() == filled);
    match used.map(|(used, _)| TopK::new(used, routing.num_experts())) {
        Some(Ok(used)) => routing.first_ranks(used),
        _ => routing,
    }
}

/// A layer of any layout. Tokens that are not those of the grid are shown without a place rather than not at all.
fn read(
    recipe: &LayerRecipe,
    layout: TokenLayout,
    grid: &GridCard,
    batch: usize,
    run: &RunResult,
) -> Result<Vec<LayerRouting>, ReadingError> {
    let per_image = match layout {
        TokenLayout::Patches => Some(grid.num_tokens()),
        TokenLayout::Image => Some(1),
        TokenLayout::Unplaced => None,
    };
    let placed = recipe.read(run, TokenCount { per_image, batch });
    placed.or_else(|error| recipe.read(run, TokenCount { per_image: None, batch }).map_err(|_| error))
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

/// One layer's routing of the first image, as the card documents its outputs.
fn declared(
    layer: &LayerCard,
    layout: TokenLayout,
    grid: &GridCard,
    batch: usize,
    run: &RunResult,
) -> Result<LayerRouting, AnalysisError> {
    let gates = output(run, &layer.gate_probs)?;
    let ids = output(run, &layer.expert_ids)?;
    let weights = output(run, &layer.combine_weights)?;
    let top_k = ids.shape.last().copied().unwrap_or(0);
    let rows = |tensor: &Tensor, columns: usize| first_image(tensor, layout, grid, batch, columns);
    Ok(LayerRouting::new(
        layer.name.as_str(),
        layer.num_experts,
        TopK::new(top_k, layer.num_experts)?,
        floats(gates)?[rows(gates, layer.num_experts)?].to_vec(),
        &integers(ids)?[rows(ids, top_k)?],
        floats(weights)?[rows(weights, top_k)?].to_vec(),
    )?)
}

/// Where the values of the first image lie in a tensor of one row per token, images one after the other.
fn first_image(
    tensor: &Tensor,
    layout: TokenLayout,
    grid: &GridCard,
    batch: usize,
    columns: usize,
) -> Result<std::ops::Range<usize>, AnalysisError> {
    let found = tensor.shape.iter().product::<usize>();
    let tokens = match layout {
        TokenLayout::Patches => grid.num_tokens(),
        TokenLayout::Image => 1,
        TokenLayout::Unplaced => found / (columns * batch).max(1),
    };
    let fits = tensor.shape.last() == Some(&columns) && found == tokens * columns * batch;
    if fits {
        Ok(0..tokens * columns)
    } else {
        Err(AnalysisError::OutputShape {
            name: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: match layout {
                TokenLayout::Patches => format!(
                    "[{}, {columns}]: {} × {} patches and {} other tokens",
                    tokens * batch,
                    grid.rows,
                    grid.cols,
                    tokens - grid.rows * grid.cols
                ),
                TokenLayout::Image | TokenLayout::Unplaced => format!("[{}, {columns}]", tokens * batch),
            },
        })
    }
}

pub(super) fn output<'run>(run: &'run RunResult, name: &str) -> Result<&'run Tensor, AnalysisError> {
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
            assumed: Vec::new(),
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
        let layer = ShownLayer { card: card().layers.remove(0), source: LayerSource::Declared, router: None };
        assemble(&card(), [(&layer, None)].into_iter(), &image, &tensor, Setting::of_top_k(Some(1)), &run)
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

    /// What the graph left open shows in the run: a sequence or a map is never sorted as if it were one row of classes.
    #[test]
    fn scores_of_several_things_are_no_classes_of_the_image() {
        for (shape, is_row) in [
            ([1, 6, 1, 1].as_slice(), true),
            (&[6], true),
            (&[2, 3], false),
            (&[1, 2, 3], false),
            (&[1, 1, 2, 3], false),
        ] {
            let mut numbers = outputs();
            numbers[0] = f32s("logits", shape, &[1.0, 3.0, 3.0, 2.0, 0.0, -1.0]);
            let analysis = check(numbers).unwrap();
            assert_eq!(analysis.predictions.is_empty(), !is_row, "{shape:?}");
            let told = format!("logits is {shape:?}: no row of class scores for each image");
            assert_eq!(analysis.unreadable, if is_row { vec![] } else { vec![told] });
        }
    }

    #[test]
    fn outputs_that_do_not_fit_the_card_are_named() {
        for (at, tensor, words) in [
            (
                0,
                f32s("scores", &[1, 3], &[0.0; 3]),
                "names the output \"logits\", but the model gave only scores, gates",
            ),
            (
                1,
                f32s("gates", &[2, 2], &[0.5; 4]),
                "\"gates\" has shape [2, 2]; the model card needs [3, 2]: 1 × 2 patches",
            ),
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
