//! Follows places through a graph: for every operator, where its outputs' elements come from.
//!
//! Operators that mix elements keep the place of what they are added to (see [`Places::closer`]): a token that gathered
//! something from all others still is the token of its patch. Whatever is picked by data has no place; the path around
//! it, which every block has, keeps it.

use super::places::{Place, Places};
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId, normal_axis};
use std::ops::Range;

/// Longer axes are a mistake, or an attempt to use up memory.
const MAX_SIZE: usize = 1 << 24;

/// Places that are kept in all; what comes after is not followed.
const MAX_KEPT: usize = 1 << 24;

/// Places that are looked at in all.
const MAX_WORK: usize = 1 << 28;

/// The places of every value of a graph that has some.
pub(super) struct Flow<'g, 'a> {
    graph: &'g ModelGraph<'a>,
    places: Vec<Option<Places>>,
}

impl<'g, 'a> Flow<'g, 'a> {
    /// Follows the image from the graph's input `image`, whose rows and columns lie on these axes. All sizes of the
    /// graph's inputs have to be known.
    pub fn of(graph: &'g ModelGraph<'a>, image: ValueId, [row_axis, col_axis]: [usize; 2]) -> Self {
        let mut flow = Self { graph, places: vec![None; graph.num_values()] };
        let pixels = flow.shape(image).and_then(|shape| Places::of_pixels(&shape, row_axis, col_axis));
        flow.places[image.index()] = pixels;
        let (mut kept, mut work) = (0_usize, 0_usize);
        for id in graph.node_ids() {
            let node = graph.node(id);
            let read = node.inputs.iter().flatten().filter_map(|&input| flow.places(input));
            work = work.saturating_add(read.map(Places::len).sum());
            if kept > MAX_KEPT || work > MAX_WORK {
                break;
            }
            for (output, &value) in node.outputs.iter().enumerate() {
                // What the file tells of a shape may contradict what comes out; then neither is believed.
                let places = flow.output(id, output).filter(|places| {
                    let fits = |(&told, &size): (&i64, &usize)| told < 0 || usize::try_from(told) == Ok(size);
                    let shape = places.shape();
                    graph.shape(value).is_none_or(|told| told.len() == shape.len() && told.iter().zip(shape).all(fits))
                });
                kept = kept.saturating_add(places.as_ref().map_or(0, Places::len));
                flow.places[value.index()] = places;
            }
        }
        flow
    }

    pub fn places(&self, value: ValueId) -> Option<&Places> {
        self.places[value.index()].as_ref()
    }

    fn shape(&self, value: ValueId) -> Option<Vec<usize>> {
        let size = |&size: &i64| usize::try_from(size).ok().filter(|&size| size <= MAX_SIZE);
        self.graph.shape(value)?.iter().map(size).collect()
    }

    fn output(&self, id: NodeId, output: usize) -> Option<Places> {
        let node = self.graph.node(id);
        let of = |index: usize| node.input(index).and_then(|value| self.places(value));
        if !node.inputs.iter().flatten().any(|&input| self.places(input).is_some()) {
            return None;
        }
        match node.op {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Min" | "Max" | "Sum" | "Mean" | "Equal" | "Less"
            | "Greater" | "LessOrEqual" | "GreaterOrEqual" | "And" | "Or" | "PRelu" => {
                self.combined(node, 0..node.inputs.len(), output)
            }
            "Where" => self.combined(node, 1..3, output),
            "MatMul" | "FusedMatMul" | "MatMulInteger" | "QLinearMatMul" | "MatMulNBits" => self.product(node),
            "Gemm" | "FusedGemm" | "QGemm" => self.gemm(node),
            "Einsum" => self.einsum(node),
            "Conv" | "FusedConv" | "ConvInteger" | "QLinearConv" | "AveragePool" | "MaxPool" | "LpPool" => {
                self.windowed(node, output)
            }
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let places = of(0).filter(|places| places.shape().len() > 2)?;
                places.reduced(&(2..places.shape().len()).collect::<Vec<_>>(), true)
            }
            "Resize" | "Upsample" | "ConvTranspose" | "SpaceToDepth" | "DepthToSpace" => self.rescaled(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => of(0)?.reshaped(&self.shape(node.output(0)?)?),
            "Expand" => of(0)?.broadcast(&self.shape(node.output(0)?)?),
            "Transpose" => {
                let places = of(0)?;
                match self.graph.ints(node, "perm") {
                    Some(perm) => places.transposed(&perm.iter().map(|&axis| axis as usize).collect::<Vec<_>>()),
                    None => places.transposed(&(0..places.shape().len()).rev().collect::<Vec<_>>()),
                }
            }
            "Concat" => self.concat(node),
            "Split" => self.split(node, output),
            "Slice" => self.slice(node),
            "Pad" => self.pad(node),
            "Gather" => self.gather(node),
            "GatherElements" => of(0).filter(|_| of(1).is_none()).or(of(1))?.retold(self.shape(node.output(0)?)?),
            "TopK" | "ArgMax" | "ArgMin" | "OneHot" => self.chosen(node, output),
            op if op.starts_with("Reduce") => {
                let axes = self.graph.reduced_axes(node)?;
                let none = self.graph.int(node, "noop_with_empty_axes") == Some(1) && node.input(1).is_none();
                if none { of(0).cloned() } else { of(0)?.reduced(&axes, self.graph.int(node, "keepdims") != Some(0)) }
            }
            "If" => of(1).or(of(2)).cloned(),
            Node::CARRY => of(0).cloned(),
            Node::LAST => of(1).or(of(0)).cloned(),
            Node::STACK => {
                let places = of(0)?;
                places.broadcast(&[&[1], places.shape()].concat())
            }
            "GatherND"
            | "NonZero"
            | "Shape"
            | "Size"
            | "Compress"
            | "Unique"
            | "Tile"
            | "RoiAlign"
            | "NonMaxSuppression"
            | Node::SLICE
            | Node::COUNTER => None,
            _ => self.kept(node, output),
        }
    }

    /// Operators that leave every element where it is: activations, normalisations, casts, attention in one operator.
    fn kept(&self, node: &Node<'a>, output: usize) -> Option<Places> {
        let shape = self.shape(node.output(output)?)?;
        let inputs = node.inputs.iter().flatten().filter_map(|&input| self.places(input));
        inputs.into_iter().find(|places| places.shape() == shape).cloned()
    }

    fn combined(&self, node: &Node<'a>, inputs: Range<usize>, output: usize) -> Option<Places> {
        let known: Vec<&Places> = inputs.clone().filter_map(|n| self.places(node.input(n)?)).collect();
        let shape = self.shape(node.output(output)?).or_else(|| {
            // Where nothing else tells: that of the operand with the most axes.
            known.iter().max_by_key(|places| places.shape().len()).map(|places| places.shape().to_vec())
        })?;
        let mut known = known.into_iter().map(|places| places.broadcast(&shape));
        let first = known.next()??;
        known.try_fold(first, |all, places| all.closer(&places?))
    }

    /// A product keeps the rows of its first operand where that has places, else the columns of its second: the outer
    /// one is the token, the inner one what the token is made of, or looks at.
    fn product(&self, node: &Node<'a>) -> Option<Places> {
        let flag = |name: &str| self.graph.int(node, name) == Some(1);
        let second = if node.op == "QLinearMatMul" { 3 } else { 1 };
        let of = |index: usize, is_swapped: bool| {
            let places = self.places(node.input(index)?).filter(|places| places.is_anywhere())?;
            let rank = places.shape().len();
            let mut perm: Vec<usize> = (0..rank).collect();
            if is_swapped && rank >= 2 {
                perm.swap(rank - 1, rank - 2);
            }
            places.transposed(&perm)
        };
        let shape = self.shape(node.output(0)?)?;
        if let Some(places) = of(0, flag("transA")) {
            let rank = places.shape().len();
            let rows = places.reduced(&[rank - 1], rank > 1)?;
            let mut sizes = rows.shape().to_vec();
            if rank > 1 {
                sizes[rank - 1] = *shape.last()?;
            }
            return rows.retold(sizes)?.broadcast(&shape);
        }
        let places = of(second, flag("transB"))?;
        let rank = places.shape().len();
        let columns = places.reduced(&[rank.checked_sub(2)?], true)?;
        let mut sizes = columns.shape().to_vec();
        sizes[rank - 2] = *shape.get(shape.len().checked_sub(2)?)?;
        columns.retold(sizes)?.broadcast(&shape)
    }

    fn gemm(&self, node: &Node<'a>) -> Option<Places> {
        let places = self.places(node.input(0)?)?;
        let inner = if self.graph.int(node, "transA") == Some(1) { 0 } else { 1 };
        if places.shape().len() != 2 {
            return None;
        }
        let rows = places.reduced(&[inner], false)?;
        let shape = self.shape(node.output(0)?)?;
        let rows = rows.reshaped(&[*shape.first()?, 1])?;
        rows.retold(shape)
    }

    fn einsum(&self, node: &Node<'a>) -> Option<Places> {
        let equation: String = self.graph.text(node, "equation")?.split_whitespace().collect();
        let (terms, result) = equation.split_once("->")?;
        let shape = self.shape(node.output(0)?)?;
        let known = terms.split(',').zip(&node.inputs);
        let mut known = known.filter_map(|(term, input)| Some((term, self.places((*input)?)?)));
        let (term, places) = known.find(|(_, places)| places.is_anywhere())?;
        let letters: Vec<char> = term.chars().collect();
        if letters.len() != places.shape().len() || shape.len() != result.chars().count() {
            return None;
        }
        let inner: Vec<usize> = (0..letters.len()).filter(|&n| !result.contains(letters[n])).collect();
        let outer = places.reduced(&inner, false)?;
        let kept: Vec<char> = letters.into_iter().filter(|&letter| result.contains(letter)).collect();
        // The letters in the order of the result, then an axis for each that only other operands have.
        let mut perm: Vec<usize> = (0..kept.len()).collect();
        perm.sort_by_key(|&axis| result.chars().position(|letter| letter == kept[axis]));
        let outer = outer.transposed(&perm)?;
        let sizes: Vec<usize> =
            result.chars().zip(&shape).map(|(letter, &size)| if kept.contains(&letter) { size } else { 1 }).collect();
        outer.reshaped(&sizes)?.broadcast(&shape)
    }

    /// Convolutions and pools: each window belongs where its middle is.
    fn windowed(&self, node: &Node<'a>, output: usize) -> Option<Places> {
        let input = self.places(node.input(0)?).filter(|places| places.shape().len() > 2)?;
        let input = &input.reduced(&[1], true)?;
        let mut shape = self.shape(node.output(output)?)?;
        let weight = node.input(if node.op == "QLinearConv" { 3 } else { 1 });
        let window: Vec<usize> = match self.graph.ints(node, "kernel_shape") {
            Some(window) => window.iter().map(|&side| side as usize).collect(),
            None => self.shape(weight?)?.get(2..)?.to_vec(),
        };
        let list = |name: &str| self.graph.ints(node, name).unwrap_or(&[]);
        let (pads, strides, dilations) = (list("pads"), list("strides"), list("dilations"));
        let padding = self.graph.text(node, "auto_pad").unwrap_or("NOTSET");
        let channels = std::mem::replace(shape.get_mut(1)?, 1);
        let mut places = input.clone();
        let mut longest = 1.0_f32;
        for (n, &side) in window.iter().enumerate() {
            let at = |list: &[i64], default: i64| list.get(n).copied().unwrap_or(default);
            let (axis, stride) = (n + 2, at(strides, 1).max(1));
            // Numbers from the file: products may leave what 64 bits hold.
            let reach = at(dilations, 1).saturating_mul(side.saturating_sub(1) as i64).max(0);
            let covered = (*shape.get(axis)? as i64 - 1).saturating_mul(stride).saturating_add(reach);
            let missing = covered.saturating_add(1).saturating_sub(*input.shape().get(axis)? as i64);
            let begin = match padding {
                "SAME_UPPER" => missing.max(0) / 2,
                "SAME_LOWER" => (missing.max(0) + 1) / 2,
                _ => at(pads, 0),
            };
            let middle = |n: usize| (n as i64).saturating_mul(stride).saturating_sub(begin) as f32 + reach as f32 / 2.0;
            places = places.resampled(axis, &(0..shape[axis]).map(middle).collect::<Vec<_>>())?;
            longest = longest.max(stride as f32);
        }
        shape[1] = channels;
        places.widened(longest).retold(shape)
    }

    /// A map in another size: each element belongs where it lies on the map.
    fn rescaled(&self, node: &Node<'a>) -> Option<Places> {
        let input = self.places(node.input(0)?).filter(|places| places.shape().len() > 2)?;
        let shape = self.shape(node.output(0)?)?;
        let mut places = input.reduced(&[1], true)?;
        let mut widest = 0.0_f32;
        for (axis, &size) in shape.iter().enumerate().skip(2) {
            let scale = *input.shape().get(axis)? as f32 / size as f32;
            let middle = |n: usize| (n as f32 + 0.5) * scale - 0.5;
            places = places.resampled(axis, &(0..size).map(middle).collect::<Vec<_>>())?;
            widest = widest.max(scale);
        }
        places.widened(widest).retold(shape)
    }

    fn concat(&self, node: &Node<'a>) -> Option<Places> {
        let rank = node.inputs.iter().flatten().find_map(|&input| self.places(input))?.shape().len();
        let axis = self.graph.axis(node, 0, rank)?;
        let other = |input| if self.graph.is_zeros(input) { Place::PADDING } else { Place::NOWHERE };
        let part = |&input: &ValueId| match self.places(input) {
            Some(places) => Some(Ok(places)),
            None => self.shape(input)?.get(axis).map(|&size| Err((size, other(input)))),
        };
        Places::joined(&node.inputs.iter().flatten().map(part).collect::<Option<Vec<_>>>()?, axis)
    }

    fn split(&self, node: &Node<'a>, output: usize) -> Option<Places> {
        let places = self.places(node.input(0)?)?;
        let axis = self.graph.axis(node, 0, places.shape().len())?;
        let size = |output: &ValueId| self.shape(*output)?.get(axis).copied();
        let sizes = node.outputs[..=output].iter().map(size).collect::<Option<Vec<_>>>()?;
        let start: usize = sizes[..output].iter().sum();
        let end = start + sizes[output];
        (end <= places.shape()[axis]).then(|| places.sliced(axis, start, end, 1))?
    }

    fn slice(&self, node: &Node<'a>) -> Option<Places> {
        let mut places = self.places(node.input(0)?)?.clone();
        let list = |index: usize, name: &str| match node.input(index) {
            Some(value) => self.graph.const_ints(value),
            None => self.graph.ints(node, name).map(<[i64]>::to_vec),
        };
        let (starts, ends) = (list(1, "starts"), list(2, "ends"));
        let (Some(starts), Some(ends)) = (starts, ends) else {
            // Cut where data say; along axes on which nothing changes it does not matter.
            return places.retold(self.shape(node.output(0)?)?);
        };
        let axes = list(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
        for (n, &axis) in axes.iter().enumerate() {
            let axis = normal_axis(axis, places.shape().len())?;
            let size = i64::try_from(places.shape()[axis]).ok()?;
            let bound =
                |bound: i64| (if bound < 0 { bound.saturating_add(size) } else { bound }).clamp(0, size) as usize;
            let (start, end, step) = (*starts.get(n)?, *ends.get(n)?, *steps.get(n)?);
            places = match step {
                1.. => places.sliced(axis, bound(start), bound(end), isize::try_from(step).ok()?)?,
                // Backwards: only the whole axis occurs, turned round.
                -1 => places.picked(axis, &(0..size as usize).rev().map(Some).collect::<Vec<_>>())?,
                _ => return None,
            };
        }
        Some(places)
    }

    fn pad(&self, node: &Node<'a>) -> Option<Places> {
        let mut places = self.places(node.input(0)?)?.clone();
        let rank = places.shape().len();
        let pads = match node.input(1) {
            Some(pads) => self.graph.const_ints(pads)?,
            None => self.graph.ints(node, "pads")?.to_vec(),
        };
        let axes = match node.input(3) {
            Some(axes) => self.graph.const_ints(axes)?,
            None => (0..rank as i64).collect(),
        };
        for (n, &axis) in axes.iter().enumerate() {
            let axis = normal_axis(axis, rank)?;
            let (before, after) = (*pads.get(n)?, *pads.get(n + axes.len())?);
            let is_sound = |pad: i64| pad.unsigned_abs() <= MAX_SIZE as u64;
            if (before, after) != (0, 0) && is_sound(before) && is_sound(after) {
                let size = i64::try_from(places.shape()[axis]).ok()?;
                let end = size + after;
                let index = |at: i64| usize::try_from(at).ok().filter(|_| at < size);
                places = places.picked(axis, &(-before..end).map(index).collect::<Vec<_>>())?;
            }
        }
        Some(places)
    }

    fn gather(&self, node: &Node<'a>) -> Option<Places> {
        let indices = node.input(1)?;
        let Some(places) = self.places(node.input(0)?) else {
            // Rows of a table, looked up for each patch.
            let picked = self.places(indices)?;
            let shape = self.shape(node.output(0)?)?;
            let more = shape.len().checked_sub(picked.shape().len())?;
            let is_first = self.graph.int(node, "axis").unwrap_or(0) == 0;
            return is_first.then(|| picked.reshaped(&[picked.shape(), &vec![1; more]].concat())?.broadcast(&shape))?;
        };
        let axis = self.graph.axis(node, 0, places.shape().len())?;
        let shape = self.shape(node.output(0)?)?;
        let at: Vec<Option<usize>> = match self.graph.all_ints(indices) {
            Some(ints) => {
                let size = places.shape()[axis];
                ints.iter().map(|&index| normal_axis(index, size).map(Some)).collect::<Option<_>>()?
            }
            None if !places.varies(axis) => {
                let sizes = self.shape(indices)?;
                let count = sizes.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
                vec![Some(0); count.filter(|&count| count <= MAX_SIZE)?]
            }
            None => return None,
        };
        places.picked(axis, &at)?.reshaped(&shape)
    }

    /// A choice along an axis has the places of what it was made from, without that axis.
    fn chosen(&self, node: &Node<'a>, output: usize) -> Option<Places> {
        let places = self.places(node.input(0)?)?;
        let shape = self.shape(node.output(output)?)?;
        let rank = places.shape().len();
        if node.op == "OneHot" {
            let axis = self.graph.axis(node, -1, rank + 1)?;
            let mut sizes = places.shape().to_vec();
            sizes.insert(axis, 1);
            return places.reshaped(&sizes)?.broadcast(&shape);
        }
        let axis = self.graph.axis(node, if node.op == "TopK" { -1 } else { 0 }, rank)?;
        places.reduced(&[axis], shape.len() == rank)?.broadcast(&shape)
    }
}
