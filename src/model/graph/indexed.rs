//! One index of a model's graph for all who look at it: making one takes as long as finding the routers in it.

use super::{GraphError, ModelGraph};
use crate::model::proto::ModelProto;

/// A model with the index of its graph, or with why that cannot be looked at as a whole.
#[derive(Debug)]
pub struct Indexed<'a> {
    model: &'a ModelProto,
    graph: Result<ModelGraph<'a>, GraphError>,
}

impl<'a> Indexed<'a> {
    /// Indexes the graph of `model`.
    #[must_use]
    pub fn new(model: &'a ModelProto) -> Self {
        Self { model, graph: ModelGraph::new(model) }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a ModelProto {
        self.model
    }

    /// Its graph.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub fn graph(&self) -> Result<&ModelGraph<'a>, &GraphError> {
        self.graph.as_ref()
    }
}
