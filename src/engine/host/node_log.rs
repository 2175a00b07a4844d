//! Reads from a session's log where its nodes ended up.
//!
//! ONNX Runtime's call for the assignment (see `placement`) is not enough for a provider that changes the layout of
//! tensors, as WebGPU does: with 1.27 it tells 2 of 215 nodes. The log names every node of the graph that runs, and the
//! copies between the providers' memories, which are no part of the assignment. The messages are read in full only while
//! the session is made; runs are told to log nothing.

use crate::engine::Placement;
use ort::logging::{LogLevel, LoggerFunction};
use ort::session::builder::SessionBuilder;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// The provider of every node in a session's log.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeLog(Arc<Mutex<Nodes>>);

/// What was read so far.
#[derive(Debug, Default)]
struct Nodes {
    /// The provider that the following nodes run on.
    provider: String,
    /// Provider and operator of each.
    nodes: Vec<(String, String)>,
    copies: usize,
}

impl NodeLog {
    /// Has the session that is being built log into a new one.
    pub(super) fn listen(builder: SessionBuilder) -> ort::Result<(SessionBuilder, Self)> {
        let log = Self::default();
        let nodes = Arc::clone(&log.0);
        let logger: LoggerFunction =
            Arc::new(move |_, _, _, _, message| nodes.lock().unwrap_or_else(PoisonError::into_inner).read(message));
        Ok((builder.with_log_level(LogLevel::Verbose)?.with_logger(logger)?, log))
    }

    /// What was read.
    pub(super) fn take(&self) -> Placement {
        let Nodes { nodes, copies, .. } = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Placement::of(nodes, copies)
    }
}

impl Nodes {
    /// Takes one message, such as ` Node(s) placed on [CPUExecutionProvider]. Number of nodes: 80`, followed by
    /// `  NonZero (name of the node)` for each.
    fn read(&mut self, message: &str) {
        if let Some((_, rest)) = message.split_once(" placed on [") {
            self.provider = rest.split(']').next().unwrap_or_default().to_owned();
        } else if let Some((op, _)) = message.strip_prefix("  ").and_then(|node| node.split_once(" (")) {
            if op.starts_with("Memcpy") {
                self.copies += 1;
            } else if !self.provider.is_empty() {
                self.nodes.push((self.provider.clone(), op.to_owned()));
            }
        } else {
            // The list has ended.
            self.provider.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Provider;

    /// Lines of ONNX Runtime 1.27's log, WebGPU with the bundled model, most left out.
    const LINES: &str = "\
Add MemcpyToHost before moe.1.expert_ids for WebGpuExecutionProvider
GraphTransformer MemcpyTransformer modified: 1 with status: OK
Node placements
 Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2
  NonZero (moe.1.pairs_by_axis)
  Transpose (moe.1.pairs)
 Node(s) placed on [WebGpuExecutionProvider]. Number of nodes: 3
  Gemm (moe.1.gate)
  MemcpyToHost (Memcpy)
  Gemm (moe.1.expert (3))
SaveMLValueNameIndexMapping
  Indented (but no node)
";

    #[test]
    fn nodes_and_copies_are_read_from_the_list_alone() {
        let mut nodes = Nodes::default();
        LINES.lines().for_each(|line| nodes.read(line));
        let placement = Placement::of(nodes.nodes, nodes.copies);
        assert_eq!(
            placement.sentence(Provider::WebGpu),
            "2 of 4 nodes on WebGPU; on CPU: NonZero ×1, Transpose ×1; 1 copy between them"
        );
    }
}
