//! Infers shapes, and the integers that shapes are made of, where the file does not tell them. An axis or an integer that
//! depends on a dynamic size stays unknown; everything else about it is kept.

use super::attributes::normal_axis;
use super::constants::num_or_unknown;
use super::sizes::{broadcast, joined, merge, product, slice_len};
use super::{ModelGraph, Node, NodeId, Shape};
use smallvec::smallvec;

impl<'a> ModelGraph<'a> {
    /// Goes through the nodes once, in order.
    pub(super) fn infer_values(&mut self) {
        for id in self.node_ids() {
            self.infer_elements(id);
            let node = self.node(id);
            let ints = self.infer_ints(node);
            if let Some(output) = node.output(0)
                && self.value(output).ints.is_none()
            {
                self.values[output.index()].ints = ints;
            }
            for n in 0..self.node(id).outputs.len() {
                let shape = self.output_shape(id, n);
                let output = self.node(id).outputs[n];
                let value = &mut self.values[output.index()];
                value.shape = merge(value.shape.take(), shape);
            }
        }
    }

    fn output_shape(&self, id: NodeId, output: usize) -> Option<Shape> {
        let node = self.node(id);
        let of = |index: usize| node.input(index).and_then(|value| self.shape(value));
        let first = of(0);
        Some(match node.op {
            "MatMul" | "FusedMatMul" | "MatMulInteger" => self.matmul_shape(node)?,
            "Gemm" | "FusedGemm" => self.gemm_shape(node)?,
            "Einsum" => self.einsum_shape(node)?,
            "Conv" | "FusedConv" | "ConvInteger" => {
                let weight = of(1)?;
                let sides = self.window_sides(node, first?, weight.get(2..)?);
                joined(&[&[*first?.first()?, *weight.first()?], &sides])
            }
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Equal" | "Less" | "Greater" | "LessOrEqual"
            | "GreaterOrEqual" | "And" | "Or" | "Xor" | "Min" | "Max" | "Sum" | "Mean" | "Where" => {
                let mut shapes = node.inputs.iter().flatten().map(|&input| self.shape(input));
                let start = Shape::from(shapes.next()??);
                shapes.try_fold(start, |shape, other| Some(broadcast(&shape, other?)))?
            }
            "Expand" => {
                let target = self.value(node.input(1)?).ints.clone()?;
                broadcast(first?, &target.into_iter().map(num_or_unknown).collect::<Shape>())
            }
            "Reshape" => self.reshape_shape(node)?,
            "Flatten" => {
                let shape = first?;
                let axis = self.int(node, "axis").unwrap_or(1);
                let axis = normal_axis(axis, shape.len() + 1)?;
                smallvec![product(&shape[..axis]), product(&shape[axis..])]
            }
            "Transpose" => {
                let shape = first?;
                match self.ints(node, "perm") {
                    Some(perm) => perm.iter().map(|&p| shape.get(p as usize).copied()).collect::<Option<Shape>>()?,
                    None => shape.iter().rev().copied().collect(),
                }
            }
            "Squeeze" => self.squeeze_shape(node)?,
            "Unsqueeze" => self.unsqueeze_shape(node)?,
            "Concat" => {
                let mut shape = Shape::from(first?);
                let axis = self.axis(node, 0, shape.len())?;
                let sizes =
                    node.inputs.iter().flatten().map(|&input| self.shape(input).and_then(|s| s.get(axis).copied()));
                shape[axis] = sizes
                    .map(|size| size.unwrap_or(-1))
                    .try_fold(0_i64, |sum, size| if size < 0 { None } else { sum.checked_add(size) })
                    .unwrap_or(-1);
                shape
            }
            "Split" => self.split_shape(node, output)?,
            "Slice" => self.slice_shape(node)?,
            "Gather" => {
                let (data, indices) = (first?, of(1)?);
                let axis = self.axis(node, 0, data.len())?;
                joined(&[&data[..axis], indices, &data[axis + 1..]])
            }
            "GatherElements" => of(1)?.into(),
            "GatherND" => {
                let (data, indices) = (first?, of(1)?);
                let batch = usize::try_from(self.int(node, "batch_dims").unwrap_or(0)).ok()?;
                let (&last, outer) = indices.split_last()?;
                joined(&[outer, data.get(batch + usize::try_from(last).ok()?..)?])
            }
            "TopK" => {
                let mut shape = Shape::from(first?);
                let axis = self.axis(node, -1, shape.len())?;
                let k = node.input(1).and_then(|k| self.const_int(k)).or_else(|| self.int(node, "k"));
                shape[axis] = k.unwrap_or(-1);
                shape
            }
            "ArgMax" | "ArgMin" => {
                let mut shape = Shape::from(first?);
                let axis = self.axis(node, 0, shape.len())?;
                shape[axis] = 1;
                if self.int(node, "keepdims") == Some(0) {
                    shape.remove(axis);
                }
                shape
            }
            op if op.starts_with("Reduce") => self.reduce_shape(node)?,
            "OneHot" => {
                let mut shape = Shape::from(first?);
                let rank = shape.len() + 1;
                let axis = self.axis(node, -1, rank)?;
                shape.insert(axis, node.input(1).and_then(|depth| self.const_scalar(depth)).map_or(-1, |d| d as i64));
                shape
            }
            "Shape" => smallvec![first?.len() as i64],
            "Size" => Shape::new(),
            "NonZero" => smallvec![first?.len() as i64, -1],
            "NonMaxSuppression" => smallvec![-1, 3],
            "Range" => smallvec![self.range(node).map_or(-1, |range| range.len() as i64)],
            "ConstantOfShape" => self.value(node.input(0)?).ints.clone()?.into_iter().map(num_or_unknown).collect(),
            "Tile" => {
                let repeats = self.value(node.input(1)?).ints.clone()?;
                let times = |(&size, repeat): (&i64, Option<i64>)| match repeat {
                    Some(repeat) if size >= 0 => size.saturating_mul(repeat),
                    _ => -1,
                };
                first?.iter().zip(repeats).map(times).collect()
            }
            "GlobalAveragePool" | "GlobalMaxPool" => {
                first?.iter().enumerate().map(|(axis, &size)| if axis < 2 { size } else { 1 }).collect()
            }
            "AveragePool" | "MaxPool" => {
                let sides = self.window_sides(node, first?, self.ints(node, "kernel_shape")?);
                joined(&[first?.get(..2)?, &sides])
            }
            "If" => {
                let (yes, no) = (of(1)?, of(2)?);
                if yes.len() != no.len() {
                    return None;
                }
                yes.iter().zip(no).map(|(&a, &b)| if a == b { a } else { -1 }).collect()
            }
            Node::CARRY => {
                // A carried value may change its sizes from one iteration to the next.
                self.shape(node.input(0)?)?.into()
            }
            Node::COUNTER => Shape::new(),
            Node::LAST => of(1)?.into(),
            Node::STACK => joined(&[&[-1], first?]),
            "Pad" => self.pad_shape(node)?,
            "Resize" | "Upsample" => self.resize_shape(node)?,
            "SpaceToDepth" | "DepthToSpace" => self.block_shape(node)?,
            // The operator gives what goes through its experts as it came.
            "MoE" | "QMoE" => first?.into(),
            "Compress" | "ConvTranspose" | "SequenceAt" | "SplitToSequence" | "Unique" => return None,
            op if output == 0 && keeps_shape(op) => first?.into(),
            _ => return None,
        })
    }

    /// The sides of what a window that moves over `from` gives.
    fn window_sides(&self, node: &Node<'a>, from: &[i64], window: &[i64]) -> Shape {
        let list = |name: &str| self.ints(node, name).unwrap_or(&[]);
        let (pads, strides, dilations) = (list("pads"), list("strides"), list("dilations"));
        let padding = self.text(node, "auto_pad").unwrap_or("NOTSET");
        let ceil = self.int(node, "ceil_mode") == Some(1);
        let side = |n: usize| {
            let at = |list: &[i64], default: i64| list.get(n).copied().unwrap_or(default);
            let (size, stride) = (from.get(n + 2).copied().unwrap_or(-1), at(strides, 1).max(1));
            if size < 0 {
                return -1;
            }
            if padding.starts_with("SAME") {
                return size.saturating_add(stride - 1) / stride;
            }
            // Numbers from the file: sums may leave what 64 bits hold.
            let pad = at(pads, 0).saturating_add(pads.get(n + window.len()).copied().unwrap_or(0));
            let reach = at(dilations, 1).saturating_mul(window[n].saturating_sub(1)).saturating_add(1);
            let room = size.saturating_add(pad).saturating_sub(reach);
            (if ceil { room.saturating_add(stride - 1) } else { room } / stride).saturating_add(1)
        };
        (0..window.len()).map(side).collect()
    }

    fn matmul_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let (mut a, mut b) = (Shape::from(self.shape(node.input(0)?)?), Shape::from(self.shape(node.input(1)?)?));
        let flag = |name| self.int(node, name) == Some(1);
        if node.op == "FusedMatMul" {
            let swap = |shape: &mut Shape| {
                let rank = shape.len();
                if rank >= 2 {
                    shape.swap(rank - 1, rank - 2);
                }
            };
            if flag("transA") {
                swap(&mut a);
            }
            if flag("transB") {
                swap(&mut b);
            }
        }
        let (vector_a, vector_b) = (a.len() == 1, b.len() == 1);
        if vector_a {
            a.insert(0, 1);
        }
        if vector_b {
            b.push(1);
        }
        let (batch_a, rows) = a.split_at(a.len().checked_sub(2)?);
        let (batch_b, cols) = b.split_at(b.len().checked_sub(2)?);
        let mut shape = broadcast(batch_a, batch_b);
        if !vector_a {
            shape.push(rows[0]);
        }
        if !vector_b {
            shape.push(cols[1]);
        }
        Some(shape)
    }

    fn gemm_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let side = |index: usize, flag: &str, axis: usize| {
            let axis = if self.int(node, flag) == Some(1) { 1 - axis } else { axis };
            self.shape(node.input(index)?)?.get(axis).copied()
        };
        Some(smallvec![side(0, "transA", 0).unwrap_or(-1), side(1, "transB", 1).unwrap_or(-1)])
    }

    fn einsum_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let equation: String = self.text(node, "equation")?.split_whitespace().collect();
        let (terms, result) = equation.split_once("->")?;
        if equation.contains('.') {
            return None;
        }
        let size_of = |letter: char| {
            let sizes = terms.split(',').zip(&node.inputs).filter_map(|(term, input)| {
                let at = term.chars().position(|other| other == letter)?;
                self.shape((*input)?)?.get(at).copied().filter(|&size| size >= 0)
            });
            sizes.max().unwrap_or(-1)
        };
        Some(result.chars().map(size_of).collect())
    }

    fn reshape_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let data = node.input(0)?;
        let target = match node.input(1) {
            Some(target) => self.value(target).ints.clone()?,
            None => self.ints(node, "shape")?.iter().copied().map(Some).collect(),
        };
        let from = self.shape(data);
        let keep = self.int(node, "allowzero") != Some(1);
        let mut shape = Shape::with_capacity(target.len());
        for (axis, size) in target.iter().enumerate() {
            shape.push(match size {
                Some(0) if keep => from.and_then(|from| from.get(axis).copied()).unwrap_or(-1),
                Some(size) => *size,
                None => -1,
            });
        }
        // The axis that takes what is left: the one written −1, or the only one that is not known.
        let unknown: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] < 0).collect();
        if let ([axis], Some(total)) = (unknown.as_slice(), self.num_elements(data)) {
            let rest = product(&joined(&[&shape[..*axis], &shape[axis + 1..]]));
            shape[*axis] = if rest > 0 && total % rest == 0 { total / rest } else { -1 };
        }
        Some(shape)
    }

    /// The `axes` of an operator that took them as an attribute once and takes them as an input now.
    fn axes(&self, node: &Node<'a>, rank: usize) -> Option<Option<Vec<usize>>> {
        let axes = match (node.input(1), self.ints(node, "axes")) {
            (Some(axes), _) => self.const_ints(axes)?,
            (None, Some(axes)) => axes.to_vec(),
            (None, None) => return Some(None),
        };
        axes.into_iter().map(|axis| normal_axis(axis, rank)).collect::<Option<Vec<_>>>().map(Some)
    }

    fn squeeze_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let shape = self.shape(node.input(0)?)?;
        let axes = self.axes(node, shape.len())?;
        let dropped = |axis: usize| axes.as_ref().map_or(shape[axis] == 1, |axes| axes.contains(&axis));
        Some((0..shape.len()).filter(|&axis| !dropped(axis)).map(|axis| shape[axis]).collect())
    }

    fn unsqueeze_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let mut shape = Shape::from(self.shape(node.input(0)?)?);
        let count = node.input(1).and_then(|axes| self.const_ints(axes)).map(|axes| axes.len());
        let count = count.or_else(|| self.ints(node, "axes").map(<[i64]>::len))?;
        let mut axes = self.axes(node, shape.len() + count)??;
        axes.sort_unstable();
        for axis in axes {
            if axis > shape.len() {
                return None;
            }
            shape.insert(axis, 1);
        }
        Some(shape)
    }

    fn split_shape(&self, node: &Node<'a>, output: usize) -> Option<Shape> {
        let mut shape = Shape::from(self.shape(node.input(0)?)?);
        let axis = self.axis(node, 0, shape.len())?;
        let sizes = match node.input(1) {
            Some(sizes) => self.value(sizes).ints.clone(),
            None => self.ints(node, "split").map(|sizes| sizes.iter().copied().map(Some).collect()),
        };
        let count = node.outputs.len() as i64;
        shape[axis] = match sizes {
            Some(sizes) => sizes.get(output).copied().flatten().unwrap_or(-1),
            None if node.input(1).is_none() && shape[axis] >= 0 && shape[axis] % count == 0 => shape[axis] / count,
            None => -1,
        };
        Some(shape)
    }

    fn slice_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let mut shape = Shape::from(self.shape(node.input(0)?)?);
        let part = |index: usize, name: &str| match node.input(index) {
            Some(value) => self.const_ints(value),
            None => self.ints(node, name).map(<[i64]>::to_vec),
        };
        let axes = part(3, "axes");
        let count = node
            .input(1)
            .and_then(|starts| self.size_from_end(starts, -1))
            .or_else(|| self.ints(node, "starts").map(|starts| starts.len() as i64));
        // A file may declare any number of starts.
        let count = count.filter(|&count| count <= shape.len() as i64);
        let axes = axes.or_else(|| count.map(|count| (0..count).collect()))?;
        let (starts, ends) = (part(1, "starts"), part(2, "ends"));
        let steps = if node.input(4).is_some() { part(4, "steps") } else { Some(vec![1; axes.len()]) };
        for (n, &axis) in axes.iter().enumerate() {
            let axis = normal_axis(axis, shape.len())?;
            let bound = |list: &Option<Vec<i64>>| list.as_ref().and_then(|list| list.get(n).copied());
            shape[axis] = match (bound(&starts), bound(&ends), bound(&steps)) {
                (Some(start), Some(end), Some(step)) => slice_len(shape[axis], start, end, step),
                _ => -1,
            };
        }
        Some(shape)
    }

    fn reduce_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let shape = self.shape(node.input(0)?)?;
        let axes = self.axes(node, shape.len())?;
        let keep = self.int(node, "keepdims") != Some(0);
        if axes.is_none() && self.int(node, "noop_with_empty_axes") == Some(1) {
            return Some(shape.into());
        }
        let reduced = |axis: usize| axes.as_ref().is_none_or(|axes| axes.contains(&axis));
        let sizes = (0..shape.len()).filter(|&axis| keep || !reduced(axis));
        Some(sizes.map(|axis| if reduced(axis) { 1 } else { shape[axis] }).collect())
    }
}

/// Operators that give a tensor of their input's shape.
fn keeps_shape(op: &str) -> bool {
    // Whatever is not known to change it: activations, normalisations, casts, quantisation, scatter operations.
    !matches!(op, "RoiAlign" | "GridSample" | "LSTM" | "GRU" | "RNN" | "Attention")
        && op.starts_with(|first: char| first.is_ascii_uppercase())
}

impl<'a> ModelGraph<'a> {
    /// The axes that a `Reduce…` node reduces, counted from the front; all where it names none.
    pub(in crate::model) fn reduced_axes(&self, node: &Node<'a>) -> Option<Vec<usize>> {
        let rank = self.shape(node.input(0)?)?.len();
        Some(self.axes(node, rank)?.unwrap_or_else(|| (0..rank).collect()))
    }
}
