//! Attributes of nodes; inside a function an attribute may be given by the call.

use super::{CallId, ModelGraph, Node};
use crate::model::proto::AttributeProto;

/// Calls within calls beyond this do not occur in models.
const MAX_REFERENCES: usize = 64;

impl<'a> ModelGraph<'a> {
    /// An attribute, looked up in the calls around the node where it refers to one.
    pub(in crate::model) fn attribute(&self, node: &Node<'a>, name: &str) -> Option<&'a AttributeProto> {
        let found = node.attributes.iter().find(|attribute| attribute.name == name)?;
        resolve(&self.calls, found, node.call)
    }

    /// An integer attribute.
    pub(in crate::model) fn int(&self, node: &Node<'a>, name: &str) -> Option<i64> {
        self.attribute(node, name)?.i
    }

    /// A list of integers.
    pub(in crate::model) fn ints(&self, node: &Node<'a>, name: &str) -> Option<&'a [i64]> {
        self.attribute(node, name).map(|attribute| attribute.ints.as_slice())
    }

    /// A text.
    pub(in crate::model) fn text(&self, node: &Node<'a>, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(node, name)?.s.as_ref()?).ok()
    }

    /// An axis attribute, counted from the front; `default` where it is not given.
    pub(in crate::model) fn axis(&self, node: &Node<'a>, default: i64, rank: usize) -> Option<usize> {
        normal_axis(self.int(node, "axis").unwrap_or(default), rank)
    }
}

/// An axis that may be counted from the end, counted from the front.
pub(in crate::model) fn normal_axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// Follows an attribute that refers to one of the call around it.
pub(super) fn resolve<'a>(
    calls: &[super::build::Call<'a>],
    mut attribute: &'a AttributeProto,
    mut call: Option<CallId>,
) -> Option<&'a AttributeProto> {
    for _ in 0..MAX_REFERENCES {
        if attribute.ref_attr_name.is_empty() {
            return Some(attribute);
        }
        let around = &calls[call? as usize];
        let given = around.attributes.iter().find(|given| given.name == attribute.ref_attr_name);
        let default = || around.defaults.iter().find(|default| default.name == attribute.ref_attr_name);
        attribute = given.or_else(default)?;
        call = around.call;
    }
    None
}
