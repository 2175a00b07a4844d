//! Dominators and post-dominators: the nodes through which all data passes on its way to a node, and from it.
//!
//! What a router decides flows apart into experts and comes together again; the place where all of it comes together is
//! the post-dominator of the decision, and the place where the experts' input comes from is the dominator of that. On a
//! graph without cycles both are nearest common ancestors in a tree that grows node by node
//! (Aho, Hopcroft, Ullman: On finding lowest common ancestors in trees, 1973), found here in O(log n) by skipping.

use super::{ModelGraph, NodeId, ValueId};

/// The immediate dominator and post-dominator of each node.
#[derive(Debug)]
pub(in crate::model) struct Dominators {
    before: Tree,
    after: Tree,
}

impl Dominators {
    /// Looks at all nodes once.
    pub(in crate::model) fn new(graph: &ModelGraph<'_>) -> Self {
        let count = graph.num_nodes();
        let mut before = Tree::new(count);
        for id in graph.node_ids() {
            // What only weights and constants reach has no place among the data; it hangs at the root.
            let inputs = graph.data_inputs(graph.node(id)).filter(|&input| graph.value(input).is_data);
            let nodes = inputs.map(|input| graph.producer(input).map_or(Tree::ROOT, |node| node.0 + 1));
            before.hang(id.0 + 1, nodes);
        }
        let mut after = Tree::new(count);
        let ends = Ends::new(graph);
        for id in graph.node_ids().collect::<Vec<_>>().into_iter().rev() {
            if ends.is_alive(id) {
                let readers = graph.node(id).outputs.iter().flat_map(|&output| graph.data_consumers(output));
                let readers = readers.filter(|&reader| ends.is_alive(reader)).map(|reader| reader.0 + 1);
                let end = ends.is_end(graph, id).then_some(Tree::ROOT);
                after.hang(id.0 + 1, readers.chain(end));
            }
        }
        Self { before, after }
    }

    /// The nearest node through which all data passes on its way to `node`; `None` where there is no single one.
    pub(in crate::model) fn before(&self, node: NodeId) -> Option<NodeId> {
        self.before.parent(node)
    }

    /// The nearest node through which all that `node` gives passes; `None` where it ends in several outputs.
    pub(in crate::model) fn after(&self, node: NodeId) -> Option<NodeId> {
        self.after.parent(node)
    }
}

/// A tree whose vertices are nodes (index + 1) and a root (0), with skip pointers to ancestors.
#[derive(Debug)]
struct Tree {
    parent: Vec<u32>,
    /// An ancestor some levels up; together they allow O(log n) steps (Myers: An applicative random-access stack, 1983).
    skip: Vec<u32>,
    depth: Vec<u32>,
}

impl Tree {
    const ROOT: u32 = 0;

    fn new(count: usize) -> Self {
        Self { parent: vec![0; count + 1], skip: vec![0; count + 1], depth: vec![0; count + 1] }
    }

    /// Hangs `vertex` below the nearest common ancestor of `others`; below the root where there are none.
    fn hang(&mut self, vertex: u32, others: impl Iterator<Item = u32>) {
        let parent = others.reduce(|a, b| self.common(a, b)).unwrap_or(Self::ROOT);
        let (p, v) = (parent as usize, vertex as usize);
        let skipped = self.skip[p] as usize;
        let levels = |a: usize, b: usize| self.depth[a] - self.depth[b];
        let equal = levels(p, skipped) == levels(skipped, self.skip[skipped] as usize);
        self.skip[v] = if equal { self.skip[skipped] } else { parent };
        self.parent[v] = parent;
        self.depth[v] = self.depth[p] + 1;
    }

    fn common(&self, mut a: u32, mut b: u32) -> u32 {
        let depth = |vertex: u32| self.depth[vertex as usize];
        if depth(a) < depth(b) {
            std::mem::swap(&mut a, &mut b);
        }
        while depth(a) > depth(b) {
            let skip = self.skip[a as usize];
            a = if depth(skip) >= depth(b) { skip } else { self.parent[a as usize] };
        }
        while a != b {
            let (skip_a, skip_b) = (self.skip[a as usize], self.skip[b as usize]);
            (a, b) =
                if skip_a == skip_b { (self.parent[a as usize], self.parent[b as usize]) } else { (skip_a, skip_b) };
        }
        a
    }

    fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.parent[node.index() + 1].checked_sub(1).map(NodeId)
    }
}

/// Which outputs count as ends of the data's way. An output that only shows a value that is also used inside (gate
/// probabilities, keys and values of an attention, a loss) would otherwise look like a second way out of every layer.
struct Ends {
    alive: Vec<bool>,
    is_end: Vec<bool>,
}

/// What a node leads to.
#[derive(Clone, Copy, PartialEq)]
enum Leads {
    Nowhere,
    To(u32),
    ToSeveral,
}

impl Ends {
    fn new(graph: &ModelGraph<'_>) -> Self {
        let outputs = graph.outputs();
        let is_end = Self::outputs_with_work(graph, outputs);
        let mut alive = vec![false; graph.num_nodes()];
        let mut stack: Vec<NodeId> = Vec::new();
        for (&output, _) in outputs.iter().zip(&is_end).filter(|(_, end)| **end) {
            stack.extend(graph.producer(output));
        }
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut alive[id.index()], true) {
                stack.extend(graph.data_inputs(graph.node(id)).filter_map(|input| graph.producer(input)));
            }
        }
        let mut ends = vec![false; graph.value_ids().count()];
        for (&output, &end) in outputs.iter().zip(&is_end) {
            ends[output.index()] |= end;
        }
        Self { alive, is_end: ends }
    }

    /// For each output, whether something with weights is computed for it alone; all of them where none has that.
    fn outputs_with_work(graph: &ModelGraph<'_>, outputs: &[ValueId]) -> Vec<bool> {
        let mut leads = vec![Leads::Nowhere; graph.num_nodes()];
        let join = |leads: &mut Vec<Leads>, id: NodeId, to: Leads| {
            let now = leads[id.index()];
            leads[id.index()] = match (now, to) {
                (Leads::Nowhere, to) | (to, Leads::Nowhere) => to,
                (a, b) if a == b => a,
                _ => Leads::ToSeveral,
            };
        };
        for (n, &output) in outputs.iter().enumerate() {
            if let Some(id) = graph.producer(output) {
                join(&mut leads, id, Leads::To(n as u32));
            }
        }
        let mut works = vec![false; outputs.len()];
        for id in graph.node_ids().collect::<Vec<_>>().into_iter().rev() {
            let to = leads[id.index()];
            let node = graph.node(id);
            if let (Leads::To(n), true) = (to, has_weights(graph, id)) {
                works[n as usize] = true;
            }
            for input in graph.data_inputs(node).collect::<Vec<_>>() {
                if let Some(before) = graph.producer(input) {
                    join(&mut leads, before, to);
                }
            }
        }
        if works.contains(&true) { works } else { vec![true; outputs.len()] }
    }

    fn is_alive(&self, id: NodeId) -> bool {
        self.alive[id.index()]
    }

    fn is_end(&self, graph: &ModelGraph<'_>, id: NodeId) -> bool {
        graph.node(id).outputs.iter().any(|output| self.is_end[output.index()])
    }
}

/// Whether a node multiplies data with weights.
fn has_weights(graph: &ModelGraph<'_>, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_weight = |value: ValueId| {
        !graph.value(value).is_data
            && graph.num_elements(value).is_none_or(|count| count > 1)
            && graph.shape(value).is_none_or(|shape| shape.len() >= 2)
    };
    matches!(
        node.op,
        "MatMul"
            | "Gemm"
            | "Conv"
            | "ConvTranspose"
            | "Einsum"
            | "FusedMatMul"
            | "FusedGemm"
            | "FusedConv"
            | "MatMulInteger"
            | "ConvInteger"
            | "QLinearMatMul"
            | "QLinearConv"
            | "MatMulNBits"
            | "MoE"
            | "QMoE"
    ) && node.inputs.iter().flatten().any(|&input| is_weight(input))
}
