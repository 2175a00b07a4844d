//! A router's tensors become choices: which experts each token has, and with what weight.
//!
//! Graphs of unknown origin lay their routing out in many ways: experts before tokens, a weight for every expert or one
//! for every choice, tokens chosen by experts, slots. Everything that is shown later has one form,
//! [`LayerRouting`]; this is the only place that knows the others. What the graph does not have is computed here again from
//! the gate logits, by the rule that was read from the graph, and [`Recomputed`] says so.

mod choices;
mod ranks;
mod rows;
mod scores;
mod slots;

use crate::engine::{RunResult, Tensor};
use crate::model::graph::ModelGraph;
use crate::model::routers::{GatingRule, KeptRef, RankTensors, Router, ScoreFunction, TensorRef};
use crate::model::{LayerCard, TensorPath};
use crate::routing::{ExpertIdx, LayerRouting, RoutingError};
use rows::Rows;
use std::borrow::Cow;

/// Gate probabilities of more experts than this are left out: no chart could show them, and a layer of a million experts
/// would need gigabytes.
const MAX_GATED_EXPERTS: usize = 1 << 16;

/// How one layer's routing is put together from outputs of the graph, or, with another `T`, from its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRecipe<T = ShownTensor> {
    /// Name for people.
    pub name: String,
    /// E.
    pub num_experts: usize,
    /// k, where it is fixed.
    pub top_k: Option<usize>,
    /// How the tensors are to be understood, and what is computed again where there are none.
    pub rule: GatingRule,
    /// The function that makes gate probabilities of gate logits.
    pub score: ScoreFunction,
    /// Logits of all experts.
    pub gate_logits: Option<T>,
    /// Scores of all experts.
    pub gate_probs: Option<T>,
    /// The chosen experts; of [`GatingRule::ExpertChoice`] the chosen tokens.
    pub expert_ids: Option<T>,
    /// What the experts' outputs are multiplied with, before anything is dropped.
    pub combine_weights: Option<T>,
    /// For which choices there was room, where experts take a limited number of tokens.
    pub kept: Option<Kept<T>>,
    /// How slots are mixed of tokens, where experts have slots: the combine weights mix them back.
    pub dispatch: Option<Dispatch<T>>,
    /// Where no tensor has what all choices of a token have: that of each, the first choice first.
    pub ranks: Vec<RankRecipe<T>>,
}

/// What carries one of a token's choices; `None` where a tensor of all choices has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankRecipe<T = ShownTensor> {
    /// The chosen expert of each token.
    pub expert_ids: Option<T>,
    /// What that expert's output is multiplied with.
    pub combine_weights: Option<T>,
    /// For which tokens it had room.
    pub kept: Option<Kept<T>>,
}

/// Where it is not zero, an expert had room for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// One element per choice, or per expert.
    pub tensor: T,
    /// The axis of places in an expert's buffer, counted from the last one, where there is one: any of them counts.
    pub places_from_end: Option<usize>,
}

/// The softmax over tokens of a Soft MoE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch<T> {
    /// One element per token and slot.
    pub tensor: T,
    /// The axis of tokens, counted from the last one.
    pub tokens_from_end: usize,
}

/// An output of the graph, and how its elements lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownTensor {
    /// Name of the output.
    pub output: String,
    /// The axis of experts, or of chosen ones, counted from the last one, which is 0; `None` where there is none.
    pub axis_from_end: Option<usize>,
    /// Whether there is an element for each expert rather than one per choice.
    pub dense: bool,
    /// Whether it comes once for each iteration of a loop.
    pub in_loop: bool,
}

impl ShownTensor {
    /// A tensor of the graph that `output` shows.
    #[must_use]
    pub fn new(tensor: &TensorRef, output: String) -> Self {
        // What a loop shows has one more axis, in front.
        let axis_from_end = tensor.expert_axis.map(|axis| tensor.shape.len().saturating_sub(axis + 1));
        let in_loop = tensor.place.iter().any(|step| step.body.as_deref() == Some("body"));
        Self { output, axis_from_end, dense: tensor.dense, in_loop }
    }
}

/// What of a layer's routing was not given by the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// Gate probabilities are computed from the gate logits.
    pub gate_probs: bool,
    /// Experts and combine weights are computed from the gate logits or probabilities.
    pub choices: bool,
}

/// How many tokens a tensor may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCount {
    /// Of one image; `None` where that is not known.
    pub per_image: Option<usize>,
    /// Images in one run.
    pub batch: usize,
}

/// Why a layer's tensors are no routing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadingError {
    /// Neither choices nor logits.
    #[error("the graph gives no {what}")]
    Missing {
        /// What there would have to be.
        what: &'static str,
    },
    /// The run did not give an output that was asked for.
    #[error("the output {name:?} did not come")]
    Output {
        /// Its name.
        name: String,
    },
    /// Tensors do not fit each other or the tokens.
    #[error("{name} has shape {shape:?}, which does not fit {expected}")]
    Shape {
        /// The output.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// The rule cannot be computed again from logits.
    #[error("its choice is not a tensor of the graph, and its rule ({rule:?}) cannot be worked out from the logits")]
    Rule {
        /// The rule.
        rule: GatingRule,
    },
    /// The values are no routing.
    #[error(transparent)]
    Routing(#[from] RoutingError),
}

/// One token's experts with their combine weights, the best first.
type Choices = Vec<(ExpertIdx, f32)>;

impl LayerRecipe<TensorRef> {
    /// The recipe for a router that was found.
    #[must_use]
    pub fn of(router: &Router) -> Self {
        let tensors = &router.tensors;
        Self {
            name: router.name.clone(),
            num_experts: router.num_experts,
            top_k: router.top_k,
            rule: router.inner_rule.unwrap_or(router.rule),
            score: router.score,
            gate_logits: tensors.gate_logits.clone(),
            gate_probs: tensors.gate_probs.clone(),
            expert_ids: tensors.expert_ids.clone(),
            combine_weights: tensors.combine_weights.clone(),
            kept: tensors.kept.as_ref().map(Kept::of),
            dispatch: tensors.dispatch.as_ref().map(|dispatch| Dispatch {
                tokens_from_end: dispatch.tensor.shape.len().saturating_sub(dispatch.token_axis + 1),
                tensor: dispatch.tensor.clone(),
            }),
            ranks: tensors.ranks.iter().map(RankRecipe::of).collect(),
        }
    }

    /// The recipe for tensors that a card names, of whatever shape: experts are on the axis that it says, choices on the
    /// last one.
    #[must_use]
    pub fn of_card(layer: &LayerCard) -> Self {
        let on_axis = |name: &str, dense: bool, from_end: usize| {
            let TensorPath { name, place } = TensorPath::parse(name);
            let shape = vec![-1; from_end + 1];
            let tensor = TensorRef { name, place, element: 0, shape, expert_axis: Some(0), dense };
            Some(tensor).filter(|tensor| !tensor.name.is_empty())
        };
        let named = |name: &str, dense: bool| on_axis(name, dense, 0);
        let gate = |name: &str| on_axis(name, true, layer.expert_axis_from_end);
        let rule = layer.rule.unwrap_or(GatingRule::SoftmaxThenTopK);
        Self {
            name: layer.name.clone(),
            num_experts: layer.num_experts,
            top_k: layer.top_k,
            rule,
            score: scores::of_rule(rule),
            gate_logits: gate(layer.gate_logits.as_deref().unwrap_or_default()),
            gate_probs: gate(&layer.gate_probs),
            expert_ids: named(&layer.expert_ids, false),
            combine_weights: named(&layer.combine_weights, layer.expert_ids.is_empty()),
            kept: None,
            dispatch: None,
            ranks: Vec::new(),
        }
    }

    /// Fills in what a graph knows of tensors inside bodies: an edit has to name their types.
    ///
    /// # Errors
    /// The name of a tensor that the graph does not have.
    pub fn look_up(&mut self, graph: &ModelGraph<'_>) -> Result<(), String> {
        let tensors = [&mut self.gate_logits, &mut self.gate_probs, &mut self.expert_ids, &mut self.combine_weights];
        for tensor in tensors.into_iter().flatten().filter(|tensor| !tensor.place.is_empty()) {
            let path = TensorPath::from(&*tensor);
            let known = path.find(graph).ok_or_else(|| path.to_string())?;
            (tensor.element, tensor.place) = (known.element, known.place);
        }
        Ok(())
    }

    /// The tensors that carry its choice, needed or not.
    pub fn all_tensors(&self) -> impl Iterator<Item = &TensorRef> {
        [&self.gate_logits, &self.gate_probs, &self.expert_ids, &self.combine_weights].into_iter().flatten()
    }

    /// The tensors that are needed. Logits only where something has to be computed from them: each output more is one
    /// tensor that ONNX Runtime may not optimise away.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorRef> {
        let weighted = self.combine_weights.is_some() || self.ranks.iter().any(|rank| rank.combine_weights.is_some());
        let needs_logits = self.gate_probs.is_none() || !weighted;
        let logits = self.gate_logits.as_ref().filter(|_| needs_logits);
        let rest = [&self.gate_probs, &self.expert_ids, &self.combine_weights];
        let kept = self.kept.as_ref().map(|kept| &kept.tensor);
        let dispatch = self.dispatch.as_ref().map(|dispatch| &dispatch.tensor);
        let ranks = self.ranks.iter().flat_map(RankRecipe::tensors);
        logits.into_iter().chain(rest.into_iter().flatten()).chain(kept).chain(dispatch).chain(ranks)
    }

    /// The same of outputs; `output_of` gives the one that shows a tensor, and none for what is not needed.
    #[must_use]
    pub fn shown(&self, output_of: impl Fn(&TensorRef) -> Option<String>) -> LayerRecipe {
        let shown = |tensor: &Option<TensorRef>| {
            let tensor = tensor.as_ref()?;
            Some(ShownTensor::new(tensor, output_of(tensor)?))
        };
        LayerRecipe {
            name: self.name.clone(),
            num_experts: self.num_experts,
            top_k: self.top_k,
            rule: self.rule,
            score: self.score,
            gate_logits: shown(&self.gate_logits),
            gate_probs: shown(&self.gate_probs),
            expert_ids: shown(&self.expert_ids),
            combine_weights: shown(&self.combine_weights),
            kept: self.kept.as_ref().and_then(|kept| kept.shown(&output_of)),
            dispatch: self.dispatch.as_ref().and_then(|dispatch| {
                let tensor = ShownTensor::new(&dispatch.tensor, output_of(&dispatch.tensor)?);
                Some(Dispatch { tensor, tokens_from_end: dispatch.tokens_from_end })
            }),
            ranks: self.ranks.iter().map(|rank| rank.shown(&output_of)).collect(),
        }
    }
}

impl Kept<TensorRef> {
    fn of(kept: &KeptRef) -> Self {
        let places_from_end = kept.place_axis.map(|axis| kept.tensor.shape.len().saturating_sub(axis + 1));
        Self { tensor: kept.tensor.clone(), places_from_end }
    }

    fn shown(&self, output_of: impl Fn(&TensorRef) -> Option<String>) -> Option<Kept<ShownTensor>> {
        let tensor = ShownTensor::new(&self.tensor, output_of(&self.tensor)?);
        Some(Kept { tensor, places_from_end: self.places_from_end })
    }
}

impl RankRecipe<TensorRef> {
    fn of(rank: &RankTensors) -> Self {
        Self {
            expert_ids: rank.expert_ids.clone(),
            combine_weights: rank.combine_weights.clone(),
            kept: rank.kept.as_ref().map(Kept::of),
        }
    }

    fn tensors(&self) -> impl Iterator<Item = &TensorRef> {
        let kept = self.kept.as_ref().map(|kept| &kept.tensor);
        [&self.expert_ids, &self.combine_weights].into_iter().flatten().chain(kept)
    }

    fn shown(&self, output_of: impl Fn(&TensorRef) -> Option<String>) -> RankRecipe {
        let shown = |tensor: &Option<TensorRef>| {
            let tensor = tensor.as_ref()?;
            Some(ShownTensor::new(tensor, output_of(tensor)?))
        };
        RankRecipe {
            expert_ids: shown(&self.expert_ids),
            combine_weights: shown(&self.combine_weights),
            kept: self.kept.as_ref().and_then(|kept| kept.shown(&output_of)),
        }
    }
}

impl LayerRecipe {
    /// What has to be computed again.
    #[must_use]
    pub fn recomputed(&self) -> Recomputed {
        let (logits, probs) = (self.gate_logits.is_some(), self.gate_probs.is_some());
        Recomputed {
            gate_probs: logits && !probs && self.num_experts <= MAX_GATED_EXPERTS,
            choices: (logits || probs)
                && self.expert_ids.is_none()
                && self.combine_weights.is_none()
                && self.ranks.is_empty(),
        }
    }

    /// Whether the graph tells for which choices the experts had room.
    #[must_use]
    pub fn knows_drops(&self) -> bool {
        self.kept.is_some() || self.ranks.iter().any(|rank| rank.kept.is_some())
    }

    /// The recipe for a run with another k: where the choice is computed again, it is of as many experts.
    #[must_use]
    pub fn at(&self, top_k: Option<usize>) -> Cow<'_, Self> {
        let other = top_k.filter(|_| self.recomputed().choices && top_k != self.top_k);
        other.map_or(Cow::Borrowed(self), |_| Cow::Owned(Self { top_k, ..self.clone() }))
    }

    /// Puts the routing of the first image together, all of its tokens in their order. A router in a loop gives one for
    /// each iteration.
    ///
    /// # Errors
    /// [`ReadingError`].
    pub fn read(&self, run: &RunResult, tokens: TokenCount) -> Result<Vec<LayerRouting>, ReadingError> {
        let choices = choices::of(self, run, tokens)?;
        let gate_probs = scores::of(self, run, &choices)?;
        let slots = slots::of(self, run)?;
        let of_one = tokens.per_image.unwrap_or(choices.len() / tokens.batch.max(1)).max(1);
        let of_all = of_one * tokens.batch.max(1);
        let tensors = [&self.expert_ids, &self.combine_weights, &self.gate_logits, &self.gate_probs];
        let of_ranks = self.ranks.iter().flat_map(|rank| [&rank.expert_ids, &rank.combine_weights]);
        let in_loop = tensors.into_iter().chain(of_ranks).flatten().any(|shown| shown.in_loop);
        if choices.len() % of_all != 0 || choices.len() > of_all && !in_loop {
            return Err(ReadingError::Shape {
                name: self.name.clone(),
                shape: vec![choices.len()],
                expected: format!("{of_one} tokens of {} image(s)", tokens.batch),
            });
        }
        let iterations = choices.len() / of_all;
        let routing = |iteration: usize| {
            let tokens = iteration * of_all..iteration * of_all + of_one;
            let gates = gate_probs.as_ref().map(|rows| rows.of(tokens.clone()).to_vec()).unwrap_or_default();
            let name = self.name_of(iteration, iterations);
            let routing = LayerRouting::of_choices(name, self.num_experts, gates, &choices[tokens.clone()])?;
            Ok(match &slots {
                Some(slots) => routing.with_slots(slots.of(tokens)?)?,
                None => routing,
            })
        };
        (0..iterations).map(routing).collect()
    }

    fn name_of(&self, iteration: usize, iterations: usize) -> String {
        if iterations == 1 { self.name.clone() } else { format!("{}, iteration {}", self.name, iteration + 1) }
    }
}

/// The tensor of an output.
fn output<'r>(run: &'r RunResult, shown: &ShownTensor) -> Result<&'r Tensor, ReadingError> {
    let found = run.outputs.iter().find(|tensor| tensor.name == shown.output);
    found.ok_or_else(|| ReadingError::Output { name: shown.output.clone() })
}

/// An output as rows of experts or choices.
fn rows_of(run: &RunResult, shown: Option<&ShownTensor>) -> Result<Option<Rows<f32>>, ReadingError> {
    shown.map(|shown| Ok(Rows::floats(output(run, shown)?, shown.axis_from_end))).transpose()
}

fn misfit(tensor: &Tensor, expected: String) -> ReadingError {
    ReadingError::Shape { name: tensor.name.clone(), shape: tensor.shape.clone(), expected }
}
