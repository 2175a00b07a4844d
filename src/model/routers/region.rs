//! The part of the graph between a router and the place where its experts' outputs come together.

use crate::model::graph::{Dominators, ModelGraph, NodeId, ValueId};

/// A part of the graph that data enters at one node and leaves at another.
#[derive(Debug)]
pub(super) struct Region {
    /// The last node before it: what data it reads comes through there, or from weights.
    pub entry: Option<NodeId>,
    /// The node through which everything leaves.
    pub merge: NodeId,
    /// All nodes, `merge` included, in order.
    pub nodes: Vec<NodeId>,
}

/// Looks for regions without ever spending more than a multiple of the graph on it.
#[derive(Debug)]
pub(super) struct Regions<'g, 'a> {
    graph: &'g ModelGraph<'a>,
    pub dominators: Dominators,
    /// The number of the search that saw a node last.
    seen: Vec<u32>,
    search: u32,
    /// Nodes that may still be visited.
    budget: usize,
}

/// Visits per node of the graph, over all searches: enough for every router of a deep model, and still linear.
const VISITS_PER_NODE: usize = 48;

impl<'g, 'a> Regions<'g, 'a> {
    pub(super) fn new(graph: &'g ModelGraph<'a>) -> Self {
        let nodes = graph.num_nodes();
        let budget = nodes.saturating_mul(VISITS_PER_NODE).max(10_000);
        Self { graph, dominators: Dominators::new(graph), seen: vec![0; nodes], search: 0, budget }
    }

    /// Whether a search had to be left out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.budget == 0
    }

    /// The region that ends at `merge`: all that `merge` depends on, back to the node through which everything enters
    /// it, or at least to `floor`.
    pub(super) fn ending_at(&mut self, merge: NodeId, floor: Option<NodeId>) -> Region {
        let entry = self.dominators.before(merge).filter(|&entry| floor.is_none_or(|floor| entry <= floor)).or(floor);
        let nodes = self.back_from(&[merge], entry);
        Region { entry, merge, nodes }
    }

    /// All nodes that `from` depend on and that come after `floor`, in order.
    pub(super) fn back_from(&mut self, from: &[NodeId], floor: Option<NodeId>) -> Vec<NodeId> {
        self.search += 1;
        let mut nodes = Vec::new();
        let mut stack = from.to_vec();
        while let Some(id) = stack.pop() {
            if floor.is_some_and(|floor| id <= floor) || self.budget == 0 {
                continue;
            }
            if std::mem::replace(&mut self.seen[id.index()], self.search) == self.search {
                continue;
            }
            self.budget -= 1;
            nodes.push(id);
            let node = self.graph.node(id);
            stack.extend(self.graph.data_inputs(node).filter_map(|input| self.data_producer(input)));
        }
        nodes.sort_unstable();
        nodes
    }

    fn data_producer(&self, value: ValueId) -> Option<NodeId> {
        self.graph.producer(value).filter(|_| self.graph.value(value).is_data)
    }
}
