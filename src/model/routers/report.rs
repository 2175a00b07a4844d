//! What the finder says: plain data, also as JSON (`docs/inspect-json.md`).

pub use super::fixed::report::{FixedExpert, FixedRouting, FixedRule, Takes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that was found in a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouterReport {
    /// Routers in the order in which they run.
    pub routers: Vec<Router>,
    /// Layers whose experts no gate chooses, in the order in which they run.
    pub fixed: Vec<FixedRouting>,
    /// What looked like a router at first, and why it is none.
    pub near_misses: Vec<NearMiss>,
    /// What was looked for, and how often each kind of place occurred.
    pub looked_at: LookedAt,
    /// Parameters of the whole model.
    pub parameters: Parameters,
    /// Parameters and bytes of its parts, by the first parts of the weights' names.
    pub parts: BTreeMap<String, Part>,
}

/// How many places of each kind were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LookedAt {
    /// Nodes, calls and bodies expanded.
    pub nodes: usize,
    /// `TopK` on floats.
    pub top_k: usize,
    /// `ArgMax` on floats.
    pub arg_max: usize,
    /// `Softmax`, also written out.
    pub softmax: usize,
    /// `Sigmoid` over an axis that experts could lie on.
    pub sigmoid: usize,
    /// `Relu` that no layer of weights reads at once.
    pub relu: usize,
    /// `com.microsoft.MoE` and `QMoE`.
    pub moe_operators: usize,
}

/// One decision of the model about which experts handle what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Router {
    /// From the names of its nodes; unique within the model.
    pub name: String,
    /// Its place in the order of routers, from 0.
    pub layer: usize,
    /// How gate logits become a choice and combine weights.
    pub rule: GatingRule,
    /// What an operator that hides its choice does inside, as its attributes say; `None` where the rule says all, or where
    /// that is not known.
    pub inner_rule: Option<GatingRule>,
    /// The function that makes scores of logits.
    pub score: ScoreFunction,
    /// E, the width of the router.
    pub num_experts: usize,
    /// k; `None` where every expert is weighted, or where k differs from token to token.
    pub top_k: Option<usize>,
    /// Where k comes from.
    pub top_k_source: TopKSource,
    /// Heads of product keys, each of which takes k experts for every token; 1 for every other router.
    pub heads: usize,
    /// Experts are chosen on scores with a bias that the combine weights do not have.
    pub selection_bias: bool,
    /// Experts are first limited to some groups of experts.
    pub groups: Option<Groups>,
    /// The constant factor on the combine weights.
    pub scale: Option<f32>,
    /// Experts take a limited number of tokens.
    pub capacity: Option<Capacity>,
    /// One decision for the whole image.
    pub per_image: bool,
    /// Experts that handle every token beside the chosen ones.
    pub shared_experts: usize,
    /// The experts that run were fixed when the model was exported.
    pub frozen: bool,
    /// The tensors that carry the routing.
    pub tensors: RouterTensors,
    /// What is known of the experts.
    pub experts: Experts,
    /// Why this is a router, in sentences that name nodes.
    pub evidence: Vec<String>,
    /// How sure that is.
    pub confidence: Confidence,
    /// What a person should know before believing the pictures.
    pub warnings: Vec<String>,
}

/// How gate logits become a choice and combine weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatingRule {
    /// The k best of a softmax over all experts, with those probabilities.
    SoftmaxThenTopK,
    /// The same, divided by the sum of the kept.
    SoftmaxThenTopKRenormalized,
    /// A softmax over the k best logits.
    TopKThenSoftmax,
    /// The k best, weighted by the sigmoid of their logit.
    SigmoidThenTopK,
    /// The same, divided by the sum of the kept.
    SigmoidThenTopKRenormalized,
    /// The k best, weighted by √softplus of their logit.
    SqrtSoftplusThenTopK,
    /// The same, divided by the sum of the kept.
    SqrtSoftplusThenTopKRenormalized,
    /// Every expert, weighted by its score.
    Soft,
    /// Each expert takes its best tokens.
    ExpertChoice,
    /// Slots that are weighted means of all tokens.
    SoftMoe,
    /// The fewest experts whose probabilities reach a sum.
    TopP,
    /// The best pairs of two half keys.
    ProductKey,
    /// The best expert, unweighted or weighted in a way of its own.
    ArgMax,
    /// Whatever ONNX Runtime's MoE operator does.
    ContribMoe,
    /// Every expert whose score passes a limit: a constant, or with ReLU for the score function, zero.
    Threshold,
    /// None of these.
    Other,
}

/// The function that makes scores of gate logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreFunction {
    /// The logits themselves.
    None,
    /// Softmax.
    Softmax,
    /// Logistic function.
    Sigmoid,
    /// Square root of softplus.
    SqrtSoftplus,
    /// The positive logits, zero for all others (ReMoE: Wang et al. 2025).
    Relu,
}

/// Where k comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TopKSource {
    /// There is no k.
    None,
    /// A constant of the graph.
    Constant,
    /// An attribute of the node.
    Attribute,
    /// An input of the model.
    Input {
        /// Its name.
        name: String,
    },
    /// The operator itself: the largest one, so often.
    Operator,
    /// It is computed.
    Computed,
}

/// Limits the choice to some groups of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Number of groups.
    pub n: usize,
    /// Number of groups that a token may choose from.
    pub kept: usize,
}

/// How many tokens an expert takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Tokens per expert (and group of tokens); `None` where it is computed.
    pub per_expert: Option<usize>,
    /// Tokens of a group, which share these places; `None` where the graph does not fix it.
    pub group_tokens: Option<usize>,
    /// Number of groups in one run; `None` where the graph does not fix it.
    pub groups: Option<usize>,
    /// Who is placed first.
    pub priority: Priority,
}

/// Who gets the places of an expert that more tokens want than it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Whoever stands first in the group.
    FirstCome,
    /// The tokens that were sorted to the front: batch priority routing (V-MoE) sorts by the largest gate.
    BatchPriority,
    /// Whom the expert chose.
    ExpertChoice,
}

/// The tensors that carry a router's routing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouterTensors {
    /// Logits of all experts.
    pub gate_logits: Option<TensorRef>,
    /// Scores of all experts, before the choice.
    pub gate_probs: Option<TensorRef>,
    /// The chosen experts (for expert choice: the chosen tokens).
    pub expert_ids: Option<TensorRef>,
    /// What the experts' outputs are multiplied with, before anything is dropped: see `kept`.
    pub combine_weights: Option<TensorRef>,
    /// Where experts take a limited number of tokens: for which choices they had room.
    pub kept: Option<KeptRef>,
    /// Of Soft MoE: how slots are mixed of tokens. The combine weights mix them back.
    pub dispatch: Option<DispatchRef>,
    /// Where the k choices go ways of their own, and no tensor has what all of them have: that of each, the first choice
    /// first. Empty where the tensors above say all.
    pub ranks: Vec<RankTensors>,
}

/// What carries one of a token's choices; `None` where a tensor of all choices has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RankTensors {
    /// The chosen expert of each token.
    pub expert_ids: Option<TensorRef>,
    /// What that expert's output is multiplied with.
    pub combine_weights: Option<TensorRef>,
    /// For which tokens it had room.
    pub kept: Option<KeptRef>,
}

/// How the slots of a Soft MoE are mixed of tokens: a softmax over the tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DispatchRef {
    /// One element per token and slot; the slots of an expert lie side by side.
    #[serde(flatten)]
    pub tensor: TensorRef,
    /// The axis of tokens, counted from the front.
    pub token_axis: usize,
}

/// A tensor that tells which of the chosen experts had room for a token: where it is not zero, they had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptRef {
    /// One element per choice, or, if it is `dense`, one per expert, which says something of the chosen ones only.
    #[serde(flatten)]
    pub tensor: TensorRef,
    /// The axis of places in an expert's buffer, counted from the front, where there is one: a choice has room if any of
    /// its elements is not zero.
    pub place_axis: Option<usize>,
}

/// A tensor of the graph, and how its elements lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorRef {
    /// Its name where it is valid.
    pub name: String,
    /// Empty in the main graph; else the calls and bodies around it, outermost first.
    pub place: Vec<PlaceStep>,
    /// `TensorProto.DataType`; 0 where not known.
    pub element: i32,
    /// Sizes of the axes; −1 where not fixed. Empty where not known.
    pub shape: Vec<i64>,
    /// The axis of experts (of chosen ones for ids and weights per choice), counted from the front.
    pub expert_axis: Option<usize>,
    /// Whether there is an element for each expert, zero or masked where not chosen, rather than one per choice.
    pub dense: bool,
}

/// A step into a function or a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PlaceStep {
    /// Index of the node, in the list of nodes of what is around, that calls the function or owns the body.
    pub node: usize,
    /// The attribute that holds the body; none for a call.
    pub body: Option<String>,
    /// In words.
    pub label: String,
}

/// What is known of a router's experts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// Number of experts found in the graph; fewer than E where an export lost some.
    pub found: usize,
    /// What shows that they are experts.
    pub form: ExpertForm,
    /// Names of the weights: for each expert its own, or one list where all experts lie in the same tensors.
    pub weights: Vec<Vec<String>>,
    /// Values in those weights.
    pub parameters: u64,
    /// The first router (its `layer`) with these experts: routers with the same number share them.
    pub set: usize,
    /// Whether the graph runs all experts on all tokens, whatever is chosen.
    pub all_executed: bool,
}

/// How the experts stand in the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertForm {
    /// A branch for each expert, alike but for its weights.
    #[default]
    Branches,
    /// Weights of all experts in tensors with a leading axis E, in batched products.
    Stacked,
    /// Each token gathers the weights of its experts.
    Gathered,
    /// Rows of tables, one neuron each.
    Rows,
    /// Kernels that are mixed before they are used.
    Kernels,
    /// A body that runs once per expert.
    Loop,
    /// Inside one operator.
    Operator,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Something is missing or odd; a person should look.
    Unsure,
    /// The router is plain, its rule or its experts not in every part.
    Likely,
    /// Router, rule and all experts were found.
    Certain,
}

/// What looked like a router at first, and why it is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// The node, by operator and name.
    pub node: String,
    /// Why it is no router.
    pub reason: String,
}

/// Parameters of the whole model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// All of them.
    pub total: u64,
    /// Those of all experts, shared ones left out.
    pub experts: u64,
    /// Those that one token passes through at each router's k; `None` where a k is not fixed.
    pub activated: Option<u64>,
    /// Those that this graph reads for one token: more than activated where it runs experts that were not chosen.
    pub executed: Option<u64>,
}

/// Parameters and bytes of one part of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Number of values in its weights.
    pub parameters: u64,
    /// Their bytes in the file.
    pub bytes: u64,
}
