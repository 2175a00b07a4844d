//! What the finder found, in words: one place, so that the commands and the window call a rule by the same name.

use super::report::{
    Capacity, Confidence, ExpertForm, FixedExpert, FixedRouting, FixedRule, GatingRule, LookedAt, Parameters, Priority,
    RankTensors, Router, RouterReport, RouterTensors, ScoreFunction, Takes, TensorRef, TopKSource,
};
use crate::model::elements::element_name;
use std::fmt;

impl GatingRule {
    /// A short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftmaxThenTopK => "softmax, then top-k",
            Self::SoftmaxThenTopKRenormalized => "softmax, then top-k, renormalised",
            Self::TopKThenSoftmax => "top-k, then softmax",
            Self::SigmoidThenTopK => "sigmoid, then top-k",
            Self::SigmoidThenTopKRenormalized => "sigmoid, then top-k, renormalised",
            Self::SqrtSoftplusThenTopK => "√softplus, then top-k",
            Self::SqrtSoftplusThenTopKRenormalized => "√softplus, then top-k, renormalised",
            Self::Soft => "soft mixture",
            Self::ExpertChoice => "expert choice",
            Self::SoftMoe => "soft slots (Soft MoE)",
            Self::TopP => "top-p",
            Self::ProductKey => "product keys",
            Self::ArgMax => "arg-max",
            Self::ContribMoe => "ONNX Runtime's MoE operator",
            Self::Threshold => "threshold",
            Self::Other => "another rule",
        }
    }

    /// What it does, in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SoftmaxThenTopK => {
                "The k most probable experts of a softmax over all, weighted by those probabilities as they are"
            }
            Self::SoftmaxThenTopKRenormalized => {
                "The k most probable experts of a softmax over all, weighted by those probabilities divided by their sum"
            }
            Self::TopKThenSoftmax => "The k experts with the largest logits, weighted by a softmax over those k alone",
            Self::SigmoidThenTopK => "The k experts with the largest scores, weighted by the sigmoid of their logits",
            Self::SigmoidThenTopKRenormalized => {
                "The k experts with the largest scores, weighted by the sigmoid of their logits divided by the sum"
            }
            Self::SqrtSoftplusThenTopK => {
                "The k experts with the largest scores, weighted by the root of the softplus of their logits"
            }
            Self::SqrtSoftplusThenTopKRenormalized => {
                "The k experts with the largest scores, weighted by the root of the softplus of their logits divided by \
                 the sum"
            }
            Self::Soft => "Every expert, weighted by its score",
            Self::ExpertChoice => "Each expert takes the tokens that score best for it",
            Self::SoftMoe => "Each expert handles slots, which are weighted means of all tokens",
            Self::TopP => "As many experts as it takes for their probabilities to reach a sum",
            Self::ProductKey => "The best pairs of two half keys, each of which names an expert",
            Self::ArgMax => "The expert with the largest score",
            Self::ContribMoe => "Whatever the operator does with its logits inside",
            Self::Threshold => "Every expert whose score passes a limit",
            Self::Other => "Chosen and weighted in a way that the finder has no name for",
        }
    }
}

impl ScoreFunction {
    /// How the scores come from the gate logits.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "the logits themselves",
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::SqrtSoftplus => "√softplus",
            Self::Relu => "ReLU",
        }
    }
}

impl TopKSource {
    /// Where k comes from.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::None => "there is no k".to_owned(),
            Self::Constant => "a constant of the graph".to_owned(),
            Self::Attribute => "an attribute of the operator".to_owned(),
            Self::Input { name } => format!("the model's input {name}"),
            Self::Operator => "the operator, which takes the largest".to_owned(),
            Self::Computed => "computed by the graph".to_owned(),
        }
    }
}

impl Confidence {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Unsure => "unsure",
        }
    }

    /// What the word means, in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Certain => "Router, rule and all experts were found",
            Self::Likely => "The router is plain, its rule or its experts not in every part",
            Self::Unsure => "Something is missing or odd: look at the evidence before you believe the pictures",
        }
    }
}

impl ExpertForm {
    /// How the experts stand in the graph.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Branches => "a branch each",
            Self::Stacked => "stacked weights in batched products",
            Self::Gathered => "weights gathered for each token",
            Self::Rows => "rows of tables",
            Self::Kernels => "kernels that are mixed before use",
            Self::Loop => "a loop that runs once per expert",
            Self::Operator => "inside one operator",
        }
    }
}

impl Router {
    /// How many experts a token gets: `2 of 8`, `k of 8`, `all 8`.
    #[must_use]
    pub fn choice(&self) -> String {
        match (self.top_k, self.rule) {
            (Some(k), _) if self.heads > 1 => format!("{k} of {} in each of {} heads", self.num_experts, self.heads),
            (Some(k), _) => format!("{k} of {}", self.num_experts),
            (None, GatingRule::Soft | GatingRule::SoftMoe) => format!("all {}", self.num_experts),
            (None, GatingRule::ExpertChoice | GatingRule::TopP | GatingRule::Threshold) => {
                format!("some of {}", self.num_experts)
            }
            (None, _) => format!("k of {}", self.num_experts),
        }
    }

    /// What the rule has beside its name, such as groups, a capacity or shared experts.
    #[must_use]
    pub fn extras(&self) -> Vec<String> {
        let mut extras = Vec::new();
        extras.extend(self.inner_rule.map(|rule| format!("{} inside", rule.name())));
        extras.extend(self.per_image.then(|| "one decision for the whole image".to_owned()));
        extras.extend(self.selection_bias.then(|| "chosen with a bias that the weights do not have".to_owned()));
        extras.extend(self.groups.map(|groups| format!("limited to {} of {} groups", groups.kept, groups.n)));
        extras.extend(self.scale.map(|scale| format!("weights × {scale}")));
        extras.extend(self.capacity.map(Capacity::words));
        extras.extend(match self.shared_experts {
            0 => None,
            1 => Some("1 shared expert".to_owned()),
            shared => Some(format!("{shared} shared experts")),
        });
        extras
    }
}

impl Capacity {
    /// The limit, the group that it holds for, and who is placed first.
    #[must_use]
    pub fn words(self) -> String {
        let limit = match self.per_expert {
            Some(tokens) => format!("at most {tokens} tokens per expert"),
            None => "a limited number of tokens per expert".to_owned(),
        };
        let group = self.group_tokens.map(|tokens| format!(" in each group of {tokens}")).unwrap_or_default();
        let priority = match self.priority {
            Priority::FirstCome => ", placed in their order",
            Priority::BatchPriority => ", the most certain placed first",
            Priority::ExpertChoice => "",
        };
        format!("{limit}{group}{priority}")
    }
}

impl RouterTensors {
    /// Those that were found, each with what it carries.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &TensorRef)> {
        let all = [
            ("gate logits", &self.gate_logits),
            ("gate probabilities", &self.gate_probs),
            ("expert ids", &self.expert_ids),
            ("combine weights", &self.combine_weights),
        ];
        let kept = self.kept.as_ref().map(|kept| ("room for the choices", &kept.tensor));
        let dispatch = self.dispatch.as_ref().map(|dispatch| ("dispatch weights", &dispatch.tensor));
        let ranks = self.ranks.iter().flat_map(RankTensors::named);
        all.into_iter()
            .filter_map(|(what, tensor)| Some((what, tensor.as_ref()?)))
            .chain(kept)
            .chain(dispatch)
            .chain(ranks)
    }
}

impl RankTensors {
    fn named(&self) -> impl Iterator<Item = (&'static str, &TensorRef)> {
        let kept = self.kept.as_ref().map(|kept| ("room for one choice", &kept.tensor));
        let ids = self.expert_ids.as_ref().map(|tensor| ("expert ids of one choice", tensor));
        ids.into_iter()
            .chain(self.combine_weights.as_ref().map(|tensor| ("combine weights of one choice", tensor)))
            .chain(kept)
    }
}

/// As people write it: `float32 [?, 196, 8]`.
impl fmt::Display for TensorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(element_name(self.element))?;
        if self.shape.is_empty() {
            return f.write_str(", shape not known");
        }
        let sizes = self.shape.iter().map(|&size| if size < 0 { "?".to_owned() } else { size.to_string() });
        write!(f, " [{}]", sizes.collect::<Vec<_>>().join(", "))
    }
}

impl FixedRouting {
    /// What was found, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let rule = match &self.rule {
            FixedRule::Position => "the position of a token".to_owned(),
            FixedRule::Input { name } => format!("the input {name}"),
            FixedRule::Table { name, .. } => format!("a table in which the input {name} is looked up"),
            FixedRule::Computed => "something that is not computed from features".to_owned(),
        };
        format!("Tokens are routed to {} experts by a fixed rule, {rule}: there is no gate", self.num_experts)
    }

    /// What each expert takes, the first one first.
    #[must_use]
    pub fn assignment(&self) -> Vec<String> {
        let ids = match &self.rule {
            FixedRule::Table { ids_per_expert, .. } => ids_per_expert.as_slice(),
            _ => &[],
        };
        let expert = |(n, expert): (usize, &FixedExpert)| {
            let ids = ids.get(n).map_or_else(String::new, |ids| format!(", {ids} ids"));
            format!("expert {n} takes {}{ids}", expert.takes)
        };
        self.experts.iter().enumerate().map(expert).collect()
    }
}

/// In words, behind "takes".
impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More places than this say nothing to a reader.
        const MOST: usize = 12;
        match self {
            Self::Range { start, end } => write!(f, "tokens {start} to {}", end - 1),
            Self::Positions { positions } => {
                let places: Vec<String> = positions.iter().take(MOST).map(i64::to_string).collect();
                let more = if positions.len() > MOST { ", …" } else { "" };
                write!(f, "the {} tokens {}{more}", positions.len(), places.join(", "))
            }
            Self::Equal { tensor, equals } => write!(f, "tokens whose {} is {equals}", tensor.name),
            Self::Computed { tensor: Some(tensor) } => write!(f, "tokens by {}", tensor.name),
            Self::Computed { tensor: None } => f.write_str("tokens that the graph works out"),
        }
    }
}

impl LookedAt {
    /// What was looked for, with how often it was there.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "looked at {} TopK, {} ArgMax, {} Softmax, {} Sigmoid, {} Relu and {} MoE operators among {} nodes",
            self.top_k, self.arg_max, self.softmax, self.sigmoid, self.relu, self.moe_operators, self.nodes
        )
    }
}

impl RouterReport {
    /// What the graph really runs for one token, beside what its routers choose; `parameters` are this report's, at some k.
    #[must_use]
    pub fn execution_sentence(&self, parameters: &Parameters) -> String {
        let running_all = self.routers.iter().filter(|router| router.runs_all()).count();
        let whose = match running_all {
            all if all == self.routers.len() => "runs all experts, whatever is chosen".to_owned(),
            some => format!("runs all experts of {some} of {} routers, whatever is chosen", self.routers.len()),
        };
        match (parameters.activated, parameters.executed) {
            _ if self.routers.is_empty() && !self.fixed.is_empty() => {
                "A token passes through the one expert that a fixed rule gives it to; there are no routers".to_owned()
            }
            _ if self.routers.is_empty() => "Every parameter works on every image: there are no routers".to_owned(),
            (Some(activated), Some(executed)) if executed > activated => format!("This graph {whose}"),
            (Some(_), Some(executed)) if executed < parameters.total => {
                "This graph runs only the experts that were chosen".to_owned()
            }
            (Some(_), Some(_)) => "Every expert is chosen".to_owned(),
            (None, _) if running_all > 0 => {
                format!("How many are activated differs from token to token; this graph {whose}")
            }
            (None, _) => "How many are activated differs from token to token".to_owned(),
            (Some(_), None) => "How many this graph runs differs from token to token".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routers::routers_of;
    use crate::model::{DEFAULT_MODEL, ModelCard, decode_model, describe_model, map_file};
    use std::path::Path;

    fn default_model() -> (RouterReport, ModelCard) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DEFAULT_MODEL);
        let file = map_file(&path).unwrap();
        let report = routers_of(&decode_model(&path, &file).unwrap());
        (report, describe_model(&path, &file).unwrap().card().unwrap().0)
    }

    /// The card has PyTorch's numbers.
    #[test]
    fn parameters_at_every_k_are_those_of_the_card() {
        let (report, card) = default_model();
        let counted = card.parameters.unwrap();
        // Two constants of the graph are no parameters of PyTorch's.
        assert_eq!(report.parameters.total - counted.total, 2);
        assert!(counted.activated.len() > 2);
        for (&k, &activated) in &counted.activated {
            let parameters = report.parameters_at(&report.with_input(k));
            assert_eq!(parameters.activated, Some(activated + 2), "k = {k}");
            assert_eq!(parameters.executed, parameters.activated, "the default model dispatches");
        }
    }

    #[test]
    fn what_a_graph_runs_is_told_by_its_numbers() {
        let (mut report, _) = default_model();
        let routers = report.routers.len();
        let at = |report: &RouterReport, k: Option<usize>| {
            let run_with = k.map_or_else(Vec::new, |k| report.with_input(k));
            report.execution_sentence(&report.parameters_at(&run_with))
        };
        assert_eq!(at(&report, Some(2)), "This graph runs only the experts that were chosen");
        assert_eq!(at(&report, Some(8)), "Every expert is chosen");
        assert_eq!(at(&report, None), at(&report, Some(2)), "the model's default");
        report.routers[0].experts.all_executed = true;
        let some = format!("This graph runs all experts of 1 of {routers} routers, whatever is chosen");
        assert_eq!(at(&report, Some(2)), some);
        report.routers.iter_mut().for_each(|router| router.experts.all_executed = true);
        assert_eq!(at(&report, Some(2)), "This graph runs all experts, whatever is chosen");
        report.routers[0].rule = GatingRule::Threshold;
        assert!(
            at(&report, None).starts_with("How many are activated differs from token to token; this graph runs all")
        );
        report.routers.clear();
        assert!(at(&report, None).contains("no routers"));
    }
}
