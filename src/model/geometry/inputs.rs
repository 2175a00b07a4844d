//! The inputs of a graph that are not the image: their sizes, the run-time k, and what the others may be fed.

use super::image::Image;
use super::layers::Told;
use super::reason::{Basis, Reasons};
use crate::model::graph::{ModelGraph, ValueId};
use crate::model::proto::{DimensionProto, ModelProto, TensorShapeProto, ValueInfoProto};
use crate::model::routers::{RouterReport, TopKSource};
use crate::model::{Fill, FixedInputCard, ModelDescription, TopKCard, TopKInput};

/// Tokens of a text of any length.
const USUAL_TOKENS: i64 = 16;

/// Longer texts are a mistake.
const MAX_TOKENS: usize = 1 << 20;

/// The model with a size for every axis of its inputs: the image's as found, one image at a time, and for the others 1
/// on the first axis, else a few tokens. `None` where the file fixes all of them, as they are then.
pub(super) fn with_sizes(model: &ModelProto, image: &Image) -> Option<ModelProto> {
    let inputs = &model.graph.as_ref()?.input;
    let sizes: Vec<_> = inputs.iter().map(|input| sizes(input, image)).collect();
    if sizes.iter().all(Option::is_none) {
        return None;
    }
    let mut model = model.clone();
    let inputs = model.graph.iter_mut().flat_map(|graph| &mut graph.input);
    for (input, sizes) in inputs.zip(sizes) {
        let tensor = input.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut());
        if let Some((tensor, sizes)) = tensor.zip(sizes) {
            let dim = |size| DimensionProto { dim_value: Some(size), ..Default::default() };
            tensor.shape = Some(TensorShapeProto { dim: sizes.into_iter().map(dim).collect() });
        }
    }
    Some(model)
}

/// The sizes that an input gets; `None` where it has them already, or has none.
fn sizes(input: &ValueInfoProto, image: &Image) -> Option<Vec<i64>> {
    let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref();
    let told: Option<Vec<i64>> = shape.and_then(|shape| shape.dim.iter().map(|dim| dim.dim_value).collect());
    let sizes = if input.name == image.name {
        image.shape().iter().map(|&size| size as i64).collect()
    } else {
        let usual = |axis: usize| if axis == 0 { 1 } else { USUAL_TOKENS };
        let size = |(axis, dim): (usize, &DimensionProto)| dim.dim_value.unwrap_or(usual(axis));
        shape?.dim.iter().enumerate().map(size).collect()
    };
    (told.as_ref() != Some(&sizes)).then_some(sizes)
}

/// The run-time k, where the routers take theirs from an input.
pub(super) fn top_k(graph: &ModelGraph<'_>, report: &RouterReport, reasons: &mut Reasons) -> Option<TopKCard> {
    let named = report.routers.iter().find_map(|router| match &router.top_k_source {
        TopKSource::Input { name } => Some((name, router)),
        _ => None,
    });
    let (name, router) = named?;
    let value = graph.inputs().iter().copied().find(|&value| graph.value(value).name == *name)?;
    // The engine feeds one number in a list, as a TopK takes it.
    if graph.shape(value) != Some(&[1]) || graph.value(value).element != 7 {
        return None;
    }
    let max = report.routers.iter().map(|router| router.num_experts).min()?;
    let told = graph.const_int(value).and_then(|top_k| usize::try_from(top_k).ok()).or(router.top_k);
    let default = told.filter(|top_k| (1..=max).contains(top_k));
    let (basis, text) = match default {
        Some(top_k) => (Basis::Graph, format!("{name} sets k; its default is {top_k}.")),
        None => (Basis::Assumed, format!("{name} sets k; nothing tells which k the model was made for.")),
    };
    reasons.add("top_k", basis, text);
    Some(TopKCard { input: TopKInput::Graph(name.clone()), min: 1, max, default: default.unwrap_or(max.min(2)) })
}

/// What the other inputs that the graph needs are fed, for want of anything better.
pub(super) fn fixed(
    description: &ModelDescription,
    graph: &ModelGraph<'_>,
    image: &Image,
    top_k: Option<&TopKCard>,
    told: &Told,
    reasons: &mut Reasons,
) -> Vec<FixedInputCard> {
    let is_other = |name: &str| name != image.name && top_k.is_none_or(|top_k| top_k.input.name() != Some(name));
    let required = description.inputs.iter().filter(|input| !input.has_default && is_other(&input.name));
    let mut cards = Vec::new();
    for input in required {
        let Some(value) = graph.inputs().iter().copied().find(|&value| graph.value(value).name == input.name) else {
            continue;
        };
        let shape: Vec<usize> =
            graph.shape(value).unwrap_or_default().iter().map(|&size| usize::try_from(size).unwrap_or(1)).collect();
        let field = format!("inputs[{}]", cards.len());
        let (fill, text) = fill(graph, value, &shape, told);
        let is_fixed = input.dims.as_ref().is_some_and(|dims| dims.iter().all(|dim| dim.size().is_some()));
        let size = if is_fixed { "" } else { " Its size is assumed as well." };
        reasons.add(field, Basis::Assumed, format!("{} is {input}. {text}{size}", input.name));
        cards.push(FixedInputCard { name: input.name.clone(), shape, fill });
    }
    cards
}

fn fill(graph: &ModelGraph<'_>, value: ValueId, shape: &[usize], told: &Told) -> (Fill, String) {
    let patches = told.grid.rows * told.grid.cols;
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size)).unwrap_or(usize::MAX);
    let is_text = (patches..=MAX_TOKENS).contains(&count);
    if let Some(placeholder) = placeholder(graph, value).filter(|_| is_text) {
        // As the tokens of the routers were assumed to lie: the image first, then the text.
        let prefix = told.grid.prefix_tokens.min(count - patches);
        let token = |n: usize| if (prefix..prefix + patches).contains(&n) { placeholder as f64 } else { 0.0 };
        let text = format!(
            "The graph puts the image's {patches} tokens where it holds {placeholder}; where that is, and the words \
             around it, are assumed."
        );
        return (Fill::Values((0..count).map(token).collect()), text);
    }
    let is_mask = graph.value(value).name.to_lowercase().contains("mask");
    let fill = if is_mask { 1.0 } else { 0.0 };
    (Fill::Value(fill), format!("Fed {fill} for want of anything better."))
}

/// The number that stands for a token of the image in a text: what the graph compares the text's ids with.
fn placeholder(graph: &ModelGraph<'_>, ids: ValueId) -> Option<i64> {
    graph.consumers(ids).iter().find_map(|&id| {
        let node = graph.node(id);
        let other = node.inputs.iter().flatten().find(|&&input| input != ids)?;
        (node.op == "Equal").then(|| graph.const_int(*other))?
    })
}
