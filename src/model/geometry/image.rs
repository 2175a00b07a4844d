//! Which input takes the image, and what kind of image it takes.

use super::head::Head;
use super::reason::{Basis, Reasons};
use crate::model::graph::{ModelGraph, Source, ValueId};
use crate::model::{Dim, InputElement, Layout, ModelDescription, ValueDescription};

/// The side of an image where nothing tells it: what classifiers are trained with, and detectors.
pub(super) const USUAL_SIDE: u32 = 224;
pub(super) const USUAL_SIDE_OF_DETECTORS: u32 = 640;

/// Longer sides are a mistake.
const MAX_SIDE: usize = 16_384;

/// The image input of a model.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub name: String,
    pub layout: Layout,
    pub height: u32,
    pub width: u32,
    pub batch: usize,
    pub element: InputElement,
    /// Whether it takes any size, and nothing tells which.
    pub takes_any_size: bool,
}

impl Image {
    /// The axes of rows and of columns.
    pub fn sides(&self) -> [usize; 2] {
        match self.layout {
            Layout::Nchw => [2, 3],
            Layout::Nhwc => [1, 2],
        }
    }

    /// Its input in a graph.
    pub fn value(&self, graph: &ModelGraph<'_>) -> Option<ValueId> {
        graph.inputs().iter().copied().find(|&value| graph.value(value).name == self.name)
    }

    /// The sizes of all axes.
    pub fn shape(&self) -> [usize; 4] {
        let (height, width) = (self.height as usize, self.width as usize);
        match self.layout {
            Layout::Nchw => [self.batch, 3, height, width],
            Layout::Nhwc => [self.batch, height, width, 3],
        }
    }

    /// Finds it among the inputs that have no default; where nothing tells its size, that is `usual_side`.
    ///
    /// # Errors
    /// Why none of them takes an image, in words.
    pub fn find(
        description: &ModelDescription,
        graph: &ModelGraph<'_>,
        usual_side: u32,
        reasons: &mut Reasons,
    ) -> Result<Self, String> {
        let required = || description.inputs.iter().filter(|input| !input.has_default);
        let candidates: Vec<Candidate<'_>> = required().filter_map(|input| Candidate::of(input, graph)).collect();
        let is_named = |candidate: &&Candidate<'_>| {
            let name = candidate.input.name.to_lowercase();
            ["pixel", "image", "img"].iter().any(|word| name.contains(word))
        };
        let Some(chosen) = candidates.iter().find(is_named).or(candidates.first()) else {
            const MOST: usize = 8;
            let more = required().count().saturating_sub(MOST);
            let inputs = required().take(MOST).map(|input| format!("{} is {input}", input.name));
            let inputs: Vec<String> = inputs.chain((more > 0).then(|| format!("and {more} more"))).collect();
            if inputs.is_empty() {
                return Err("it has no inputs that an image could be given to".into());
            }
            return Err(format!(
                "none of its inputs takes an image of three colours, [batch, 3, height, width] or [batch, height, \
                 width, 3] ({})",
                inputs.join("; ")
            ));
        };
        let name = &chosen.input.name;
        match candidates.len() {
            1 => reasons.add("input.name", Basis::Graph, format!("{name} is the only input that can take an image.")),
            count => {
                let text = format!("{count} inputs can take an image; {name} is the first that is named like one.");
                reasons.add("input.name", Basis::Assumed, text);
            }
        }
        chosen.image(graph, usual_side, reasons)
    }
}

/// An input that may take an image.
struct Candidate<'a> {
    input: &'a ValueDescription,
    value: ValueId,
    element: InputElement,
    sizes: [Option<usize>; 4],
    head: Head,
    layout: Layout,
    layout_basis: Basis,
    layout_text: String,
}

impl<'a> Candidate<'a> {
    fn of(input: &'a ValueDescription, graph: &ModelGraph<'_>) -> Option<Self> {
        let element = match input.element {
            "float32" => InputElement::Float32,
            "float16" => InputElement::Float16,
            "uint8" => InputElement::Uint8,
            _ => return None,
        };
        let value = graph.inputs().iter().copied().find(|&value| graph.value(value).name == input.name)?;
        let sizes: Vec<Option<usize>> = match &input.dims {
            Some(dims) => dims.iter().map(Dim::size).collect(),
            None => vec![None; 4],
        };
        let sizes: [Option<usize>; 4] = sizes.try_into().ok()?;
        let head = Head::of(graph, value);
        let told = match sizes {
            [_, Some(3), _, last] if last != Some(3) => Some(Layout::Nchw),
            [_, second, _, Some(3)] if second != Some(3) => Some(Layout::Nhwc),
            _ => None,
        };
        let (layout, layout_basis, layout_text) = match (told, head.layout(graph)) {
            // What the first layer takes says more than sizes that could be others.
            (_, Some(layout)) if told.is_none_or(|told| told == layout) => (
                layout,
                Basis::Graph,
                format!("The first convolution takes three colours, and {} is {input}.", input.name),
            ),
            (Some(layout), _) => (layout, Basis::Graph, format!("{} is {input}: three colours.", input.name)),
            (None, _) if sizes[1].is_none_or(|size| size == 3) => (
                Layout::Nchw,
                Basis::Assumed,
                format!("{} is {input}, which does not tell where the colours are.", input.name),
            ),
            (None, _) => return None,
        };
        Some(Self { input, value, element, sizes, head, layout, layout_basis, layout_text })
    }

    fn image(&self, graph: &ModelGraph<'_>, usual_side: u32, reasons: &mut Reasons) -> Result<Image, String> {
        reasons.add("input.layout", self.layout_basis, self.layout_text.clone());
        let [rows, cols] = match self.layout {
            Layout::Nchw => [self.sizes[2], self.sizes[3]],
            Layout::Nhwc => [self.sizes[1], self.sizes[2]],
        };
        let (height, width, basis, text) = match (rows, cols) {
            (Some(height), Some(width)) => {
                (height, width, Basis::Graph, format!("{} takes images of this size only.", self.input.name))
            }
            (Some(side), None) | (None, Some(side)) => {
                (side, side, Basis::Assumed, "One side is fixed; the other is assumed to be as long.".to_owned())
            }
            (None, None) => self.dynamic_size(graph, usual_side),
        };
        let takes_any_size = basis == Basis::Assumed && (rows, cols) == (None, None);
        reasons.add("input.height", basis, text.clone());
        reasons.add("input.width", basis, text);
        let side = |size: usize| u32::try_from(size).ok().filter(|_| (1..=MAX_SIDE).contains(&size));
        let (Some(height), Some(width)) = (side(height), side(width)) else {
            return Err(format!("its input {} is {}, which is no size of an image", self.input.name, self.input));
        };
        let batch = self.sizes[0].unwrap_or(1).max(1);
        match self.sizes[0] {
            Some(1) | None => {}
            Some(_) => {
                let text =
                    format!("The graph takes {batch} images at once, and cannot take fewer: each is the same one.");
                reasons.add("input.batch", Basis::Graph, text);
            }
        }
        let name = self.input.name.clone();
        Ok(Image { name, layout: self.layout, height, width, batch, element: self.element, takes_any_size })
    }

    /// The size of an image for a graph that takes any: the one that its position embeddings were made for.
    fn dynamic_size(&self, graph: &ModelGraph<'_>, usual_side: u32) -> (usize, usize, Basis, String) {
        let embedded = self.head.patch_side(graph).and_then(|side| {
            let (rows, cols, name) = embedded_grid(graph, self.value)?;
            Some((rows.checked_mul(side as usize)?, cols.checked_mul(side as usize)?, side, name))
        });
        match embedded {
            Some((height, width, side, name)) => {
                let text = format!(
                    "Any size will do; {name} has positions for {height} × {width} in patches of {side} pixels."
                );
                (height, width, Basis::Graph, text)
            }
            None => {
                let side = usual_side as usize;
                (side, side, Basis::Assumed, format!("Any size will do, and nothing tells which: {side} is usual."))
            }
        }
    }
}

/// Rows and columns of the patches that a weight holds positions for: one that is added to the patches, of rank 2 or 3
/// with a square number of rows (and up to eight more for class and register tokens), or of rank 4.
fn embedded_grid(graph: &ModelGraph<'_>, image: ValueId) -> Option<(usize, usize, String)> {
    /// More tokens before the patches do not occur.
    const MAX_PREFIX: usize = 8;
    let is_after = graph.node_ids().skip_while(|&id| !graph.node(id).inputs.contains(&Some(image)));
    for id in is_after.filter(|&id| graph.node(id).op == "Add") {
        for &input in graph.node(id).inputs.iter().flatten() {
            let Source::Initializer(tensor) = graph.value(input).source else { continue };
            let sizes: Vec<usize> = tensor.dims.iter().filter_map(|&dim| usize::try_from(dim).ok()).collect();
            let name = graph.value(input).name.to_owned();
            let tokens = match sizes.as_slice() {
                &[1, _, rows, cols] if rows > 1 && cols > 1 => return Some((rows, cols, name)),
                &[1, tokens, _] | &[tokens, _] if tokens >= 4 => tokens,
                _ => continue,
            };
            let square = (0..=MAX_PREFIX.min(tokens)).find_map(|prefix| {
                let side = (tokens - prefix).isqrt();
                (side >= 2 && side * side == tokens - prefix).then_some(side)
            });
            if let Some(side) = square {
                return Some((side, side, name));
            }
        }
    }
    None
}
