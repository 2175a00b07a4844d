//! The inputs of a graph that are not the image: their sizes, the run-time k, and what the others may be fed.

use super::image::Image;
use super::layers::Told;
use super::reason::{Basis, Reasons};
use crate::model::graph::{ModelGraph, ValueId};
use crate::model::proto::{DimensionProto, ModelProto, TensorShapeProto, ValueInfoProto};
use crate::model::routers::{RouterReport, TopKSource};
use crate::model::{Fill, FixedInputCard, ModelDescription, TopKCard, TopKInput};
use std::collections::HashMap;

/// Tokens of a text of any length.
const USUAL_TOKENS: i64 = 16;

/// Longer texts are a mistake.
const MAX_TOKENS: usize = 1 << 20;

/// The model with a size for every axis of its inputs: the image's as found, one image at a time, and for the others the
/// image's where they lie over it or bear the same name, else 1 on the first axis and a few tokens. `None` where the file
/// fixes all of them, as they are then.
pub(super) fn with_sizes(model: &ModelProto, image: &Image) -> Option<ModelProto> {
    let inputs = &model.graph.as_ref()?.input;
    let named = named_sizes(model, image);
    let sizes: Vec<_> = inputs.iter().map(|input| sizes(input, image, &named)).collect();
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
fn sizes(input: &ValueInfoProto, image: &Image, named: &HashMap<String, i64>) -> Option<Vec<i64>> {
    let shape = input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref();
    let told: Option<Vec<i64>> = shape.and_then(|shape| shape.dim.iter().map(|dim| dim.dim_value).collect());
    let sizes = if input.name == image.name {
        image.shape().iter().map(|&size| size as i64).collect()
    } else {
        let shape = shape?;
        let rank = shape.dim.len();
        let lies_over = rank > 2 && is_pixel_mask(&input.name);
        let usual = |axis: usize| match rank - axis {
            2 if lies_over => i64::from(image.height),
            1 if lies_over => i64::from(image.width),
            _ if axis == 0 => 1,
            _ => USUAL_TOKENS,
        };
        let of_name = |dim: &DimensionProto| named.get(dim.dim_param.as_ref()?).copied();
        let size = |(axis, dim): (usize, &DimensionProto)| {
            dim.dim_value.or_else(|| of_name(dim)).unwrap_or_else(|| usual(axis))
        };
        shape.dim.iter().enumerate().map(size).collect()
    };
    (told.as_ref() != Some(&sizes)).then_some(sizes)
}

/// The sizes of the image by the names that its input gives them: another input's axis of the same name is as long.
fn named_sizes(model: &ModelProto, image: &Image) -> HashMap<String, i64> {
    let input = model.graph.iter().flat_map(|graph| &graph.input).find(|input| input.name == image.name);
    let tensor = input.and_then(|input| input.r#type.as_ref()?.tensor_type.as_ref());
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).into_iter().flat_map(|shape| &shape.dim);
    let named = dims.zip(image.shape()).filter_map(|(dim, size)| Some((dim.dim_param.clone()?, size as i64)));
    named.filter(|(name, _)| !name.is_empty()).collect()
}

/// Whether an input tells which pixels of a padded batch are the image's, as DETR's does.
fn is_pixel_mask(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("mask") && ["pixel", "image", "img"].iter().any(|word| name.contains(word))
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
        let (fill, text) =
            size_of_image(&input.name, image, &shape).unwrap_or_else(|| fill(graph, value, &shape, told));
        let is_fixed = input.dims.as_ref().is_some_and(|dims| dims.iter().all(|dim| dim.size().is_some()));
        let size = if is_fixed { "" } else { " Its size is assumed as well." };
        reasons.add(field, Basis::Assumed, format!("{} is {input}. {text}{size}", input.name));
        cards.push(FixedInputCard { name: input.name.clone(), shape, fill });
    }
    cards
}

/// What detectors take that give boxes in pixels of the picture: its size, for which the model's own input stands in.
fn size_of_image(name: &str, image: &Image, shape: &[usize]) -> Option<(Fill, String)> {
    let name = name.to_lowercase();
    let [height, width] = [f64::from(image.height), f64::from(image.width)];
    let (pair, order) = match name.as_str() {
        name if name.contains("scale") => ([1.0, 1.0], "1: the picture is as large as the model's input"),
        // PaddlePaddle's detectors.
        "im_shape" | "img_shape" | "image_shape" => ([height, width], "the height and width of the model's input"),
        name if name.contains("size") => ([width, height], "the width and height of the model's input"),
        _ => return None,
    };
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))?;
    let values = (shape.last() == Some(&2)).then(|| pair.into_iter().cycle().take(count).collect())?;
    Some((Fill::Values(values), format!("Fed {order}, so that boxes lie on that.")))
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
    if is_pixel_mask(graph.value(value).name) {
        return (Fill::Value(1.0), "Fed 1: every pixel is the image's.".to_owned());
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
