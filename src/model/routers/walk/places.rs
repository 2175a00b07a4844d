//! Picking, masking and comparing: how a choice becomes weights, masks and places.

use super::super::kinds::{Kind, MaskOf, Picked, Scores};
use super::super::report::ScoreFunction;
use super::{Walk, picked};
use crate::model::graph::{Node, ValueId};

impl<'a> Walk<'_, 'a> {
    pub(super) fn gather(&mut self, node: &Node<'a>, value: ValueId) -> Kind {
        let (data, indices) = (node.input(0), node.input(1));
        let data_kind = data.and_then(|data| self.kind(data));
        let index_kind = indices.and_then(|indices| self.kind(indices));
        let axis = self.graph.shape(value).and_then(|shape| self.graph.axis(node, 0, shape.len()));
        match (data_kind, index_kind) {
            (Some(Kind::Scores(scores)), Some(Kind::Ids { axis })) => Kind::Picked(picked(scores, false, axis)),
            (Some(Kind::Picked(_)), Some(Kind::Ids { axis })) if node.op == "GatherElements" => {
                self.regathered(data_kind, axis)
            }
            (Some(Kind::Ids { .. } | Kind::Other), Some(Kind::Ids { axis })) if node.op == "GatherElements" => {
                self.add_ids(Some(value), axis)
            }
            (None, Some(Kind::Ids { .. })) if self.looks_up_factors(node) => Kind::Factor,
            (Some(Kind::Mask(mask)), Some(Kind::GroupIds)) => Kind::Mask(mask),
            (Some(Kind::Places), _) => Kind::Places,
            // Tokens in another order, as batch priority routing has them.
            (Some(kind @ (Kind::Ids { .. } | Kind::Mask(_))), Some(Kind::Other)) => kind,
            (_, Some(_)) => Kind::Other,
            (Some(_), None) => match indices.and_then(|indices| self.graph.const_int(indices)) {
                Some(index) => self.column(node, data, data_kind, index, axis),
                None => Kind::Other,
            },
            (None, None) => Kind::Other,
        }
    }

    /// Dense weights, looked up again by the chosen experts.
    pub(super) fn regathered(&self, data: Option<Kind>, axis: Option<usize>) -> Kind {
        match data {
            Some(Kind::Picked(dense)) if dense.dense => Kind::Picked(Picked { dense: false, axis, ..dense }),
            _ => Kind::Other,
        }
    }

    /// A constant index into an axis: one expert's column, or a rank.
    pub(super) fn column(
        &self,
        node: &Node<'a>,
        data: Option<ValueId>,
        kind: Option<Kind>,
        index: i64,
        _: Option<usize>,
    ) -> Kind {
        let Some(shape) = data.and_then(|data| self.graph.shape(data)) else { return Kind::Other };
        let Some(axis) = self.graph.axis(node, 0, shape.len()) else { return Kind::Other };
        match kind {
            Some(Kind::Scores(scores)) if scores.axis == Some(axis) => {
                Kind::Scores(Scores { column: Some(index), axis: None, ..scores })
            }
            Some(Kind::Scores(scores)) => {
                let moved = scores.axis.map(|experts| if experts > axis { experts - 1 } else { experts });
                Kind::Scores(Scores { axis: moved, ..scores })
            }
            Some(kind @ Kind::Mask(_)) => kind,
            Some(Kind::Ids { .. }) => Kind::Ids { axis: None },
            _ => Kind::Other,
        }
    }

    /// A part of an axis: one expert's column, the first choices, or the least value that was kept.
    pub(super) fn part(&mut self, node: &Node<'a>, output: usize, value: ValueId) -> Kind {
        let kind = node.input(0).and_then(|input| self.kind(input));
        let shapes = node.input(0).and_then(|input| self.graph.shape(input)).zip(self.graph.shape(value));
        let cut = shapes.and_then(|(whole, part)| (0..part.len()).find(|&axis| whole.get(axis) != part.get(axis)));
        match kind {
            Some(Kind::Scores(scores)) if cut.is_some() && cut == scores.axis => {
                Kind::Scores(Scores { column: Some(0), ..scores })
            }
            Some(kind @ (Kind::Scores(_) | Kind::Mask(_) | Kind::Places | Kind::Sorted(_))) => kind,
            Some(Kind::Ids { .. } | Kind::Picked(_)) if cut.is_none() => kind.unwrap_or(Kind::Other),
            Some(Kind::Ids { axis }) if cut.is_some() && cut == axis && self.is_taken_apart(node) => Kind::Ids { axis },
            Some(Kind::Ids { axis }) if cut.is_some() && cut == axis && self.is_front(node, output) => {
                self.findings.front = cut.and_then(|axis| self.graph.shape(value)?.get(axis).copied());
                self.add_ids(Some(value), axis)
            }
            Some(Kind::Picked(picked)) if cut.is_some() && cut == picked.axis && self.is_front(node, output) => {
                Kind::Picked(picked)
            }
            _ => Kind::Other,
        }
    }

    /// Whether each choice is used by itself, rather than some of them cut off.
    fn is_taken_apart(&self, node: &Node<'a>) -> bool {
        if node.op == "Split" {
            let used = |output: &&ValueId| self.graph.data_consumers(**output).next().is_some();
            return node.outputs.iter().filter(used).count() > 1;
        }
        let readers = node.input(0).into_iter().flat_map(|ids| self.graph.data_consumers(ids));
        readers.filter(|&reader| matches!(self.graph.node(reader).op, "Slice" | "Gather")).count() > 1
    }

    /// Whether a part is the first of its axis.
    fn is_front(&self, node: &Node<'a>, output: usize) -> bool {
        match node.op {
            "Split" => output == 0,
            _ => node.input(1).and_then(|starts| self.graph.const_int(starts)) == Some(0),
        }
    }

    pub(super) fn concat(&mut self, node: &Node<'a>, value: ValueId) -> Kind {
        let kinds: Vec<Kind> = node.inputs.iter().flatten().filter_map(|&input| self.kind(input)).collect();
        let axis = self.graph.shape(value).and_then(|shape| self.graph.axis(node, 0, shape.len()));
        let Some(&first) = kinds.first() else { return Kind::Other };
        match first {
            _ if kinds.len() != node.inputs.len() => match first {
                Kind::Cumulated | Kind::Mask(_) => first,
                _ => Kind::Other,
            },
            Kind::Ids { .. } if kinds.iter().all(|kind| matches!(kind, Kind::Ids { .. })) => {
                self.add_ids(Some(value), axis)
            }
            Kind::Picked(last) if kinds.iter().all(|kind| matches!(kind, Kind::Picked(_))) => {
                Kind::Picked(Picked { axis, stage: last.stage + 8, of_one: false, ..last })
            }
            Kind::Mask(_) | Kind::Cumulated => first,
            _ => Kind::Other,
        }
    }

    pub(super) fn scatter(&mut self, node: &Node<'a>, value: ValueId) -> Kind {
        let kind = |index: usize| node.input(index).and_then(|input| self.kind(input));
        let rank = self.graph.shape(value).map_or(0, <[i64]>::len);
        let axis = if node.op == "ScatterND" { rank.checked_sub(1) } else { self.graph.axis(node, 0, rank) };
        match (kind(0), kind(1), kind(2)) {
            (Some(Kind::Scores(scores)), Some(Kind::Ids { .. }), None) => {
                Kind::Scores(Scores { masked: Some(MaskOf::Choice), ..scores })
            }
            (Some(Kind::Scores(scores)), _, None) => Kind::Scores(Scores { masked: Some(MaskOf::Unknown), ..scores }),
            (None, Some(Kind::Ids { .. } | Kind::Other), Some(Kind::Picked(picked))) => {
                // Minus infinity elsewhere: a function that follows is applied to the kept alone.
                Kind::Picked(Picked { dense: true, axis: self.axis_of_experts(value, axis), ..picked })
            }
            (None, Some(Kind::SortedIds), Some(Kind::Picked(picked))) => {
                Kind::Picked(Picked { dense: true, axis, ..picked })
            }
            (None, Some(Kind::SortedIds), Some(mask @ Kind::Mask(_))) => mask,
            (None, Some(Kind::Ids { axis }), _) => Kind::Mask(self.mask_of_ids(node.input(1), axis)),
            (None, Some(Kind::GroupIds), None) => Kind::Mask(MaskOf::Groups),
            (None, Some(Kind::TokenIds), None) => {
                self.note_room(value, None);
                Kind::Mask(MaskOf::Room)
            }
            (None, Some(_), Some(Kind::Mask(mask))) => Kind::Mask(mask),
            _ => Kind::Other,
        }
    }

    /// The axis of experts of what was scattered along an axis: of expert choice, that one has the tokens.
    fn axis_of_experts(&self, value: ValueId, along: Option<usize>) -> Option<usize> {
        let of_tokens = self.findings.choices.last().is_some_and(|choice| choice.of_tokens);
        let sizes = self.graph.shape(value).filter(|_| of_tokens);
        let other =
            sizes.and_then(|sizes| (0..sizes.len()).rfind(|&n| Some(n) != along && Some(sizes[n]) == self.width));
        other.or(along)
    }

    pub(super) fn choose(&mut self, node: &Node<'a>, _: ValueId) -> Kind {
        let kind = |index: usize| node.input(index).and_then(|input| self.kind(input));
        let mask = match kind(0) {
            Some(Kind::Mask(mask)) => mask,
            _ => MaskOf::Unknown,
        };
        match (kind(1), kind(2)) {
            (Some(kind), None) | (None, Some(kind)) => self.masked(kind, mask),
            (Some(Kind::Picked(_)), Some(kind @ Kind::Picked(_))) => kind,
            (Some(kind), Some(_)) => kind,
            (None, None) => Kind::Mask(mask),
        }
    }

    pub(super) fn masked(&mut self, kind: Kind, mask: MaskOf) -> Kind {
        let of_ids = matches!(mask, MaskOf::Choice | MaskOf::Rank);
        let (of_one, mask) = (mask == MaskOf::Rank, mask.of_choice());
        match kind {
            Kind::Scores(scores)
                if matches!(mask, MaskOf::Limit | MaskOf::Cumulated) && scores.function != ScoreFunction::None =>
            {
                self.note_mask(mask);
                Kind::Picked(Picked { stage: 1, ..picked(scores, true, scores.axis) })
            }
            Kind::Scores(scores) if mask == MaskOf::Choice && scores.function != ScoreFunction::None => {
                Kind::Picked(Picked { stage: 1, of_one, ..picked(scores, true, scores.axis) })
            }
            Kind::Scores(scores) => Kind::Scores(Scores { masked: Some(mask), ..scores }),
            Kind::Sorted(scores) => {
                self.note_mask(mask);
                Kind::Picked(picked(scores, false, scores.axis))
            }
            Kind::Grouped(scores) => Kind::Grouped(Scores { masked: Some(mask), ..scores }),
            // Experts that are told apart by their number have no say; those without room are told elsewhere.
            Kind::Picked(picked) if of_ids => Kind::Picked(Picked { stage: picked.stage + 1, ..picked }),
            other => other,
        }
    }

    pub(super) fn note_mask(&mut self, mask: MaskOf) {
        self.findings.limited |= mask == MaskOf::Limit;
        self.findings.cumulated |= mask == MaskOf::Cumulated;
    }

    pub(super) fn compare(&mut self, node: &Node<'a>, value: ValueId) -> Kind {
        let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { return Kind::Other };
        match (self.kind(a), self.kind(b)) {
            (Some(Kind::Ids { axis }), None) if node.op == "Equal" => self.equal_mask(a, axis, b),
            (None, Some(Kind::Ids { axis })) if node.op == "Equal" => self.equal_mask(b, axis, a),
            (Some(Kind::GroupIds), None) | (None, Some(Kind::GroupIds)) if node.op == "Equal" => {
                Kind::Mask(MaskOf::Groups)
            }
            (Some(Kind::Places), None) if node.op == "Equal" => self.slots(self.graph.num_elements(b), value),
            (Some(Kind::Places), None) => self.room(b, value),
            (None, Some(Kind::Places)) => self.room(a, value),
            // The limit is computed from the number of tokens.
            (Some(Kind::Places), Some(Kind::Other)) if node.op != "Equal" => self.room(b, value),
            (Some(Kind::Other), Some(Kind::Places)) if node.op != "Equal" => self.room(a, value),
            (Some(Kind::Ids { .. }), None) => self.below(node.op, b),
            (Some(Kind::Cumulated), _) | (_, Some(Kind::Cumulated)) => Kind::Mask(MaskOf::Cumulated),
            // A part of the best score is a limit, too.
            (Some(Kind::Scores(scores)), Some(Kind::Picked(best)))
                if best.of_max && best.scale < 1.0 && scores.function != ScoreFunction::None =>
            {
                Kind::Mask(MaskOf::Limit)
            }
            (Some(Kind::Scores(_)), Some(Kind::Other | Kind::Picked(_))) => Kind::Mask(MaskOf::Choice),
            (Some(Kind::Other | Kind::Picked(_)), Some(Kind::Scores(_))) => Kind::Mask(MaskOf::Choice),
            (Some(Kind::Scores(scores)), None) if scores.function != ScoreFunction::None && node.op != "Equal" => {
                Kind::Mask(MaskOf::Limit)
            }
            (Some(Kind::Mask(mask)), _) | (_, Some(Kind::Mask(mask))) => Kind::Mask(mask),
            _ => Kind::Mask(MaskOf::Unknown),
        }
    }

    /// Ids that are compared with the number of experts that there are: those beyond are none.
    fn below(&mut self, op: &str, number: ValueId) -> Kind {
        let number = self.graph.const_scalar(number).map(|number| number as i64);
        let first_of_none = match op {
            "Less" | "GreaterOrEqual" => number,
            _ => number.map(|last| last + 1),
        };
        self.findings.real_experts = self.findings.real_experts.or(first_of_none);
        Kind::Mask(MaskOf::Unknown)
    }

    /// Ids that are compared with the numbers of all experts are one-hot vectors.
    fn equal_mask(&self, ids: ValueId, axis: Option<usize>, numbers: ValueId) -> Kind {
        let is_one_hot = self.width.is_some() && self.graph.num_elements(numbers) == self.width;
        Kind::Mask(if is_one_hot { self.mask_of_ids(Some(ids), axis) } else { MaskOf::Choice })
    }

    /// Places are compared with a constant: counted from 1 or from 0, exporters write it as the number that has room,
    /// unless they compute it from the number of tokens.
    pub(super) fn room(&mut self, limit: ValueId, value: ValueId) -> Kind {
        let constant = self.graph.const_scalar(limit);
        // Comparing with zero asks whether there is a place at all.
        if constant.is_none_or(|limit| limit >= 1.0) {
            self.findings.capacity = self.findings.capacity.or(Some(constant.map(|limit| limit as usize)));
            self.note_room(value, None);
        }
        Kind::Mask(MaskOf::Room)
    }

    fn note_room(&mut self, value: ValueId, place_axis: Option<usize>) {
        if !self.sorted.contains(&value) {
            self.findings.room.push((value, place_axis));
        }
    }

    /// One-hot places: the depth is the capacity, or one more where the last is cut off because it stands for no room.
    pub(super) fn slots(&mut self, depth: Option<i64>, value: ValueId) -> Kind {
        if let Some(depth) = depth.and_then(|depth| usize::try_from(depth).ok()).filter(|&depth| depth > 1) {
            let mut at = value;
            let mut cut = false;
            for _ in 0..4 {
                let mut readers = self.graph.data_consumers(at);
                let (Some(reader), None) = (readers.next(), readers.next()) else { break };
                let reader = self.graph.node(reader);
                cut |= matches!(reader.op, "Slice" | "Gather");
                match reader.output(0) {
                    Some(output) if matches!(reader.op, "Cast" | "Slice" | "Identity") => at = output,
                    _ => break,
                }
            }
            let axis = self.graph.shape(at).and_then(|shape| shape.len().checked_sub(1));
            self.note_room(at, axis);
            let per_expert = Some(depth - usize::from(cut));
            self.findings.capacity = self.findings.capacity.or(Some(per_expert));
        }
        Kind::Places
    }
}
