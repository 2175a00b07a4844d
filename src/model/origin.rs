//! Where the values of a tensor are made. Two names may stand for the same values, as where an exporter reshaped what it
//! gives as an output; and of two tensors one is made first.

use super::TensorPath;
use super::graph::{FastMap, ModelGraph, NodeId, ValueId};
use super::routers::place;

/// Longer ways of nothing but casts and reshapes do not occur.
const MAX_STEPS: usize = 16;

/// The output of a node that a tensor has its values from. A smaller one can be made before a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    node: NodeId,
    value: ValueId,
}

/// The origin of each of `tensors`, in their order; `None` for what the graph does not have, or no node makes.
#[must_use]
pub fn origins(graph: &ModelGraph<'_>, tensors: &[TensorPath]) -> Vec<Option<Origin>> {
    let mut wanted: FastMap<&str, Vec<usize>> = FastMap::default();
    for (at, tensor) in tensors.iter().enumerate() {
        wanted.entry(tensor.name.as_str()).or_default().push(at);
    }
    let mut found = vec![None; tensors.len()];
    for id in graph.value_ids() {
        let value = graph.value(id);
        let Some(named) = wanted.get(value.name) else { continue };
        let place = place(graph, value.scope);
        for &at in named.iter().filter(|&&at| tensors[at].is_at(&place)) {
            found[at] = found[at].or_else(|| origin(graph, id));
        }
    }
    found
}

/// Looks through what leaves every element as it is, in the same order.
fn origin(graph: &ModelGraph<'_>, mut value: ValueId) -> Option<Origin> {
    for _ in 0..MAX_STEPS {
        let (_, node) = graph.producing(value)?;
        match (node.op, node.input(0)) {
            ("Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten", Some(input))
                if graph.producer(input).is_some() =>
            {
                value = input;
            }
            _ => break,
        }
    }
    graph.producer(value).map(|node| Origin { node, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::graph::testing::Sketch;

    #[test]
    fn tensors_with_the_same_values_have_one_origin_and_the_first_made_is_the_smallest() {
        let mut sketch = Sketch::with_input(&[4, 6]);
        sketch.weight("gate", &[6, 3]);
        sketch.ints("shape", &[2, 2, 3]);
        sketch.op("MatMul", "x gate", "logits", &[]);
        sketch.op("Softmax", "logits", "probs", &[("axis", -1)]);
        sketch.op("Reshape", "probs shape", "reshaped", &[]);
        sketch.op("Identity", "reshaped", "y", &[]);
        let model = sketch.model("y");
        let graph = ModelGraph::new(&model).unwrap();
        let paths = ["y", "probs", "logits", "x", "nothing", "@3:probs"].map(TensorPath::parse);
        let found = origins(&graph, &paths);
        assert!(found[0].is_some() && found[0] == found[1]);
        assert!(found[2] < found[1] && found[2].is_some());
        assert_eq!(found[3..], [None, None, None], "an input, a name that is nowhere, a place that is nowhere");
    }
}
