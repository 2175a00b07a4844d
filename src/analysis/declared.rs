//! Whether what a card declares as a layer's routing follows another k. The proof of an edit looks at the router's own
//! tensors; a card may name outputs that something else made of them, or that have nothing to do with them.

use super::change::LayerChange;
use super::controls::top_k_card;
use super::edited::ProvedModel;
use super::{Baseline, LayerSource, OpenModel, ShownLayer};
use crate::engine::{Engine, EngineError, RunRequest, Tensor, TensorData};
use crate::model::{Obstacle, TopKCard};

/// The k that the edited model beside `model` can be given; or why it has none to set, in a sentence.
///
/// # Errors
/// [`EngineError`] when the engine cannot run anything, or this was cancelled.
pub(super) fn top_k_of_declared(
    engine: &Engine,
    model: &OpenModel,
    proved: &ProvedModel,
    baseline: &Baseline,
) -> Result<Result<TopKCard, String>, EngineError> {
    if let Some(layer) = model.layers.iter().find(|layer| layer.router.is_none()) {
        let name = &layer.card.name;
        return Ok(Err(format!(
            "None of the routers that were found in the graph, or more than one, has the tensors that the card names for \
             {name}; with another k for the others its picture would not be true."
        )));
    }
    let range = match proved.top_k_range() {
        Err(Obstacle::Operator) => {
            return Ok(Err(
                "k lies in ONNX Runtime's MoE operator, and the outputs that the card names are not given by \
                           it: they would not follow another k."
                    .to_owned(),
            ));
        }
        range => range,
    };
    let card = match top_k_card(proved, range) {
        Ok(card) => card,
        Err(reason) => return Ok(Err(reason)),
    };
    let trial = Trial { engine, model, proved, baseline };
    for top_k in [card.min, card.max] {
        if let Err(reason) = trial.at(top_k, card.default)? {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(card))
}

struct Trial<'a> {
    engine: &'a Engine,
    model: &'a OpenModel,
    proved: &'a ProvedModel,
    baseline: &'a Baseline,
}

impl Trial<'_> {
    /// Runs with another k; ranks beyond the model's own have no weight, so that every layer sees what it saw before.
    fn at(&self, top_k: usize, own: usize) -> Result<Result<(), String>, EngineError> {
        let inputs = match self.inputs(top_k, own) {
            Ok(added) => self.baseline.inputs.iter().cloned().chain(added).collect(),
            Err(obstacle) => return Ok(Err(obstacle.to_string())),
        };
        let outputs = match self.engine.run(&RunRequest { model: self.proved.loaded.model, inputs }) {
            Ok(run) => run.outputs,
            Err(EngineError::Run { reason }) => return Ok(Err(format!("With k = {top_k} the model fails: {reason}"))),
            Err(other) => return Err(other),
        };
        let declared = self.model.layers.iter().filter(|layer| layer.source == LayerSource::Declared);
        let mut wrong = declared.filter_map(|layer| Some((layer, self.wrong(layer, &outputs, [top_k, own])?)));
        Ok(wrong.next().map_or(Ok(()), |(layer, what)| {
            Err(format!(
                "What the card names for {} does not follow another k: with k = {top_k}, {what}.",
                layer.card.name
            ))
        }))
    }

    fn inputs(&self, top_k: usize, own: usize) -> Result<Vec<Tensor>, Obstacle> {
        let mut inputs = self.proved.with_top_k(top_k)?;
        let change = LayerChange { left_out: (own..top_k).collect(), ..LayerChange::default() };
        let routers = self.proved.instrumented.routers.iter().enumerate();
        for (router, _) in routers.filter(|(_, controls)| controls.top_k.is_ok()) {
            self.proved.add_change(&mut inputs, router, &change)?;
        }
        Ok(inputs)
    }

    /// What is not as it has to be about a layer's outputs; `None` where all is.
    fn wrong(&self, layer: &ShownLayer, outputs: &[Tensor], [top_k, own]: [usize; 2]) -> Option<String> {
        let controls = self.proved.instrumented.routers.get(layer.router?)?;
        let columns = if controls.top_k.is_ok() { top_k } else { own };
        let [ids, weights] = [&layer.card.expert_ids, &layer.card.combine_weights];
        for output in [ids, weights] {
            let found = named(outputs, output).and_then(|tensor| tensor.shape.last().copied()).unwrap_or(0);
            if found != columns {
                return Some(format!("the output {output} has {found} columns, not {columns}"));
            }
        }
        let (given, after) = (rows(outputs, weights, columns), rows(outputs, ids, columns));
        // Ranks that are left out, at a smaller k or beyond the model's own.
        let used = top_k.min(own);
        if given.iter().any(|row| row[used..].iter().any(|&weight| weight != 0.0)) {
            return Some(format!("ranks that were left out have a weight in {weights}"));
        }
        if top_k < own {
            return None;
        }
        let plain = |name: &str| rows(&self.baseline.outputs, name, own);
        let bar = self.proved.proof.bar;
        let apart = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).any(|(a, b)| (a - b).abs() > bar);
        if plain(ids).iter().zip(&after).any(apart) {
            Some(format!("the first ranks of {ids} are other experts"))
        } else if plain(weights).iter().zip(&given).any(apart) {
            Some(format!("the first ranks of {weights} have other weights"))
        } else {
            None
        }
    }
}

fn named<'o>(outputs: &'o [Tensor], name: &str) -> Option<&'o Tensor> {
    outputs.iter().find(|tensor| tensor.name == name)
}

/// The rows of an output with so many columns; none where there is no such output.
fn rows(outputs: &[Tensor], name: &str, columns: usize) -> Vec<Vec<f64>> {
    let values: Vec<f64> = match named(outputs, name).map(|tensor| &tensor.data) {
        Some(TensorData::F32(values)) => values.iter().map(|&value| f64::from(value)).collect(),
        Some(TensorData::I64(values)) => values.iter().map(|&value| value as f64).collect(),
        None => Vec::new(),
    };
    values.chunks_exact(columns.max(1)).map(<[f64]>::to_vec).collect()
}
