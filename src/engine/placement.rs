//! Which of a model's nodes run on which provider, as ONNX Runtime assigned them.
//!
//! A provider that starts takes the nodes it has kernels for, and leaves the others to the CPU: "runs on WebGPU" alone
//! says little. What is counted here is read from the session, never guessed from the operators.

use super::Provider;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a model's nodes run. Counted are the nodes of the graph that ONNX Runtime made of the model's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The most frequent first; by provider and operator where equal.
    pub ops: Vec<PlacedOp>,
    /// Nodes that copy a tensor from one provider's memory to another's, in the whole model.
    pub copies: usize,
}

/// How many nodes of one operator run on one provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlacedOp {
    /// ONNX Runtime's name of the provider, such as `CPUExecutionProvider`.
    pub provider: String,
    /// The operator, with its domain if it is not ONNX's own: `NonZero`, `com.microsoft.FusedMatMul`.
    pub op: String,
    /// Number of nodes.
    pub count: usize,
}

impl Placement {
    /// Counts nodes, each given as ONNX Runtime's name of its provider and its operator.
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = (String, String)>, copies: usize) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for node in nodes {
            *counts.entry(node).or_insert(0_usize) += 1;
        }
        let placed = |((provider, op), count)| PlacedOp { provider, op, count };
        let mut ops: Vec<PlacedOp> = counts.into_iter().map(placed).collect();
        ops.sort_by_key(|op| std::cmp::Reverse(op.count));
        Self { ops, copies }
    }

    /// Number of nodes; 0 where ONNX Runtime told nothing.
    #[must_use]
    pub fn num_nodes(&self) -> usize {
        self.ops.iter().map(|op| op.count).sum()
    }

    /// Number of nodes on one provider.
    #[must_use]
    pub fn num_nodes_on(&self, provider: Provider) -> usize {
        self.ops.iter().filter(|op| op.is_on(provider)).map(|op| op.count).sum()
    }

    /// The operators that do not run on `provider`, the most frequent first.
    pub fn elsewhere(&self, provider: Provider) -> impl Iterator<Item = &PlacedOp> {
        self.ops.iter().filter(move |op| !op.is_on(provider))
    }

    /// One sentence about a model that was loaded with `provider`, such as "412 of 430 nodes on WebGPU; on the CPU:
    /// NonZero ×4, Split ×4; 8 copies between them".
    #[must_use]
    pub fn sentence(&self, provider: Provider) -> String {
        let (total, here) = (self.num_nodes(), self.num_nodes_on(provider));
        if total == 0 {
            return "ONNX Runtime does not tell where the nodes run".to_owned();
        }
        let mut text = format!("{here} of {total} nodes on {provider}");
        let mut others: Vec<&str> = self.elsewhere(provider).map(|op| op.provider.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        for other in others {
            let ops: Vec<String> = self.ops.iter().filter(|op| op.provider == other).map(ToString::to_string).collect();
            let name = Provider::from_ort_name(other).map_or(other, |provider| provider.name());
            text += &format!("; on {name}: {}", ops.join(", "));
        }
        match self.copies {
            0 => {}
            1 => text += "; 1 copy between them",
            copies => text += &format!("; {copies} copies between them"),
        }
        text
    }
}

impl PlacedOp {
    fn is_on(&self, provider: Provider) -> bool {
        self.provider == provider.ort_name()
    }
}

impl fmt::Display for PlacedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ×{}", self.op, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(nodes: &[(&str, &str)], copies: usize) -> Placement {
        Placement::of(nodes.iter().map(|&(provider, op)| (provider.to_owned(), op.to_owned())), copies)
    }

    #[test]
    fn nodes_are_counted_by_provider_and_operator() {
        let (gpu, cpu) = ("WebGpuExecutionProvider", "CPUExecutionProvider");
        let found = placement(&[(cpu, "NonZero"), (gpu, "MatMul"), (gpu, "Add"), (cpu, "Add"), (gpu, "MatMul")], 3);
        assert_eq!((found.num_nodes(), found.num_nodes_on(Provider::WebGpu)), (5, 3));
        assert_eq!(found.ops[0].to_string(), "MatMul ×2");
        assert_eq!(
            found.sentence(Provider::WebGpu),
            "3 of 5 nodes on WebGPU; on CPU: Add ×1, NonZero ×1; 3 copies between them"
        );
    }

    #[test]
    fn a_model_on_one_provider_is_told_in_few_words() {
        let found = placement(&[("CPUExecutionProvider", "Add")], 0);
        assert_eq!(found.sentence(Provider::Cpu), "1 of 1 nodes on CPU");
        assert!(Placement::default().sentence(Provider::Cpu).contains("does not tell"));
    }

    #[test]
    fn a_provider_that_we_do_not_know_keeps_its_name() {
        let found = placement(&[("FooExecutionProvider", "Add")], 0);
        assert_eq!(found.sentence(Provider::Cpu), "0 of 1 nodes on CPU; on FooExecutionProvider: Add ×1");
    }
}
