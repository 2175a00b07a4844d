//! Decides for each router which controls it gets, adds their inputs, and rewrites its nodes.

use super::InstrumentError;
use super::choice::{Choice, Spot, choice, constant_k};
use super::inputs::{Default as Values, add, hand_in};
use super::places::{at_place, for_each_node, forget_sizes, unshare};
use super::plan::{Control, ControlInput, InstrumentPlan, Obstacle, Offer, RouterControls, TopKInputs};
use super::rewrite::{NodeEdit, rewritten};
use crate::model::graph::ModelGraph;
use crate::model::proto::ModelProto;
use crate::model::routers::{ExpertForm, GatingRule, Router, RouterReport};

/// Older operators take k, slices and axes in other ways.
const MIN_OPSET: i64 = 11;

/// The nodes that are edited, by their place.
type Edits = Vec<(Spot, NodeEdit)>;

/// Adds controls to `model`; `graph` is that of the model before any edit, whose nodes stand where they stood.
pub(super) fn add_controls(
    model: &mut ModelProto,
    graph: &ModelGraph<'_>,
    report: &RouterReport,
    plan: &InstrumentPlan,
) -> Result<(Vec<ControlInput>, Vec<RouterControls>), InstrumentError> {
    let mut work = Work { plan, prefix: free_prefix(graph), inputs: Vec::new(), edits: Vec::new() };
    let old = opset(model).filter(|&version| version < MIN_OPSET);
    let routers = report.routers.iter().enumerate().map(|(index, router)| {
        let found = match old {
            Some(version) => Err(Obstacle::OldOperators { version }),
            None => choice(graph, router),
        };
        work.controls(index, router, found)
    });
    let routers: Vec<RouterControls> = routers.collect();
    let Work { prefix, inputs, edits, .. } = work;
    apply(model, edits, &prefix)?;
    for input in &inputs {
        add(model, &input.name, default_of(input.control));
    }
    if inputs.iter().any(|input| matches!(input.control, Control::TopK { .. })) {
        forget_sizes(model);
    }
    let of_operators = report.routers.iter().filter(|router| router.experts.form == ExpertForm::Operator);
    if let Some((k, most)) = plan.operator_top_k.zip(of_operators.map(|router| router.num_experts).min()) {
        set_operator_top_k(model, k.clamp(1, most.max(1)));
    }
    Ok((inputs, routers))
}

struct Work<'p> {
    plan: &'p InstrumentPlan,
    prefix: String,
    inputs: Vec<ControlInput>,
    edits: Edits,
}

impl Work<'_> {
    fn controls(&mut self, index: usize, router: &Router, found: Result<Choice, Obstacle>) -> RouterControls {
        let choice = match found {
            Ok(choice) => choice,
            Err(why) => {
                return RouterControls {
                    own_top_k: router.top_k,
                    top_k: Err(why.clone()),
                    selection_bias: Err(why.clone()),
                    rank_weights: Err(why),
                    expert_ids: None,
                    combine_weights: None,
                };
            }
        };
        RouterControls {
            own_top_k: router.top_k,
            rank_weights: self.rank_weights(index, &choice),
            top_k: self.top_k(index, router, &choice),
            selection_bias: self.selection_bias(index, router, &choice),
            expert_ids: None,
            combine_weights: None,
        }
    }

    fn top_k(&mut self, index: usize, router: &Router, choice: &Choice) -> Offer {
        let default = constant_k(router, choice)?;
        if self.plan.top_k == TopKInputs::None {
            return Err(Obstacle::NotPlanned);
        }
        choice.picks.as_ref().ok_or(Obstacle::UnseenWeights)?;
        let control = Control::TopK { default, max: choice.max_k };
        let shared = self.inputs.iter().position(|input| input.control == control);
        let shared = shared.filter(|_| self.plan.top_k == TopKInputs::Shared);
        let at = shared.unwrap_or_else(|| self.add_input("top_k", index, control));
        if shared.is_some() {
            self.inputs[at].routers.push(index);
        }
        let name = self.inputs[at].name.clone();
        self.edit(&choice.spot).top_k = Some(name);
        Ok(at)
    }

    fn selection_bias(&mut self, index: usize, router: &Router, choice: &Choice) -> Offer {
        if !self.plan.selection_bias {
            return Err(Obstacle::NotPlanned);
        }
        if router.rule == GatingRule::ProductKey {
            return Err(Obstacle::HalfKeys);
        }
        let at = self.add_input("bias", index, Control::SelectionBias { num_experts: router.num_experts });
        let name = self.inputs[at].name.clone();
        for spot in std::iter::once(&choice.spot).chain(&choice.maxima) {
            self.edit(spot).bias = Some((name.clone(), choice.scores));
        }
        Ok(at)
    }

    fn rank_weights(&mut self, index: usize, choice: &Choice) -> Offer {
        if !self.plan.rank_weights && self.plan.top_k == TopKInputs::None {
            return Err(Obstacle::NotPlanned);
        }
        if !choice.is_top_k {
            return Err(Obstacle::BestOnly);
        }
        let picks = choice.picks.as_ref().ok_or(Obstacle::UnseenWeights)?;
        let at = self.add_input("rank_weights", index, Control::RankWeights { num_ranks: choice.max_k });
        let name = self.inputs[at].name.clone();
        self.edit(&picks.spot).ranks = Some((name, picks.along, picks.scored));
        Ok(at)
    }

    fn add_input(&mut self, what: &str, router: usize, control: Control) -> usize {
        let name = format!("{}.{what}.{router}", self.prefix);
        self.inputs.push(ControlInput { name, control, routers: vec![router] });
        self.inputs.len() - 1
    }

    fn edit(&mut self, spot: &Spot) -> &mut NodeEdit {
        let at = self.edits.iter().position(|(other, _)| other == spot).unwrap_or_else(|| {
            self.edits.push((spot.clone(), NodeEdit::default()));
            self.edits.len() - 1
        });
        &mut self.edits[at].1
    }
}

/// Rewrites the nodes. Deeper places first and later nodes first: what is put in moves only nodes that come after it.
fn apply(model: &mut ModelProto, mut edits: Edits, prefix: &str) -> Result<(), InstrumentError> {
    let missing = |spot: &Spot| InstrumentError::Place {
        tensor: format!("node {}", spot.node),
        place: spot.place.last().map_or_else(|| "the main graph".to_owned(), |step| step.label.clone()),
    };
    for (spot, edit) in &edits {
        unshare(model, &spot.place).ok_or_else(|| missing(spot))?;
        let names =
            [edit.top_k.as_ref(), edit.bias.as_ref().map(|bias| &bias.0), edit.ranks.as_ref().map(|ranks| &ranks.0)];
        for name in names.into_iter().flatten() {
            hand_in(model, &spot.place, name).ok_or_else(|| missing(spot))?;
        }
    }
    edits.sort_by_key(|(spot, _)| std::cmp::Reverse((spot.place.len(), spot.node)));
    for (number, (spot, edit)) in edits.iter().enumerate() {
        let prefix = format!("{prefix}.{number}");
        let done = at_place(model, &spot.place, |nodes| {
            let node = nodes.get(spot.node)?.clone();
            drop(nodes.splice(spot.node..=spot.node, rewritten(node, edit, &prefix)));
            Some(())
        });
        done.flatten().ok_or_else(|| missing(spot))?;
    }
    Ok(())
}

fn default_of(control: Control) -> Values {
    match control {
        Control::TopK { default, .. } => Values::Ints(vec![default as i64]),
        Control::SelectionBias { num_experts } => Values::Floats(vec![0.0; num_experts]),
        Control::RankWeights { num_ranks } => Values::Floats(vec![1.0; num_ranks]),
    }
}

/// A beginning that no name in the model has.
fn free_prefix(graph: &ModelGraph<'_>) -> String {
    let mut prefix = "moescope".to_owned();
    while graph.value_ids().any(|id| graph.value(id).name.starts_with(&prefix)) {
        prefix.push('_');
    }
    prefix
}

/// The oldest version of ONNX's own operators that the model or one of its functions asks for.
fn opset(model: &ModelProto) -> Option<i64> {
    let imports = model.opset_import.iter().chain(model.functions.iter().flat_map(|function| &function.opset_import));
    imports.filter(|import| matches!(import.domain.as_str(), "" | "ai.onnx")).map(|import| import.version).min()
}

/// Sets the k of ONNX Runtime's MoE operators.
fn set_operator_top_k(model: &mut ModelProto, k: usize) {
    for_each_node(model, &mut |node| {
        if node.domain == "com.microsoft" && matches!(node.op_type.as_str(), "MoE" | "QMoE") {
            node.attribute.retain(|attribute| attribute.name != "k");
            node.attribute.push(super::rewrite::int("k", k as i64));
        }
    });
}
