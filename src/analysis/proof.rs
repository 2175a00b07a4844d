//! Nothing that was edited into a model is believed before it has run: an exporter may have built k into shapes where no
//! one sees it, and ONNX Runtime may choose other kernels for a graph with more outputs.
//!
//! What is proved, on one input of the open model:
//! - with every control at its default, the outputs are those of the original;
//! - with the largest k, of which only the original number of ranks have weight, they are so too: then every rank's weight
//!   and token are where they belong; with weight, the other ranks change something; and k = 1 gives what leaving out all
//!   ranks but the first gives;
//! - with one rank, no token has more than one weight;
//! - with the same bias for all experts they are so too: then no bias gets into a weight; and a banned expert is not chosen.

use super::EditError;
use super::agreement::compare;
use crate::engine::{Engine, EngineError, ModelHandle, RunRequest, Tensor, TensorData};
use crate::model::{Control, ControlInput, Instrumented};

/// How far outputs may differ, relative to the largest value of each: float32 in another order of additions.
const BAR: f64 = 1e-5;
/// The same for models that compute in float16 or bfloat16, whose numbers have 11 or 8 bits.
const HALF_BAR: f64 = 1e-2;
/// Small enough not to hide differences of probabilities, large enough to show in a weight.
const SHIFT: f32 = 1.0 / 1024.0;
/// Bans an expert.
pub(super) const BAN: f32 = -1e4;

/// What the original gives on one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    pub(super) inputs: Vec<Tensor>,
    pub(super) outputs: Vec<Tensor>,
    /// How far a second run is from the first: much, where the model draws random numbers.
    spread: f64,
    /// Names of outputs that tell of the routing, rather than of what it does.
    routing: Vec<String>,
}

impl Baseline {
    /// Runs the original twice. It is not needed afterwards.
    ///
    /// # Errors
    /// [`EngineError`] when it does not run.
    pub fn of(engine: &Engine, original: ModelHandle, inputs: Vec<Tensor>) -> Result<Self, EngineError> {
        let run = || engine.run(&RunRequest { model: original, inputs: inputs.clone() });
        let (outputs, again) = (run()?.outputs, run()?.outputs);
        let spread = compare(&outputs, &again, f64::INFINITY).unwrap_or(f64::INFINITY);
        Ok(Self { inputs, outputs, spread, routing: Vec::new() })
    }

    /// The same, with outputs that tell of the routing.
    pub(super) fn with_routing(self, routing: Vec<String>) -> Self {
        Self { routing, ..self }
    }
}

/// What came of the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// With every control at its default.
    pub unchanged: Verdict,
    /// Two runs of the original do not agree.
    pub is_random: bool,
    /// For each input of [`Instrumented::inputs`].
    pub inputs: Vec<Verdict>,
    /// The difference that is allowed, relative to the largest value of an output.
    pub bar: f64,
}

/// The largest difference that was seen, relative to the largest value of an output; or a sentence that says what is
/// wrong.
pub type Verdict = Result<f64, String>;

impl Proof {
    /// Takes back what was not proved.
    pub fn withdraw_from(&self, instrumented: &mut Instrumented) {
        for (index, verdict) in self.inputs.iter().enumerate() {
            if let Err(reason) = verdict {
                instrumented.withdraw(index, reason);
            }
        }
    }
}

/// Proves an edited model against the original, in about nine runs.
///
/// # Errors
/// [`EngineError`] when the engine cannot run anything, or the proof is cancelled.
pub fn prove(
    engine: &Engine,
    baseline: &Baseline,
    edited: ModelHandle,
    instrumented: &Instrumented,
) -> Result<Proof, EngineError> {
    let bar = if instrumented.is_half { HALF_BAR } else { BAR };
    let mut trial = Trial { engine, edited, instrumented, baseline, plain: Vec::new(), bar };
    let is_random = baseline.spread > bar;
    let unchanged = match is_random {
        true => Err(EditError::Random.to_string()),
        false => trial.unchanged()?,
    };
    let verdicts = match &unchanged {
        Err(reason) => vec![Err(reason.clone()); instrumented.inputs.len()],
        Ok(_) => trial.controls()?,
    };
    Ok(Proof { unchanged, is_random, inputs: verdicts, bar })
}

/// Everything that a run is compared with.
struct Trial<'a> {
    engine: &'a Engine,
    edited: ModelHandle,
    instrumented: &'a Instrumented,
    baseline: &'a Baseline,
    /// The edited model's outputs, with every control at its default.
    plain: Vec<Tensor>,
    bar: f64,
}

/// A value for one of the added inputs.
type Given<'a> = (&'a ControlInput, TensorData);

impl<'a> Trial<'a> {
    fn unchanged(&mut self) -> Result<Verdict, EngineError> {
        let verdict = self.run(&[])?.and_then(|outputs| {
            self.plain = outputs;
            self.judge(&self.plain)
        });
        Ok(verdict.map_err(|what| {
            format!("With the outputs and inputs that were added, the model does not compute what it did: {what}.")
        }))
    }

    /// A verdict for each added input: all of one kind at once, and where that fails one after the other.
    fn controls(&self) -> Result<Vec<Verdict>, EngineError> {
        let all: Vec<&ControlInput> = self.instrumented.inputs.iter().collect();
        let mut verdicts: Vec<Verdict> = vec![Ok(0.0); all.len()];
        let kinds: [fn(&Control) -> bool; 3] = [
            |control| matches!(control, Control::TopK { .. }),
            |control| matches!(control, Control::SelectionBias { .. }),
            |control| matches!(control, Control::RankWeights { .. }),
        ];
        for is_kind in kinds {
            let of_kind: Vec<usize> = (0..all.len()).filter(|&index| is_kind(&all[index].control)).collect();
            if of_kind.is_empty() {
                continue;
            }
            let together: Vec<&ControlInput> = of_kind.iter().map(|&index| all[index]).collect();
            let verdict = self.control(&together)?;
            let alone = verdict.is_err() && of_kind.len() > 1;
            for index in of_kind {
                verdicts[index] = if alone { self.control(&[all[index]])? } else { verdict.clone() };
            }
        }
        Ok(verdicts)
    }

    /// Inputs of one kind, together.
    fn control(&self, inputs: &[&'a ControlInput]) -> Result<Verdict, EngineError> {
        Ok(match inputs.first().map(|input| input.control) {
            Some(Control::TopK { .. }) => match self.most_ranks(inputs)? {
                Ok(most) => self.first_rank(inputs)?.map(|one| most.max(one)),
                Err(reason) => Err(reason),
            },
            Some(Control::SelectionBias { .. }) => match self.same_bias(inputs)? {
                Ok(same) => self.ban(inputs)?.map(|()| same),
                Err(reason) => Err(reason),
            },
            Some(Control::RankWeights { .. }) | None => {
                let given: Vec<Given<'_>> = inputs.iter().map(|input| (*input, first_ranks(input, 1))).collect();
                let verdict = self.run(&given)?.and_then(|outputs| self.one_weight(&outputs, inputs));
                verdict.map(|()| 0.0).map_err(|what| format!("With the first rank alone, {what}."))
            }
        })
    }

    /// The largest k, of which as many ranks have weight as before.
    fn most_ranks(&self, inputs: &[&'a ControlInput]) -> Result<Verdict, EngineError> {
        let raised = inputs.iter().filter_map(|input| match input.control {
            Control::TopK { default, max } if max > default => Some((*input, default, max)),
            _ => None,
        });
        let (mut more, mut masked): (Vec<Given<'_>>, Vec<Given<'_>>) = Default::default();
        let mut expected = Vec::new();
        for (input, default, max) in raised {
            more.push((input, ints(max)));
            masked.extend(self.ranks_of(input).map(|ranks| (ranks, first_ranks(ranks, default))));
            expected.extend(input.routers.iter().map(|&router| (router, default, max)));
        }
        if more.is_empty() {
            return Ok(Ok(0.0));
        }
        if self.run(&more)?.is_ok_and(|outputs| self.judge(&outputs).is_ok()) {
            return Ok(Err("More ranks change nothing: the model was exported for its k alone.".to_owned()));
        }
        masked.extend(more);
        let verdict = self.run(&masked)?.and_then(|outputs| {
            let difference = self.judge(&outputs)?;
            expected
                .iter()
                .try_for_each(|&(router, default, max)| self.same_ranks(&outputs, router, [default, max]))?;
            Ok(difference)
        });
        Ok(verdict.map_err(|what| {
            format!("k is built into other parts of the model: with more ranks, the added ones without weight, {what}.")
        }))
    }

    /// k = 1 against the first rank alone.
    fn first_rank(&self, inputs: &[&'a ControlInput]) -> Result<Verdict, EngineError> {
        let several =
            inputs.iter().filter(|input| matches!(input.control, Control::TopK { default, .. } if default > 1));
        let (mut less, mut absent): (Vec<Given<'_>>, Vec<Given<'_>>) = Default::default();
        for input in several {
            less.push((input, ints(1)));
            absent.extend(self.ranks_of(input).map(|ranks| (ranks, first_ranks(ranks, 1))));
        }
        if less.is_empty() {
            return Ok(Ok(0.0));
        }
        let verdict = match (self.run(&absent)?, self.run(&less)?) {
            (Ok(absent), Ok(less)) => compare(&self.shared(&absent), &less, self.bar),
            (Err(what), _) | (_, Err(what)) => Err(what),
        };
        Ok(verdict.map_err(|what| {
            format!("k is built into other parts of the model: with k = 1 against the first rank alone, {what}.")
        }))
    }

    /// The same bias for all experts.
    fn same_bias(&self, inputs: &[&'a ControlInput]) -> Result<Verdict, EngineError> {
        let given: Vec<Given<'_>> =
            inputs.iter().map(|input| (*input, floats(vec![SHIFT; input.control.most()]))).collect();
        Ok(self.run(&given)?.and_then(|outputs| self.judge(&outputs)).map_err(|what| {
            format!("The choice cannot be changed by itself: with the same bias for all experts, {what}.")
        }))
    }

    /// A banned expert, for each router the one that it chose first.
    fn ban(&self, inputs: &[&'a ControlInput]) -> Result<Result<(), String>, EngineError> {
        let mut banned = Vec::new();
        let mut given: Vec<Given<'_>> = Vec::new();
        for input in inputs.iter().filter(|input| input.control.most() > self.top_k_of(input)) {
            let router = input.routers.first().copied().unwrap_or(0);
            let first =
                self.ids(&self.plain, router).and_then(|(_, ids)| usize::try_from(*ids.first()?).ok()).unwrap_or(0);
            let mut bias = vec![0.0; input.control.most()];
            if let Some(bias) = bias.get_mut(first) {
                *bias = BAN;
            }
            given.push((input, floats(bias)));
            banned.push((router, first as i64));
        }
        let outputs = match self.run(&given)? {
            Ok(outputs) => outputs,
            Err(what) => return Ok(Err(format!("With an expert banned, {what}."))),
        };
        // The choice that the experts follow may be another one than was found.
        if !banned.is_empty() && compare(&self.beyond_routing(), &outputs, 0.0).is_ok() {
            return Ok(
                Err("With an expert banned, the model computes the same: its experts do not follow.".to_owned()),
            );
        }
        let chosen = banned
            .iter()
            .find(|&&(router, expert)| self.ids(&outputs, router).is_some_and(|(_, ids)| ids.contains(&expert)));
        Ok(match chosen {
            Some((router, expert)) => {
                Err(format!("Expert {expert} of router {router} was chosen although it was banned."))
            }
            None => Ok(()),
        })
    }

    /// What the original gives beside its routing.
    fn beyond_routing(&self) -> Vec<Tensor> {
        let routing = &self.baseline.routing;
        self.baseline.outputs.iter().filter(|output| !routing.contains(&output.name)).cloned().collect()
    }

    /// As many chosen experts as there are ranks, the first of them as before. Where the choice is shown in another layout,
    /// the outputs alone tell.
    fn same_ranks(&self, outputs: &[Tensor], router: usize, [default, max]: [usize; 2]) -> Result<(), String> {
        let Some((before, plain)) = self.ids(&self.plain, router).filter(|&(columns, _)| columns == default) else {
            return Ok(());
        };
        match self.ids(outputs, router) {
            Some((columns, ids)) if columns == max => {
                let same = plain.chunks_exact(before).zip(ids.chunks_exact(columns)).all(|(a, b)| a == &b[..before]);
                if same { Ok(()) } else { Err("the first ranks have other experts".to_owned()) }
            }
            _ => Err(format!("there are not {max} chosen experts")),
        }
    }

    /// At most one weight for each token.
    fn one_weight(&self, outputs: &[Tensor], inputs: &[&ControlInput]) -> Result<(), String> {
        for &router in inputs.iter().flat_map(|input| &input.routers) {
            let controls = &self.instrumented.routers[router];
            let weights = outputs.iter().find(|tensor| Some(&tensor.name) == controls.combine_weights.as_ref());
            let Some(Tensor { data: TensorData::F32(weights), shape, .. }) = weights else {
                match controls.own_top_k {
                    Some(1) => continue,
                    _ => return Err("the weights of the others cannot be looked at".to_owned()),
                }
            };
            let columns = shape.last().copied().unwrap_or(0).max(1);
            if weights.chunks_exact(columns).any(|row| row.iter().filter(|&&weight| weight != 0.0).count() > 1) {
                return Err("tokens have other weights still".to_owned());
            }
        }
        Ok(())
    }

    /// The chosen experts of a router, and how many there are for a token.
    fn ids<'o>(&self, outputs: &'o [Tensor], router: usize) -> Option<(usize, &'o [i64])> {
        let name = self.instrumented.routers[router].expert_ids.as_ref()?;
        let tensor = outputs.iter().find(|tensor| tensor.name == *name)?;
        match &tensor.data {
            TensorData::I64(ids) => Some((*tensor.shape.last().filter(|&&columns| columns > 0)?, ids)),
            _ => None,
        }
    }

    /// The rank weights of the routers of another input.
    fn ranks_of(&self, input: &ControlInput) -> impl Iterator<Item = &'a ControlInput> {
        let routers = input.routers.clone();
        let offers = routers.into_iter().map(|router| &self.instrumented.routers[router].rank_weights);
        offers.filter_map(|offer| self.instrumented.input(offer))
    }

    /// The k of the router of a bias, where it is fixed.
    fn top_k_of(&self, input: &ControlInput) -> usize {
        let own = input.routers.iter().filter_map(|&router| self.instrumented.routers[router].own_top_k);
        own.max().unwrap_or(1)
    }

    /// Runs the edited model; the text says what is wrong where it fails.
    fn run(&self, given: &[Given<'_>]) -> Result<Result<Vec<Tensor>, String>, EngineError> {
        let added = given.iter().map(|(input, data)| Tensor {
            name: input.name.clone(),
            shape: vec![data.len()],
            data: data.clone(),
        });
        let inputs = self.baseline.inputs.iter().cloned().chain(added).collect();
        match self.engine.run(&RunRequest { model: self.edited, inputs }) {
            Ok(result) => Ok(Ok(result.outputs)),
            Err(EngineError::Run { reason }) => Ok(Err(format!("it fails {}", at_node(&reason)))),
            Err(other) => Err(other),
        }
    }

    /// Compares with the original's outputs.
    fn judge(&self, outputs: &[Tensor]) -> Verdict {
        compare(&self.baseline.outputs, outputs, self.bar)
    }

    /// Of an edited model's outputs, those that the original has.
    fn shared(&self, outputs: &[Tensor]) -> Vec<Tensor> {
        let known = |tensor: &&Tensor| self.baseline.outputs.iter().any(|before| before.name == tensor.name);
        outputs.iter().filter(known).cloned().collect()
    }
}

/// Where ONNX Runtime says that a run failed; its reasons are pages long.
fn at_node(reason: &str) -> String {
    let node = reason.split_once("running ").and_then(|(_, rest)| rest.split_once(" node. Name:'"));
    match node.and_then(|(op, rest)| Some((op, rest.split_once('\'')?.0))) {
        Some((op, name)) => format!("at {op} {name}"),
        None => format!("({})", reason.chars().take(80).collect::<String>()),
    }
}

/// Weights that leave out all but the first ranks.
fn first_ranks(ranks: &ControlInput, kept: usize) -> TensorData {
    floats((0..ranks.control.most()).map(|rank| if rank < kept { 1.0 } else { 0.0 }).collect())
}

fn ints(int: usize) -> TensorData {
    TensorData::I64(vec![int as i64].into())
}

fn floats(floats: Vec<f32>) -> TensorData {
    TensorData::F32(floats.into())
}
