//! Bodies of `If`, `Loop` and `Scan`: their nodes stand in the flat view as if they were written beside the node that owns
//! them, linked to its inputs and outputs.

use super::build::{At, Builder, GraphError, Placed};
use super::{Node, Scope, ScopeId, Source, ValueId};
use crate::model::proto::GraphProto;
use smallvec::smallvec;

impl<'a> Builder<'a> {
    /// Adds the body in the attribute `name` of `node`; gives its outputs.
    fn add_body(
        &mut self,
        placed: Placed<'a>,
        name: &'a str,
        bind: impl FnOnce(&mut Self, &'a GraphProto, ScopeId),
    ) -> Result<Vec<ValueId>, GraphError> {
        let Placed { node, index, at } = placed;
        let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
        let Some(body) = attribute.and_then(|attribute| attribute.g.as_ref()) else { return Ok(Vec::new()) };
        let label = format!("{} of {} {}", name.replace('_', " "), node.op_type, node.name);
        let scope = self.add_scope(Scope { parent: Some(at.scope), owner: index, body: Some(name), label });
        self.add_weights(body, scope);
        self.add_types(body, scope);
        bind(self, body, scope);
        self.add_nodes(&body.node, At { scope, depth: at.depth + 1, ..at })?;
        Ok(body.output.iter().map(|output| self.look_up(&output.name, scope)).collect())
    }

    pub(super) fn add_if(
        &mut self,
        placed: Placed<'a>,
        inputs: &[Option<ValueId>],
        outputs: &[ValueId],
    ) -> Result<(), GraphError> {
        let yes = self.add_body(placed, "then_branch", |_, _, _| ())?;
        let no = self.add_body(placed, "else_branch", |_, _, _| ())?;
        for (n, &output) in outputs.iter().enumerate() {
            let inputs = smallvec![inputs.first().copied().flatten(), yes.get(n).copied(), no.get(n).copied()];
            self.push_link("If", &placed.node.name, inputs, output);
        }
        Ok(())
    }

    pub(super) fn add_loop(
        &mut self,
        placed: Placed<'a>,
        inputs: &[Option<ValueId>],
        outputs: &[ValueId],
    ) -> Result<(), GraphError> {
        let bind = |this: &mut Self, body: &'a GraphProto, scope: ScopeId| {
            for (n, input) in body.input.iter().enumerate() {
                let value = this.add_value(&input.name, scope, Source::Unknown);
                this.set_type(value, &input.name, scope);
                let op = if n == 0 { Node::COUNTER } else { Node::CARRY };
                this.push_link(op, &placed.node.name, smallvec![inputs.get(n).copied().flatten()], value);
            }
        };
        let results = self.add_body(placed, "body", bind)?;
        let carried = inputs.len().saturating_sub(2);
        for (n, &output) in outputs.iter().enumerate() {
            let result = results.get(n + 1).copied();
            if n < carried {
                self.push_link(Node::LAST, &placed.node.name, smallvec![inputs[n + 2], result], output);
            } else {
                self.push_link(Node::STACK, &placed.node.name, smallvec![result], output);
            }
        }
        Ok(())
    }

    pub(super) fn add_scan(
        &mut self,
        placed: Placed<'a>,
        inputs: &[Option<ValueId>],
        outputs: &[ValueId],
    ) -> Result<(), GraphError> {
        let scanned = placed.node.attribute.iter().find(|attribute| attribute.name == "num_scan_inputs");
        let scanned = scanned.and_then(|attribute| usize::try_from(attribute.i?).ok()).unwrap_or(0);
        let carried = inputs.len().saturating_sub(scanned);
        let bind = |this: &mut Self, body: &'a GraphProto, scope: ScopeId| {
            for (n, input) in body.input.iter().enumerate() {
                let value = this.add_value(&input.name, scope, Source::Unknown);
                this.set_type(value, &input.name, scope);
                let op = if n < carried { Node::CARRY } else { Node::SLICE };
                this.push_link(op, &placed.node.name, smallvec![inputs.get(n).copied().flatten()], value);
            }
        };
        let results = self.add_body(placed, "body", bind)?;
        for (n, &output) in outputs.iter().enumerate() {
            let result = results.get(n).copied();
            if n < carried {
                self.push_link(Node::LAST, &placed.node.name, smallvec![inputs[n], result], output);
            } else {
                self.push_link(Node::STACK, &placed.node.name, smallvec![result], output);
            }
        }
        Ok(())
    }
}
