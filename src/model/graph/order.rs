//! Puts the nodes in an order in which they can run, and lists the consumers of each value.

use super::{ModelGraph, NodeId, Source};
use std::collections::VecDeque;

impl ModelGraph<'_> {
    /// Files keep their nodes in order, hand-made ones not always. Nodes on a cycle can never run and are left out.
    pub(super) fn sort_nodes(&mut self) {
        if self.is_sorted() {
            return;
        }
        self.index_consumers();
        let mut waits_for: Vec<usize> = self.node_ids().map(|id| self.predecessors(id).count()).collect();
        let mut ready: VecDeque<NodeId> = self.node_ids().filter(|id| waits_for[id.index()] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_front() {
            order.push(id);
            for output in self.node(id).outputs.clone() {
                for &consumer in self.consumers(output) {
                    let reads = self.node(consumer).inputs.iter().filter(|input| **input == Some(output)).count();
                    waits_for[consumer.index()] -= reads;
                    if waits_for[consumer.index()] == 0 {
                        ready.push_back(consumer);
                    }
                }
            }
        }
        self.reorder(&order);
    }

    fn is_sorted(&self) -> bool {
        self.node_ids().all(|id| self.predecessors(id).all(|before| before < id))
    }

    /// The nodes that give what a node reads, once for each input.
    fn predecessors(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.node(id).inputs.iter().flatten().filter_map(|&input| self.producer(input))
    }

    fn reorder(&mut self, order: &[NodeId]) {
        let mut nodes: Vec<_> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        for value in &mut self.values {
            if let Source::Node(_) = value.source {
                value.source = Source::Unknown;
            }
        }
        for (new, old) in order.iter().enumerate() {
            let Some(node) = nodes[old.index()].take() else { continue };
            for output in &node.outputs {
                self.values[output.index()].source = Source::Node(NodeId(new as u32));
            }
            self.nodes.push(node);
        }
    }

    pub(super) fn index_consumers(&mut self) {
        let mut counts = vec![0_u32; self.values.len() + 1];
        let mut last_reader = vec![u32::MAX; self.values.len()];
        let mut reads: Vec<(u32, NodeId)> = Vec::with_capacity(self.nodes.len() * 2);
        for id in self.node_ids() {
            for value in self.nodes[id.index()].inputs.iter().flatten() {
                if last_reader[value.index()] != id.0 {
                    last_reader[value.index()] = id.0;
                    counts[value.index() + 1] += 1;
                    reads.push((value.0, id));
                }
            }
        }
        for index in 1..counts.len() {
            counts[index] += counts[index - 1];
        }
        let mut next = counts.clone();
        self.consumers = vec![NodeId(0); reads.len()];
        for (value, id) in reads {
            self.consumers[next[value as usize] as usize] = id;
            next[value as usize] += 1;
        }
        self.consumer_starts = counts;
    }
}
