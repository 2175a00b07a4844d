//! What can be asked for, and what came of it: plain data.

use crate::model::proto::ModelProto;
use crate::model::routers::TensorRef;

/// What shall be edited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstrumentPlan {
    /// Tensors that shall become outputs.
    pub expose: Vec<TensorRef>,
    /// Whether a constant k becomes an input.
    pub top_k: TopKInputs,
    /// Whether experts can be banned and favoured.
    pub selection_bias: bool,
    /// Whether the ranks of a choice can be left out. They can wherever k becomes an input, which is proved by it.
    pub rank_weights: bool,
    /// Another k for `com.microsoft.MoE` and `QMoE`, where it is an attribute: a session of its own for each k. It is kept
    /// within 1 and the number of experts.
    pub operator_top_k: Option<usize>,
}

impl InstrumentPlan {
    /// Every control, with one k for all routers that are alike, and these tensors as outputs.
    #[must_use]
    pub fn everything(expose: Vec<TensorRef>) -> Self {
        Self { expose, top_k: TopKInputs::Shared, selection_bias: true, rank_weights: true, operator_top_k: None }
    }

    /// Nothing but these tensors as outputs.
    #[must_use]
    pub fn only(expose: Vec<TensorRef>) -> Self {
        Self { expose, ..Self::default() }
    }
}

/// Which inputs take the place of a constant k.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopKInputs {
    /// None: k stays as it is.
    #[default]
    None,
    /// One for each router.
    PerRouter,
    /// One for all routers with the same k, the same number of experts and the same limit.
    Shared,
}

/// An edited model.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrumented {
    /// To be loaded in place of the original file (`engine::LoadRequest::edited`), whose weights it uses.
    pub model: ModelProto,
    /// For each tensor of [`InstrumentPlan::expose`], the output that gives it.
    pub outputs: Vec<String>,
    /// The inputs that were added. Each has a default that changes nothing.
    pub inputs: Vec<ControlInput>,
    /// For each router of the report, in its order, what can be changed.
    pub routers: Vec<RouterControls>,
    /// Whether any of its computations are in half precision, so that another order of them shows.
    pub is_half: bool,
}

impl Instrumented {
    /// The input that an offer stands for.
    #[must_use]
    pub fn input(&self, offer: &Offer) -> Option<&ControlInput> {
        offer.as_ref().ok().and_then(|&index| self.inputs.get(index))
    }

    /// Takes back every offer of the input at `index`, as it was not proved.
    pub fn withdraw(&mut self, index: usize, reason: &str) {
        for router in &mut self.routers {
            for offer in [&mut router.top_k, &mut router.selection_bias, &mut router.rank_weights] {
                if *offer == Ok(index) {
                    *offer = Err(Obstacle::Unproved { reason: reason.to_owned() });
                }
            }
        }
    }
}

/// An input that was added to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlInput {
    /// Its name.
    pub name: String,
    /// What it changes.
    pub control: Control,
    /// The routers that it changes, by their places in the report.
    pub routers: Vec<usize>,
}

/// What an input changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// int64 `[1]`: k, from 1 to `max`.
    TopK {
        /// The model's own.
        default: usize,
        /// More are not possible.
        max: usize,
    },
    /// float32 `[E]`, zeros: added to the scores that experts are chosen by, and to nothing else; the weights of the chosen
    /// are taken from the scores as they were. −10⁴ bans an expert and +10⁴ forces it, within the groups that the rule
    /// allows.
    SelectionBias {
        /// E.
        num_experts: usize,
    },
    /// float32, ones: each rank's weight is multiplied with its element, before the rule's own renormalisation if it has
    /// one; 0 leaves the rank out. Only the first k elements are used. Where a softmax over the chosen comes after the
    /// choice, an element must be 0 or 1.
    RankWeights {
        /// Number of elements: the largest possible k.
        num_ranks: usize,
    },
}

impl Control {
    /// The largest k, or the number of elements.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            Self::TopK { max, .. } => max,
            Self::SelectionBias { num_experts } => num_experts,
            Self::RankWeights { num_ranks } => num_ranks,
        }
    }
}

/// What can be changed about one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterControls {
    /// The router's own k, where it has one that is fixed.
    pub own_top_k: Option<usize>,
    /// [`Control::TopK`].
    pub top_k: Offer,
    /// [`Control::SelectionBias`].
    pub selection_bias: Offer,
    /// [`Control::RankWeights`].
    pub rank_weights: Offer,
    /// The output that gives the chosen experts `[.., k]`, where they are shown; a plan with controls shows them.
    pub expert_ids: Option<String>,
    /// The output that gives the combine weights `[.., k]` or `[.., E]`, in the same way.
    pub combine_weights: Option<String>,
}

/// The input that changes it, as an index into [`Instrumented::inputs`], or why there is none.
pub type Offer = Result<usize, Obstacle>;

/// Why a router cannot be changed in some way: sentences for a person who looks at the control.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The plan does not ask for it.
    #[error("This was not asked for.")]
    NotPlanned,
    /// Soft mixtures.
    #[error("This router weights every expert; there is no choice to change.")]
    NoChoice,
    /// Expert choice.
    #[error("Each expert takes its best tokens here; a token has no k, and no expert can be left out.")]
    OfTokens,
    /// Top-p and thresholds.
    #[error("How many experts a token gets follows from their scores here, not from a number.")]
    ByScores,
    /// An export that runs fixed experts.
    #[error(
        "The experts that run were fixed when the model was exported; another choice would not run others. Export it again."
    )]
    Frozen,
    /// `com.microsoft.MoE` and `QMoE`.
    #[error(
        "The router lies inside ONNX Runtime's MoE operator; only its k can be changed, by loading the model again."
    )]
    Operator,
    /// k is an input already.
    #[error("The model has an input for k itself: {input}.")]
    OwnInput {
        /// The input.
        input: String,
    },
    /// `ArgMax`.
    #[error("The router takes the best expert by its very operator; there is no k to change.")]
    BestOnly,
    /// Fewer experts are used than chosen.
    #[error("The router chooses more experts than it uses, and the number that it uses is fixed.")]
    Cut,
    /// k depends on something.
    #[error("The model computes k by itself.")]
    Computed,
    /// Several choices, each on what the ones before left.
    #[error("Experts are chosen in several steps here; none of them alone can be changed.")]
    SeveralSteps,
    /// Product keys.
    #[error("Experts are pairs of half keys here; there is no score for each of them.")]
    HalfKeys,
    /// No `TopK` or `ArgMax` was found behind the ids.
    #[error("The operation that chooses the experts was not found.")]
    Unseen,
    /// Neither the choice's values nor scores that are looked up by its ids.
    #[error("The weights of the chosen experts do not come from the choice; what another k does could not be proved.")]
    UnseenWeights,
    /// Whatever reaches the k-th score is taken.
    #[error(
        "Experts are taken by a comparison of their scores with the k-th of them here; changing the choice would not move both."
    )]
    Compared,
    /// Type or rank of the scores is not known.
    #[error("The type of the scores is not known; export the model with shape inference.")]
    UnknownType,
    /// Operators that the edit needs are newer.
    #[error(
        "The model's operators are of version {version}; version 11 is needed. Convert it with onnx.version_converter."
    )]
    OldOperators {
        /// The version of ONNX's own operators.
        version: i64,
    },
    /// A k that the router cannot have.
    #[error("A router of this model can take 1 to {most} experts.")]
    OutOfRange {
        /// The largest k.
        most: usize,
    },
    /// It was tried, and what came out was not what it should be.
    #[error("{reason}")]
    Unproved {
        /// A sentence.
        reason: String,
    },
}
