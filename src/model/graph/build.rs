//! Makes the flat view: expands calls, and puts the bodies of `If`, `Loop` and `Scan` beside the nodes that own them.

use super::constants::{attribute_ints, element_of, shape_of, small_ints};
use super::elements::num_data_inputs;
use super::{CallId, FastMap, Inputs, ModelGraph, Node, NodeId, Outputs, Scope, ScopeId, Source, Value, ValueId};
use crate::model::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto};
use smallvec::smallvec;

/// Calls within calls, and bodies within bodies, beyond this do not occur in models.
const MAX_DEPTH: usize = 64;

/// More nodes than this, after expanding calls, come only from functions that were made to explode.
const MAX_NODES: usize = 4_000_000;

/// Why a graph cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The file is a model without a graph.
    #[error("the model has no graph; export it again")]
    NoGraph,
    /// Functions call each other without end, or bodies lie within bodies without end.
    #[error(
        "the model's functions and bodies are nested more than {MAX_DEPTH} deep; export it without local functions"
    )]
    TooDeep,
    /// Expanding the functions gives too many nodes.
    #[error(
        "the model has more than {MAX_NODES} nodes after expanding its functions; export it without local functions"
    )]
    TooLarge,
}

/// What an expanded call gives to the attributes of its function's nodes.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub attributes: &'a [AttributeProto],
    pub defaults: &'a [AttributeProto],
    /// The call around this call.
    pub call: Option<CallId>,
}

/// Names of one scope.
type Names<'a> = FastMap<&'a str, ValueId>;

/// Where nodes are being added.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub scope: ScopeId,
    pub call: Option<CallId>,
    pub depth: usize,
}

/// A node of the file, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub node: &'a NodeProto,
    /// Its index in the list that it stands in.
    pub index: usize,
    pub at: At,
}

/// A list of nodes that is being added.
#[derive(Clone, Copy)]
struct List<'a> {
    nodes: &'a [NodeProto],
    scope: ScopeId,
    /// Index of the first node whose outputs may have no values yet.
    next: usize,
}

pub(super) struct Builder<'a> {
    model: &'a ModelProto,
    functions: FastMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
    /// Each operator's name once, with the number of its inputs that carry data: a name is compared for every node again
    /// and again, and lies in the processor's cache if it is the same bytes each time.
    operators: FastMap<&'a str, (&'a str, u32)>,
    graph: ModelGraph<'a>,
    /// From the main graph to the body that nodes are being added of.
    lists: Vec<List<'a>>,
    /// By scope.
    names: Vec<Names<'a>>,
    /// By scope: the types that the file tells.
    types: Vec<FastMap<&'a str, &'a TypeProto>>,
}

pub(super) fn build(model: &ModelProto) -> Result<ModelGraph<'_>, GraphError> {
    let main = model.graph.as_ref().ok_or(GraphError::NoGraph)?;
    let functions = model.functions.iter();
    let functions = functions.map(|f| ((f.domain.as_str(), f.name.as_str(), f.overload.as_str()), f)).collect();
    let graph = ModelGraph {
        model,
        nodes: Vec::with_capacity(main.node.len()),
        values: Vec::with_capacity(main.node.len() + main.initializer.len()),
        scopes: Vec::new(),
        calls: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        consumers: Vec::new(),
        consumer_starts: Vec::new(),
    };
    let (operators, lists, names, types) = (FastMap::default(), Vec::new(), Vec::new(), Vec::new());
    let mut builder = Builder { model, functions, operators, graph, lists, names, types };
    builder.main(main)?;
    let mut graph = builder.graph;
    graph.sort_nodes();
    graph.index_consumers();
    graph.infer_values();
    Ok(graph)
}

impl<'a> Builder<'a> {
    fn main(&mut self, main: &'a GraphProto) -> Result<(), GraphError> {
        let scope = self.add_scope(Scope { parent: None, owner: 0, body: None, label: String::new() });
        let at = At { scope, call: None, depth: 0 };
        self.names[0].reserve(main.initializer.len() + main.input.len() + main.node.len());
        self.add_weights(main, scope);
        self.add_types(main, scope);
        for input in &main.input {
            let weight = self.names[0].get(input.name.as_str()).copied();
            let Some(weight) = weight else {
                let value = self.add_value(&input.name, scope, Source::Input(None));
                self.set_type(value, &input.name, scope);
                self.graph.inputs.push(value);
                continue;
            };
            // Before IR version 4 every weight had to be listed as an input; those are not meant to be given.
            if let (Source::Initializer(tensor), true) = (self.graph.value(weight).source, self.model.ir_version >= 4) {
                self.graph.values[weight.index()].source = Source::Input(Some(tensor));
                self.graph.inputs.push(weight);
            }
        }
        self.add_nodes(&main.node, at)?;
        self.graph.outputs = main.output.iter().map(|output| self.look_up(&output.name, scope)).collect();
        for output in self.graph.outputs.clone() {
            self.graph.values[output.index()].is_output = true;
        }
        Ok(())
    }

    pub(super) fn add_scope(&mut self, scope: Scope<'a>) -> ScopeId {
        self.graph.scopes.push(scope);
        self.names.push(FastMap::default());
        self.types.push(FastMap::default());
        ScopeId(self.graph.scopes.len() as u32 - 1)
    }

    /// A new value under `name`, which it takes over if an earlier one has it.
    pub(super) fn add_value(&mut self, name: &'a str, scope: ScopeId, source: Source<'a>) -> ValueId {
        let id = self.push_value(name, scope, source);
        self.names[scope.0 as usize].insert(name, id);
        id
    }

    fn push_value(&mut self, name: &'a str, scope: ScopeId, source: Source<'a>) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        let tensor = match source {
            Source::Initializer(tensor) | Source::Input(Some(tensor)) => Some(tensor),
            Source::Constant(attribute) => attribute.t.as_ref(),
            _ => None,
        };
        let is_data = matches!(source, Source::Input(_) | Source::Node(_));
        self.graph.values.push(Value {
            name,
            scope,
            source,
            is_output: false,
            element: tensor.map_or(0, |tensor| tensor.data_type),
            shape: tensor.and_then(shape_of),
            ints: tensor.and_then(small_ints),
            is_data,
        });
        id
    }

    /// An output that the file leaves out: it is given, but nothing can read it.
    fn add_nameless(&mut self, scope: ScopeId) -> ValueId {
        self.push_value("", scope, Source::Unknown)
    }

    /// What `name` means in a scope; a name that nothing defines becomes a value of its own.
    pub(super) fn look_up(&mut self, name: &'a str, scope: ScopeId) -> ValueId {
        if let Some(known) = self.known(name, scope) {
            return known;
        }
        self.name_what_follows();
        self.known(name, scope).unwrap_or_else(|| self.add_value(name, scope, Source::Unknown))
    }

    fn known(&self, name: &str, scope: ScopeId) -> Option<ValueId> {
        let mut around = Some(scope);
        while let Some(scope) = around {
            if let Some(&value) = self.names[scope.0 as usize].get(name) {
                return Some(value);
            }
            let scope = self.graph.scope(scope);
            around = scope.body.and(scope.parent);
        }
        None
    }

    /// Makes values of all that the lists under way have not come to: a name that is not known yet may be among it, where
    /// a list is not in the order in which it runs. Each list is gone through once at most.
    fn name_what_follows(&mut self) {
        for list in 0..self.lists.len() {
            let List { nodes, scope, next } = self.lists[list];
            self.lists[list].next = nodes.len();
            for name in nodes[next..].iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()) {
                if !self.names[scope.0 as usize].contains_key(name.as_str()) {
                    self.add_value(name, scope, Source::Unknown);
                }
            }
        }
    }

    pub(super) fn add_weights(&mut self, graph: &'a GraphProto, scope: ScopeId) {
        for tensor in &graph.initializer {
            self.add_value(&tensor.name, scope, Source::Initializer(tensor));
        }
        for sparse in &graph.sparse_initializer {
            let Some(values) = &sparse.values else { continue };
            let value = self.add_value(&values.name, scope, Source::Unknown);
            self.graph.values[value.index()].element = values.data_type;
            self.graph.values[value.index()].shape = Some(sparse.dims.as_slice().into());
        }
    }

    pub(super) fn add_types(&mut self, graph: &'a GraphProto, scope: ScopeId) {
        let infos = graph.value_info.iter().chain(&graph.input).chain(&graph.output);
        let types = infos.filter_map(|info| Some((info.name.as_str(), info.r#type.as_ref()?)));
        self.types[scope.0 as usize].extend(types);
    }

    /// Sets the type that the file tells for a value, unless the value itself tells it.
    pub(super) fn set_type(&mut self, value: ValueId, name: &str, scope: ScopeId) {
        let Some(tensor) = self.types[scope.0 as usize].get(name).and_then(|ty| ty.tensor_type.as_ref()) else {
            return;
        };
        let value = &mut self.graph.values[value.index()];
        if value.element == 0 {
            value.element = tensor.elem_type;
        }
        if value.shape.is_none() {
            let size = |dim: Option<i64>| dim.filter(|&size| size >= 0).unwrap_or(-1);
            value.shape = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(|dim| size(dim.dim_value)).collect());
        }
    }

    /// Adds a list of nodes, in whichever order it is.
    pub(super) fn add_nodes(&mut self, nodes: &'a [NodeProto], at: At) -> Result<(), GraphError> {
        if at.depth > MAX_DEPTH {
            return Err(GraphError::TooDeep);
        }
        if self.graph.nodes.len() + nodes.len() > MAX_NODES {
            return Err(GraphError::TooLarge);
        }
        let level = self.lists.len();
        self.lists.push(List { nodes, scope: at.scope, next: 0 });
        for (index, node) in nodes.iter().enumerate() {
            self.lists[level].next = self.lists[level].next.max(index);
            let inputs: Inputs = node.input.iter().map(|name| self.given(name, at.scope)).collect();
            let outputs: Outputs = node.output.iter().map(|name| self.define(name, node, at)).collect();
            let placed = Placed { node, index, at };
            match node.op_type.as_str() {
                "Constant" if is_onnx(&node.domain) && node.attribute.iter().all(|a| a.ref_attr_name.is_empty()) => {}
                "If" if is_onnx(&node.domain) => self.add_if(placed, &inputs, &outputs)?,
                "Loop" if is_onnx(&node.domain) => self.add_loop(placed, &inputs, &outputs)?,
                "Scan" if is_onnx(&node.domain) => self.add_scan(placed, &inputs, &outputs)?,
                _ => self.add_call_or_node(placed, inputs, outputs)?,
            }
        }
        self.lists.truncate(level);
        Ok(())
    }

    /// The value of one output of `node`. Outputs of a function are values of the caller, whose name they keep.
    fn define(&mut self, name: &'a str, node: &'a NodeProto, at: At) -> ValueId {
        if name.is_empty() {
            return self.add_nameless(at.scope);
        }
        let constant = (node.op_type == "Constant" && is_onnx(&node.domain))
            .then(|| node.attribute.first().filter(|attribute| attribute.ref_attr_name.is_empty()))
            .flatten();
        let source = constant.map_or(Source::Unknown, Source::Constant);
        let next = ValueId(self.graph.values.len() as u32);
        let known = *self.names[at.scope.0 as usize].entry(name).or_insert(next);
        // A name that is given twice, which no model may have, becomes another value the second time.
        let is_free = known != next && matches!(self.graph.value(known).source, Source::Unknown);
        let value = if is_free { known } else { self.push_value(name, at.scope, source) };
        if value != known {
            self.names[at.scope.0 as usize].insert(name, value);
        }
        if let Some(attribute) = constant {
            let (element, shape) = element_of(attribute);
            let value = &mut self.graph.values[value.index()];
            (value.source, value.element, value.shape) = (source, element, shape);
            value.ints = attribute_ints(attribute);
        }
        self.set_type(value, name, at.scope);
        value
    }

    fn given(&mut self, name: &'a str, scope: ScopeId) -> Option<ValueId> {
        (!name.is_empty()).then(|| self.look_up(name, scope))
    }

    fn push(&mut self, node: Node<'a>) {
        let id = NodeId(self.graph.nodes.len() as u32);
        for output in &node.outputs {
            let value = &mut self.graph.values[output.index()];
            (value.source, value.is_data) = (Source::Node(id), true);
        }
        self.graph.nodes.push(node);
    }

    /// A node that stands for an input or output of a body.
    pub(super) fn push_link(&mut self, op: &'static str, name: &'a str, inputs: Inputs, output: ValueId) {
        let (outputs, num_data_inputs) = (smallvec![output], num_data_inputs(op));
        let (stands, attributes) = (None, &[][..]);
        self.push(Node { op, domain: "", name, inputs, outputs, stands, num_data_inputs, attributes, call: None });
    }

    fn add_call_or_node(&mut self, placed: Placed<'a>, inputs: Inputs, outputs: Outputs) -> Result<(), GraphError> {
        let Placed { node, index, at } = placed;
        let key = (node.domain.as_str(), node.op_type.as_str(), node.overload.as_str());
        if !self.functions.is_empty()
            && let Some(function) = self.functions.get(&key).copied()
        {
            return self.expand(function, placed, &inputs, &outputs);
        }
        let domain = if is_onnx(&node.domain) { "" } else { node.domain.as_str() };
        let op = node.op_type.as_str();
        let (op, num_data_inputs) = *self.operators.entry(op).or_insert_with(|| (op, num_data_inputs(op)));
        let (name, attributes) = (node.name.as_str(), node.attribute.as_slice());
        let stands = Some((at.scope, index as u32));
        self.push(Node { op, domain, name, inputs, outputs, stands, num_data_inputs, attributes, call: at.call });
        Ok(())
    }

    fn expand(
        &mut self,
        function: &'a FunctionProto,
        placed: Placed<'a>,
        inputs: &[Option<ValueId>],
        outputs: &[ValueId],
    ) -> Result<(), GraphError> {
        let Placed { node, index, at } = placed;
        let label = format!("function {}", function.name);
        let scope = self.add_scope(Scope { parent: Some(at.scope), owner: index, body: None, label });
        self.graph.calls.push(Call { attributes: &node.attribute, defaults: &function.attribute_proto, call: at.call });
        let call = Some(self.graph.calls.len() as u32 - 1);
        let infos = function.value_info.iter();
        let types = infos.filter_map(|info| Some((info.name.as_str(), info.r#type.as_ref()?)));
        self.types[scope.0 as usize].extend(types);
        let names = &mut self.names[scope.0 as usize];
        names.extend(function.output.iter().map(String::as_str).zip(outputs.iter().copied()));
        for (name, value) in function.input.iter().zip(inputs) {
            if let Some(value) = value {
                self.names[scope.0 as usize].insert(name, *value);
            }
        }
        self.add_nodes(&function.node, At { scope, call, depth: at.depth + 1 })?;
        // An output that is an input handed on has another value inside than the one that the caller knows.
        for (name, &output) in function.output.iter().zip(outputs) {
            let inside = self.look_up(name, scope);
            if inside != output {
                self.push_link("Identity", &node.name, smallvec![Some(inside)], output);
            }
        }
        Ok(())
    }
}

/// Whether a domain is that of ONNX's own operators.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
