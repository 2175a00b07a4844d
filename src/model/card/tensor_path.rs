//! How a card names any tensor of a graph, those inside functions and bodies included.

use crate::model::graph::ModelGraph;
use crate::model::routers::{PlaceStep, TensorRef, place};
use std::fmt;

/// A tensor's name with the way to it: `probs` in the main graph; `@12:probs` inside the function that node 12 calls;
/// `@12.then_branch:@3:probs` inside the function that node 3 of a branch of node 12 calls. Nodes are counted from 0 in
/// the list of nodes that they stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPath {
    /// The calls and bodies around it, outermost first; empty in the main graph.
    pub place: Vec<PlaceStep>,
    /// Its name there.
    pub name: String,
}

impl TensorPath {
    /// Reads what [`fmt::Display`] wrote. A name that merely begins with an `@` is one of the main graph.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut place = Vec::new();
        let mut rest = text;
        while let Some((step, inner)) = first_step(rest) {
            place.push(step);
            rest = inner;
        }
        Self { place, name: rest.to_owned() }
    }

    /// Whether these are the calls and bodies around it, however they are called in words.
    #[must_use]
    pub fn is_at(&self, place: &[PlaceStep]) -> bool {
        let same = |(a, b): (&PlaceStep, &PlaceStep)| (a.node, &a.body) == (b.node, &b.body);
        place.len() == self.place.len() && place.iter().zip(&self.place).all(same)
    }

    /// The tensor in a graph, with its type; `None` where there is none of that name at that place.
    #[must_use]
    pub fn find(&self, graph: &ModelGraph<'_>) -> Option<TensorRef> {
        let named = graph.value_ids().map(|id| graph.value(id)).filter(|value| value.name == self.name);
        let mut placed = named.map(|value| (value, place(graph, value.scope)));
        let (value, place) = placed.find(|(_, place)| self.is_at(place))?;
        let shape = value.shape.as_ref().map_or_else(Vec::new, |shape| shape.to_vec());
        let (name, element) = (self.name.clone(), value.element);
        Some(TensorRef { name, place, element, shape, expert_axis: None, dense: false })
    }
}

fn first_step(text: &str) -> Option<(PlaceStep, &str)> {
    let (step, rest) = text.strip_prefix('@')?.split_once(':')?;
    let (node, body) = match step.split_once('.') {
        Some((node, body)) => (node, Some(body.to_owned())),
        None => (step, None),
    };
    let label = match &body {
        Some(body) => format!("{body} of node {node}"),
        None => format!("function of node {node}"),
    };
    Some((PlaceStep { node: node.parse().ok()?, body, label }, rest))
}

impl From<&TensorRef> for TensorPath {
    fn from(tensor: &TensorRef) -> Self {
        Self { place: tensor.place.clone(), name: tensor.name.clone() }
    }
}

impl fmt::Display for TensorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PlaceStep { node, body, .. } in &self.place {
            match body {
                Some(body) => write!(f, "@{node}.{body}:")?,
                None => write!(f, "@{node}:")?,
            }
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_were_written() {
        type Steps = [(usize, Option<&'static str>)];
        let cases: [(&str, &Steps, &str); 6] = [
            ("/mlp/router:0", &[], "/mlp/router:0"),
            ("@12:probs", &[(12, None)], "probs"),
            ("@12.then_branch:@3:a:b", &[(12, Some("then_branch")), (3, None)], "a:b"),
            ("@probs:0", &[], "@probs:0"),
            ("@1.body:@x:y", &[(1, Some("body"))], "@x:y"),
            ("", &[], ""),
        ];
        for (text, steps, name) in cases {
            let path = TensorPath::parse(text);
            let found: Vec<_> = path.place.iter().map(|step| (step.node, step.body.as_deref())).collect();
            assert_eq!((found.as_slice(), path.name.as_str()), (steps, name), "{text}");
            assert_eq!(path.to_string(), text);
        }
    }
}
