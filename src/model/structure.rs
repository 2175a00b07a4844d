//! What makes a model impossible whatever runs it: a value with two sources, a circle of nodes, a function that calls
//! itself, sizes beyond every machine. Told with names before ONNX Runtime sees the file; everything that some version of
//! it might run passes, and is left to ONNX Runtime to judge.

use super::elements::{element_bits, int64_values};
use super::error::GraphFault;
use super::graph::{FastMap, FastSet};
use super::order::{Need, order};
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use super::visit::{bodies, tensors};

/// Constants beyond this fit no machine that runs this program.
const MAX_TENSOR_BYTES: u64 = 1 << 40;

/// ONNX Runtime takes seconds for some 100,000 nodes and grows faster than their number.
const MAX_NODES: u64 = 10_000_000;

/// Checks everything that can be told from the file alone, in some tens of milliseconds for 100,000 nodes.
///
/// # Errors
/// The first fault that was found.
pub(super) fn check(model: &ModelProto) -> Result<(), GraphFault> {
    check_functions(model)?;
    tensors(model, &mut check_dims)?;
    model.graph.iter().try_for_each(|graph| check_graph(graph, None).map(|_| ()))
}

/// Where a value of a graph comes from.
#[derive(Clone, Copy)]
enum Source {
    /// It is given.
    Input,
    /// The weight with this index.
    Weight(usize),
    /// The node with this index.
    Node(usize),
}

/// The values that a graph can see: its own, and those of the graphs around it.
struct Scope<'a, 'outer> {
    graph: &'a GraphProto,
    sources: FastMap<&'a str, Source>,
    outer: Option<&'outer Scope<'a, 'outer>>,
}

impl<'a, 'outer> Scope<'a, 'outer> {
    /// Finds the source of every value of the graph. A weight may be listed as an input as well, as old files do.
    fn of(graph: &'a GraphProto, outer: Option<&'outer Self>) -> Result<Self, GraphFault> {
        let len = graph.node.len() + graph.initializer.len() + graph.input.len();
        let mut sources = FastMap::with_capacity_and_hasher(len, Default::default());
        for name in graph.input.iter().map(|input| input.name.as_str()) {
            if sources.insert(name, Source::Input).is_some() {
                return Err(GraphFault::TwoSources { value: name.into() });
            }
        }
        let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
        sources.extend(sparse.map(|tensor| (tensor.name.as_str(), Source::Input)));
        sources.extend((0..).zip(&graph.initializer).map(|(at, tensor)| (tensor.name.as_str(), Source::Weight(at))));
        for (at, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if sources.insert(name, Source::Node(at)).is_some() {
                    return Err(GraphFault::TwoSources { value: name.clone() });
                }
            }
        }
        Ok(Self { graph, sources, outer })
    }

    /// The values of an int64 tensor that is known before the model runs.
    fn constant(&self, name: &str) -> Option<Vec<i64>> {
        match self.sources.get(name) {
            Some(Source::Weight(at)) => int64_values(&self.graph.initializer[*at]),
            Some(Source::Node(at)) => constant_of(&self.graph.node[*at]),
            Some(Source::Input) => None,
            None => self.outer?.constant(name),
        }
    }
}

/// Checks a graph and, with it, its bodies; gives the names that it takes from the graphs around it.
fn check_graph<'a>(graph: &'a GraphProto, outer: Option<&Scope<'a, '_>>) -> Result<FastSet<&'a str>, GraphFault> {
    let scope = Scope::of(graph, outer)?;
    let mut names = FastSet::with_capacity_and_hasher(graph.node.len(), Default::default());
    let mut from_outside = FastSet::default();
    let mut needs = Vec::with_capacity(graph.node.len());
    for (at, node) in graph.node.iter().enumerate() {
        if !node.name.is_empty() && !names.insert(node.name.as_str()) {
            return Err(GraphFault::NodeName { name: node.name.clone() });
        }
        check_size(node, &scope)?;
        let mut need = |name: &'a str| match scope.sources.get(name) {
            Some(Source::Node(first)) => needs.push(Need { first: *first, then: at }),
            Some(_) => {}
            None => drop(from_outside.insert(name)),
        };
        node.input.iter().filter(|name| !name.is_empty()).for_each(|name| need(name));
        for body in bodies(node) {
            check_graph(body, Some(&scope))?.into_iter().for_each(&mut need);
        }
    }
    let outputs = graph.output.iter().map(|output| output.name.as_str());
    from_outside.extend(outputs.filter(|name| !scope.sources.contains_key(name)));
    check_order(graph, needs)?;
    Ok(from_outside)
}

/// Nearly every file has its nodes in order, which shows without sorting them.
fn check_order(graph: &GraphProto, needs: Vec<Need>) -> Result<(), GraphFault> {
    if needs.iter().all(|need| need.first < need.then) {
        return Ok(());
    }
    let named = |at: usize| label(&graph.node[at]);
    order(graph.node.len(), needs)
        .map(|_| ())
        .map_err(|circle| GraphFault::Circle { nodes: circle.into_iter().map(named).collect() })
}

/// A node as a person finds it: by name, else by what it computes.
fn label(node: &NodeProto) -> String {
    match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("{} → {output}", node.op_type),
        ("", None) => node.op_type.clone(),
        (name, _) => name.to_owned(),
    }
}

/// Functions are unfolded where they are called: none may call itself, and the whole must stay of a size.
fn check_functions(model: &ModelProto) -> Result<(), GraphFault> {
    let mut index = FastMap::default();
    for (at, function) in model.functions.iter().enumerate() {
        let key = (domain(&function.domain), function.name.as_str(), function.overload.as_str());
        if index.insert(key, at).is_some() {
            return Err(GraphFault::FunctionTwice { function: function.name.clone() });
        }
    }
    // Nearly every file has none.
    let called = |node: &NodeProto| {
        let key = || (domain(&node.domain), node.op_type.as_str(), node.overload.as_str());
        if index.is_empty() { None } else { index.get(&key()).copied() }
    };
    let mut needs = Vec::new();
    for (then, function) in model.functions.iter().enumerate() {
        each_node(&function.node, &mut |node| needs.extend(called(node).map(|first| Need { first, then })));
    }
    let named = |at: usize| model.functions[at].name.clone();
    let order = order(model.functions.len(), needs)
        .map_err(|circle| GraphFault::Recursion { functions: circle.into_iter().map(named).collect() })?;
    let mut unfolded = vec![0_u64; model.functions.len()];
    let count = |nodes: &[NodeProto], unfolded: &[u64]| {
        let mut count = 0_u64;
        each_node(nodes, &mut |node| count = count.saturating_add(called(node).map_or(1, |at| unfolded[at])));
        count
    };
    for at in order {
        unfolded[at] = count(&model.functions[at].node, &unfolded);
    }
    match model.graph.as_ref().map_or(0, |graph| count(&graph.node, &unfolded)) {
        nodes if nodes > MAX_NODES => Err(GraphFault::TooManyNodes { nodes, possible: MAX_NODES }),
        _ => Ok(()),
    }
}

fn each_node<'a>(nodes: &'a [NodeProto], see: &mut impl FnMut(&'a NodeProto)) {
    for node in nodes {
        see(node);
        bodies(node).for_each(|body| each_node(&body.node, see));
    }
}

/// ONNX's own domain has two names.
pub(super) fn domain(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

fn check_dims(tensor: &TensorProto) -> Result<(), GraphFault> {
    let possible = tensor.dims.iter().all(|&dim| dim >= 0) && bytes(&tensor.dims, tensor.data_type).is_some();
    let fault = || GraphFault::Dims { tensor: tensor.name.clone(), dims: tensor.dims.clone() };
    if possible { Ok(()) } else { Err(fault()) }
}

/// Bytes of a tensor; `None` beyond what 63 bits count. An unknown element type counts as one byte.
fn bytes(dims: &[i64], data_type: i32) -> Option<u64> {
    if dims.contains(&0) {
        return Some(0);
    }
    let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(u64::try_from(dim).ok()?))?;
    let bits = elements.checked_mul(element_bits(data_type).unwrap_or(8))?;
    i64::try_from(bits).is_ok().then_some(bits.div_ceil(8))
}

/// Refuses the nodes that make a tensor of a constant shape that fits nowhere.
fn check_size(node: &NodeProto, scope: &Scope<'_, '_>) -> Result<(), GraphFault> {
    const FLOAT: i32 = 1;
    let (shape, data_type) = match (domain(&node.domain), node.op_type.as_str()) {
        ("ai.onnx", "ConstantOfShape") => {
            let value = node.attribute.iter().find(|attribute| attribute.name == "value");
            (node.input.first(), value.and_then(|value| value.t.as_ref()).map_or(FLOAT, |tensor| tensor.data_type))
        }
        // Of unknown type here, but at least a byte for each element.
        ("ai.onnx", "Expand") => (node.input.get(1), 0),
        _ => return Ok(()),
    };
    let Some(dims) = shape.and_then(|name| scope.constant(name)) else { return Ok(()) };
    // A negative size is an error that ONNX Runtime tells; a product that overflows is as large as can be.
    let size = if dims.iter().any(|&dim| dim < 0) { 0 } else { bytes(&dims, data_type).unwrap_or(u64::MAX) };
    match size {
        bytes if bytes > MAX_TENSOR_BYTES => Err(GraphFault::TooLarge { node: label(node), dims }),
        _ => Ok(()),
    }
}

/// What a `Constant` node gives, if it is a tensor of int64.
fn constant_of(node: &NodeProto) -> Option<Vec<i64>> {
    let attribute = node.attribute.first().filter(|_| node.op_type == "Constant")?;
    match attribute.name.as_str() {
        "value" => attribute.t.as_ref().and_then(int64_values),
        "value_ints" => Some(attribute.ints.clone()),
        "value_int" => attribute.i.map(|value| vec![value]),
        _ => None,
    }
}
