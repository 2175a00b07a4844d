//! Dominators and post-dominators: the nodes through which all data passes on its way to a node, and from it.
//!
//! What a router decides flows apart into experts and comes together again; the place where all of it comes together is
//! the post-dominator of the decision, and the place where the experts' input comes from is the dominator of that. On a
//! graph without cycles both are nearest common ancestors in a tree that grows node by node
//! (Aho, Hopcroft, Ullman: On finding lowest common ancestors in trees, 1973), found here in O(log n) by skipping.

use super::elements::is_product;
use super::{ModelGraph, NodeId, ValueId};

/// The immediate dominator and post-dominator of each node.
#[derive(Debug)]
pub(in crate::model) struct Dominators {
    before: Tree,
    after: Tree,
}

impl Dominators {
    /// Looks at all nodes once, and then at the edges between them only, which are few bytes each.
    pub(in crate::model) fn new(graph: &ModelGraph<'_>) -> Self {
        let edges = Edges::new(graph);
        let count = graph.num_nodes();
        let mut before = Tree::new(count);
        for vertex in 1..=count as u32 {
            before.hang(vertex, edges.before(vertex).iter().copied().reduce(|a, b| before.common(a, b)));
        }
        let mut after = Tree::new(count);
        let ends = Ends::new(graph, &edges);
        // The nearest place where all readers come together that were seen so far; they all come later in the file.
        let mut together = vec![None; count + 1];
        for vertex in (1..=count as u32).rev().filter(|&vertex| ends.alive[vertex as usize]) {
            after.hang(vertex, together[vertex as usize].filter(|_| !ends.is_end[vertex as usize]));
            for &input in edges.before(vertex) {
                let known = together[input as usize];
                together[input as usize] = Some(known.map_or(vertex, |known| after.common(known, vertex)));
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

/// For each node the nodes that its data come from; as a vertex, a node is its index + 1, and 0 is what comes from outside.
struct Edges {
    starts: Vec<u32>,
    before: Vec<u32>,
}

impl Edges {
    fn new(graph: &ModelGraph<'_>) -> Self {
        let mut starts = Vec::with_capacity(graph.num_nodes() + 2);
        starts.extend([0, 0]);
        let mut before = Vec::with_capacity(graph.num_nodes() * 2);
        for id in graph.node_ids() {
            // What only weights and constants reach has no place among the data; it hangs at the root.
            let inputs = graph.data_inputs(graph.node(id)).filter(|&input| graph.value(input).is_data);
            before.extend(inputs.map(|input| graph.producer(input).map_or(Tree::ROOT, vertex)));
            starts.push(before.len() as u32);
        }
        Self { starts, before }
    }

    fn before(&self, vertex: u32) -> &[u32] {
        &self.before[self.starts[vertex as usize] as usize..self.starts[vertex as usize + 1] as usize]
    }
}

fn vertex(node: NodeId) -> u32 {
    node.0 + 1
}

/// A tree whose vertices are nodes (index + 1) and a root (0), with skip pointers to ancestors.
#[derive(Debug)]
struct Tree {
    vertices: Vec<Vertex>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Vertex {
    parent: u32,
    /// An ancestor some levels up; together they allow O(log n) steps (Myers: An applicative random-access stack, 1983).
    skip: u32,
    depth: u32,
}

impl Tree {
    const ROOT: u32 = 0;

    fn new(count: usize) -> Self {
        Self { vertices: vec![Vertex::default(); count + 1] }
    }

    fn at(&self, vertex: u32) -> Vertex {
        self.vertices[vertex as usize]
    }

    /// Hangs `vertex` below `parent`; below the root where there is none.
    fn hang(&mut self, vertex: u32, parent: Option<u32>) {
        let parent = parent.unwrap_or(Self::ROOT);
        let above = self.at(parent);
        let skipped = self.at(above.skip);
        let equal = above.depth - skipped.depth == skipped.depth - self.at(skipped.skip).depth;
        let skip = if equal { skipped.skip } else { parent };
        self.vertices[vertex as usize] = Vertex { parent, skip, depth: above.depth + 1 };
    }

    /// The nearest common ancestor.
    fn common(&self, mut a: u32, mut b: u32) -> u32 {
        if self.at(a).depth < self.at(b).depth {
            std::mem::swap(&mut a, &mut b);
        }
        let depth = self.at(b).depth;
        while self.at(a).depth > depth {
            let Vertex { parent, skip, .. } = self.at(a);
            a = if self.at(skip).depth >= depth { skip } else { parent };
        }
        while a != b {
            let (of_a, of_b) = (self.at(a), self.at(b));
            (a, b) = if of_a.skip == of_b.skip { (of_a.parent, of_b.parent) } else { (of_a.skip, of_b.skip) };
        }
        a
    }

    fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.at(vertex(node)).parent.checked_sub(1).map(NodeId)
    }
}

/// Which outputs count as ends of the data's way. An output that only shows a value that is also used inside (gate
/// probabilities, keys and values of an attention, a loss) would otherwise look like a second way out of every layer.
struct Ends {
    /// By vertex: whether it leads to an end.
    alive: Vec<bool>,
    /// By vertex: whether it gives an end.
    is_end: Vec<bool>,
}

/// What a node leads to.
#[derive(Clone, Copy, PartialEq)]
enum Leads {
    Nowhere,
    To(u32),
    ToSeveral,
}

impl Leads {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nowhere, to) | (to, Self::Nowhere) => to,
            (a, b) if a == b => a,
            _ => Self::ToSeveral,
        }
    }
}

impl Ends {
    fn new(graph: &ModelGraph<'_>, edges: &Edges) -> Self {
        let mut is_end = vec![false; graph.num_nodes() + 1];
        let works = outputs_with_work(graph, edges);
        for (&output, _) in graph.outputs().iter().zip(works).filter(|(_, works)| *works) {
            is_end[graph.producer(output).map_or(Tree::ROOT, vertex) as usize] = true;
        }
        let mut alive = is_end.clone();
        for vertex in (1..alive.len() as u32).rev() {
            if alive[vertex as usize] {
                edges.before(vertex).iter().for_each(|&input| alive[input as usize] = true);
            }
        }
        Self { alive, is_end }
    }
}

/// For each output, whether something with weights is computed for it alone; all of them where none has that.
fn outputs_with_work(graph: &ModelGraph<'_>, edges: &Edges) -> Vec<bool> {
    let outputs = graph.outputs();
    let mut leads = vec![Leads::Nowhere; graph.num_nodes() + 1];
    for (n, &output) in outputs.iter().enumerate() {
        let giver = graph.producer(output).map_or(Tree::ROOT, vertex) as usize;
        leads[giver] = leads[giver].and(Leads::To(n as u32));
    }
    let mut works = vec![false; outputs.len()];
    for at in (1..leads.len() as u32).rev() {
        let to = leads[at as usize];
        if let Leads::To(n) = to
            && !works[n as usize]
        {
            works[n as usize] = has_weights(graph, NodeId(at - 1));
        }
        for &input in edges.before(at) {
            leads[input as usize] = leads[input as usize].and(to);
        }
    }
    if works.contains(&true) { works } else { vec![true; outputs.len()] }
}

/// Whether a node multiplies data with weights.
fn has_weights(graph: &ModelGraph<'_>, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_weight = |value: ValueId| {
        !graph.value(value).is_data
            && graph.num_elements(value).is_none_or(|count| count > 1)
            && graph.shape(value).is_none_or(|shape| shape.len() >= 2)
    };
    (is_product(node.op) || matches!(node.op, "MoE" | "QMoE"))
        && node.inputs.iter().flatten().any(|&input| is_weight(input))
}
