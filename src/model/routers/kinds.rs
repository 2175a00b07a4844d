//! What the values between gate logits and experts mean.
//!
//! Everything that is computed from the logits alone is walked through once, in the order in which it runs, and each value
//! gets a [`Kind`] from the kinds of what it is computed from. Exporters write one and the same rule in dozens of ways;
//! what they all have is that scores become choices, choices become masks or indices, and scores are picked by those.

use super::report::{Groups, ScoreFunction};
use crate::model::graph::{NodeId, ValueId};

/// What a value means to the router.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// One score per expert.
    Scores(Scores),
    /// `exp` of scores, on the way to a softmax that is written out.
    Exponents(Scores),
    /// Scores laid out as [.., groups, experts of a group].
    Grouped(Scores),
    /// Something per group of experts: a sum or maximum of its scores, or several of its scores.
    GroupScores,
    /// The groups that were chosen.
    GroupIds,
    /// The sum, over experts or choices, of another value.
    SumOf(ValueId),
    /// Scores of what was chosen.
    Picked(Picked),
    /// Chosen experts; with the axis of choices, where there is one.
    Ids { axis: Option<usize> },
    /// One, or zero, per expert or choice.
    Mask(MaskOf),
    /// Of those that chose an expert, the tokens that it keeps.
    TokenIds,
    /// How many tokens chose the same expert so far.
    Places,
    /// All scores in descending order.
    Sorted(Scores),
    /// Sums of those in order.
    Cumulated,
    /// The experts in that order.
    SortedIds,
    /// A constant of each expert, looked up for the chosen ones.
    Factor,
    /// Anything else that depends on logits and constants only.
    Other,
}

/// One score per expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scores {
    /// What made them of the logits.
    pub function: ScoreFunction,
    /// Whether a bias for the choice alone was added.
    pub biased: bool,
    /// The axis of experts, counted from the front.
    pub axis: Option<usize>,
    /// Whether the function was normalised over tokens rather than experts.
    pub over_tokens: bool,
    /// What was left out.
    pub masked: Option<MaskOf>,
    /// Whether this is one expert's column.
    pub column: Option<i64>,
}

/// Scores of what was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Picked {
    /// What made them of the logits before the choice.
    pub before: ScoreFunction,
    /// What was applied after the choice.
    pub after: ScoreFunction,
    /// Whether they carry the bias of the choice.
    pub biased: bool,
    /// Whether they were divided by their sum.
    pub renormalized: bool,
    /// Product of constant factors.
    pub scale: f32,
    /// Whether there is one per expert rather than one per choice.
    pub dense: bool,
    /// The axis of choices (or experts), counted from the front.
    pub axis: Option<usize>,
    /// Number of operations that changed them since they were picked.
    pub stage: u32,
    /// Whether their function saw some of the experts only.
    pub of_part: bool,
    /// Whether they belong to one of several choices.
    pub of_one: bool,
    /// Whether they are maxima: the weights of an `ArgMax`, or a part of a softmax that is written out.
    pub of_max: bool,
}

/// What a mask says yes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MaskOf {
    /// Chosen experts.
    Choice,
    /// The one expert of one of several choices.
    Rank,
    /// Experts of chosen groups.
    Groups,
    /// Experts whose score passes a constant.
    Limit,
    /// The fewest experts that reach a sum.
    Cumulated,
    /// Assignments for which an expert has room.
    Room,
    /// Something that is not known.
    Unknown,
}

impl MaskOf {
    /// The same for whatever does not ask which of several choices it is.
    pub(super) fn of_choice(self) -> Self {
        if self == Self::Rank { Self::Choice } else { self }
    }
}

/// A choice among experts (or, for expert choice, among tokens).
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// `TopK` or `ArgMax`.
    pub node: NodeId,
    /// What it chooses from.
    pub scores: Scores,
    /// Size of the axis that it chooses along.
    pub among: Option<i64>,
    /// Whether that is the axis of tokens.
    pub of_tokens: bool,
    /// Whether it chooses from what an earlier choice left.
    pub cascaded: bool,
}

/// A sum, along the assignments of each group, of who chose an expert so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// Who chose it: one-hot vectors.
    pub mask: ValueId,
    /// The axis that is summed along, counted from the front.
    pub axis: usize,
    /// Whether the tokens were put in another order before.
    pub is_sorted: bool,
}

/// What the walk through a router found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Choices in the order in which they run, those among groups left out.
    pub choices: Vec<Choice>,
    /// Limited choice.
    pub groups: Option<Groups>,
    /// Scores of all experts: the first value that is complete.
    pub probs: Option<(ValueId, Scores)>,
    /// All softmaxes of the logits: node and scores.
    pub softmaxes: Vec<(NodeId, ValueId, Scores)>,
    /// The chosen experts, collected from several choices.
    pub ids: Option<(ValueId, Option<usize>)>,
    /// How many of the chosen count, where some of them are cut off.
    pub front: Option<i64>,
    /// Tensors that tell for which choices there was room: comparisons, masks of the tokens that experts keep, and one-hot places with their axis of places.
    pub room: Vec<(ValueId, Option<usize>)>,
    /// Places in the experts' buffers are limited: to so many, where that is fixed.
    pub capacity: Option<Option<usize>>,
    /// Where places are counted.
    pub counted: Option<Counted>,
    /// The fewest experts that reach a sum are taken.
    pub cumulated: bool,
    /// Scores are compared with a constant.
    pub limited: bool,
    /// What passes the limit is taken, and the best expert where nothing does (DynMoE: Guo et al. 2025).
    pub falls_back: bool,
    /// Chosen experts from this number on are told apart, because they are none (AdaMoE: Zeng et al. 2024).
    pub real_experts: Option<i64>,
    /// Noise is drawn inside.
    pub random: bool,
}
