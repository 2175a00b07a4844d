//! An indexed, read-only view of a model's graph, made for asking where a value comes from and where it goes.
//!
//! Exporters hide one and the same computation in different places: in the main graph, in local functions that call each
//! other, in the bodies of `If`, `Loop` and `Scan`. Here all of it is one flat list of nodes in an order in which they
//! can run: calls are expanded, bodies stand beside the nodes that own them, and each value knows its producer and its
//! consumers. Shapes, element types and small integer values are inferred as far as the routers' finder needs them. All of
//! it is linear in the number of nodes.

mod attributes;
mod bodies;
mod build;
mod constants;
mod dominators;
mod elements;
mod indexed;
mod integers;
mod order;
mod scaling;
mod shapes;
mod sizes;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use super::elements::element_bits;
pub(super) use attributes::normal_axis;
pub use build::GraphError;
pub(super) use constants::{BOOL, is_float, is_quantized};
pub(super) use dominators::Dominators;
pub(super) use elements::is_product;
pub use indexed::Indexed;

use super::proto::{AttributeProto, ModelProto, TensorProto};
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A map that is asked for every node: its hash is a few instructions, and seeded anew in each process.
pub(super) type FastMap<K, V> = HashMap<K, V, RandomState>;

/// A set of the same kind.
pub(super) type FastSet<K> = HashSet<K, RandomState>;

/// Sizes of a tensor's axes, −1 for a size that is not known. Most tensors have no more than four axes, and a graph has as
/// many shapes as values: in one place with the value they cost no memory of their own.
pub(super) type Shape = SmallVec<[i64; 4]>;

/// Index of a node; smaller ones can run before larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub u32);

/// Index of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ValueId(pub u32);

/// Index of a [`Scope`]; 0 is the main graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScopeId(pub u32);

/// Index of an expanded call, for attributes that the call gives.
type CallId = u32;

impl NodeId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

type Inputs = SmallVec<[Option<ValueId>; 3]>;
type Outputs = SmallVec<[ValueId; 2]>;

/// One operation.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// The operator; see [`Node::CARRY`] and its neighbours for those that stand for bodies' inputs and outputs.
    pub op: &'a str,
    /// Empty for ONNX's own operators.
    pub domain: &'a str,
    /// Its name; may be empty.
    pub name: &'a str,
    /// What it reads; `None` for inputs that are left out.
    pub inputs: Inputs,
    /// What it gives.
    pub outputs: Outputs,
    /// Its scope, and its index in the list of nodes there; `None` for what stands for bodies' inputs and outputs.
    pub stands: Option<(ScopeId, u32)>,
    /// How many of `inputs`, from the first, carry data.
    num_data_inputs: u32,
    attributes: &'a [AttributeProto],
    call: Option<CallId>,
}

impl Node<'_> {
    /// Gives a body's input the value from outside with which the loop begins.
    pub const CARRY: &'static str = "(loop carries)";
    /// Gives a `Scan`'s body one slice of its input.
    pub const SLICE: &'static str = "(scan takes)";
    /// Gives a `Loop`'s body the number of the iteration; its input is the number of iterations.
    pub const COUNTER: &'static str = "(loop counts)";
    /// Gives the value after the last iteration; its inputs are the first value and the body's.
    pub const LAST: &'static str = "(loop ends)";
    /// Gives the body's values of all iterations along a new first axis.
    pub const STACK: &'static str = "(loop stacks)";

    /// The input at `index`, if it is given.
    pub(super) fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The output at `index`.
    pub(super) fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied()
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// A node gives it.
    Node(NodeId),
    /// An input of the model; may have a default.
    Input(Option<&'a TensorProto>),
    /// A weight.
    Initializer(&'a TensorProto),
    /// A `Constant` node.
    Constant(&'a AttributeProto),
    /// A sparse weight, an optional value that is not given, or a name that nothing defines.
    Unknown,
}

/// A tensor that flows along the graph's edges.
#[derive(Debug)]
pub(super) struct Value<'a> {
    /// Its name in its scope.
    pub name: &'a str,
    /// Where the name is valid.
    pub scope: ScopeId,
    /// Where it comes from.
    pub source: Source<'a>,
    /// Whether the model gives it as an output.
    pub is_output: bool,
    /// `TensorProto.DataType`; 0 where it is not known.
    pub element: i32,
    /// Sizes of its axes, −1 for a size that is not known; `None` where not even their number is.
    pub shape: Option<Shape>,
    /// Its elements in order, where it is a small tensor of integers; `None` inside for those that are not known.
    pub ints: Option<Vec<Option<i64>>>,
    /// Whether it depends on the data of an input of the model, shapes aside.
    pub is_data: bool,
}

/// The main graph, an expanded call, or a body.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The scope around it.
    pub parent: Option<ScopeId>,
    /// Index, in the list of nodes of `parent`, of the node that calls or owns it.
    pub owner: usize,
    /// The attribute of that node that holds the body; `None` for a call.
    pub body: Option<&'a str>,
    /// In words, such as `function Moe` or `body of loop_3`; empty for the main graph.
    pub label: String,
}

/// A weight of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of values.
    pub parameters: u64,
    /// Size of those.
    pub bytes: u64,
}

/// The whole graph of a model; see the module's head.
#[derive(Debug)]
pub struct ModelGraph<'a> {
    model: &'a ModelProto,
    nodes: Vec<Node<'a>>,
    values: Vec<Value<'a>>,
    scopes: Vec<Scope<'a>>,
    calls: Vec<build::Call<'a>>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// Consumers of value v: `consumers[consumer_starts[v]..consumer_starts[v + 1]]`, in order, without repetition.
    consumers: Vec<NodeId>,
    consumer_starts: Vec<u32>,
}

impl<'a> ModelGraph<'a> {
    /// Indexes the graph of `model`.
    ///
    /// # Errors
    /// [`GraphError`] when there is no graph, or when its functions call each other without end.
    pub fn new(model: &'a ModelProto) -> Result<Self, GraphError> {
        build::build(model)
    }

    /// The model that this is a view of.
    #[must_use]
    pub fn model(&self) -> &'a ModelProto {
        self.model
    }

    /// Number of nodes, expanded calls and bodies included.
    #[must_use]
    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The weights of the model, each once, however often a function that holds it is called.
    #[must_use]
    pub fn weights(&self) -> Vec<Weight<'a>> {
        let mut seen = FastSet::default();
        let mut weights = Vec::new();
        for id in self.value_ids() {
            let value = self.value(id);
            let tensor = match value.source {
                Source::Initializer(tensor) | Source::Input(Some(tensor)) => Some(tensor),
                Source::Constant(attribute) => attribute.t.as_ref(),
                _ => None,
            };
            let Some(tensor) = tensor.filter(|_| is_float(value.element) || is_quantized(value.element)) else {
                continue;
            };
            if seen.insert(std::ptr::from_ref(tensor)) {
                let parameters = self.num_elements(id).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
                let bytes = parameters.saturating_mul(element_bits(tensor.data_type).unwrap_or(0)).div_ceil(8);
                weights.push(Weight { name: value.name, parameters, bytes });
            }
        }
        weights
    }

    /// Number of values.
    pub(super) fn num_values(&self) -> usize {
        self.values.len()
    }

    pub(super) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    pub(super) fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    pub(super) fn scope_ids(&self) -> impl Iterator<Item = ScopeId> + use<> {
        (0..self.scopes.len() as u32).map(ScopeId)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.index()]
    }

    pub(super) fn value(&self, id: ValueId) -> &Value<'a> {
        &self.values[id.index()]
    }

    pub(super) fn scope(&self, id: ScopeId) -> &Scope<'a> {
        &self.scopes[id.0 as usize]
    }

    /// Outputs of the model, in its order.
    pub(super) fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Inputs of the model, in its order, weights that are listed among them left out.
    pub(super) fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The nodes that read a value, in order.
    pub(super) fn consumers(&self, value: ValueId) -> &[NodeId] {
        let range: Range<usize> =
            self.consumer_starts[value.index()] as usize..self.consumer_starts[value.index() + 1] as usize;
        &self.consumers[range]
    }

    /// The node that gives a value.
    pub(super) fn producer(&self, value: ValueId) -> Option<NodeId> {
        match self.value(value).source {
            Source::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The node that gives a value, with its index.
    pub(super) fn producing(&self, value: ValueId) -> Option<(NodeId, &Node<'a>)> {
        self.producer(value).map(|id| (id, self.node(id)))
    }

    /// The operator that gives a value; empty where no node does.
    pub(super) fn op_of(&self, value: ValueId) -> &'a str {
        self.producer(value).map_or("", |node| self.node(node).op)
    }

    /// Sizes of a value's axes, −1 where not known.
    pub(super) fn shape(&self, value: ValueId) -> Option<&[i64]> {
        self.value(value).shape.as_deref()
    }

    /// Size of an axis counted from the end (−1 is the last), where it is known.
    pub(super) fn size_from_end(&self, value: ValueId, axis: i64) -> Option<i64> {
        let shape = self.shape(value)?;
        let index = usize::try_from(shape.len() as i64 + axis).ok()?;
        shape.get(index).copied().filter(|&size| size >= 0)
    }

    /// Number of elements, where all sizes are known.
    pub(super) fn num_elements(&self, value: ValueId) -> Option<i64> {
        self.shape(value)?
            .iter()
            .try_fold(1_i64, |product, &size| if size < 0 { None } else { product.checked_mul(size) })
    }
}
