//! The layers of a guessed card: one for each router, and what its tokens are.

use super::flow::Flow;
use super::image::Image;
use super::reason::{Basis, Reasons};
use super::roles::{Role, roles};
use super::tokens::{Found, tokens_of};
use crate::model::graph::{ModelGraph, ScopeId, ValueId};
use crate::model::routers::{Router, RouterReport, TensorRef};
use crate::model::{GridCard, LayerCard, TokenLayout, TokenOrder};
use std::collections::HashMap;

/// What was found out about layers and tokens.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The model's grid: that of the first router with patches, or of the first layer that is no longer pixels.
    pub grid: GridCard,
    pub layers: Vec<LayerCard>,
}

/// The layers of all routers.
pub(super) fn layers(
    graph: &ModelGraph<'_>,
    flow: Option<&Flow<'_, '_>>,
    image: &Image,
    report: &RouterReport,
    reasons: &mut Reasons,
) -> Told {
    let lookup = Lookup::of(graph);
    let base = flow.and_then(|flow| first_grid(graph, flow, image.batch));
    let found: Vec<(Found, Basis, String)> =
        report.routers.iter().map(|router| place_router(graph, flow, &lookup, router, image, base.as_ref())).collect();
    let first = found.iter().find_map(|(found, ..)| match found {
        Found::Grid(grid) => Some(grid.clone()),
        _ => None,
    });
    let (has_first, has_base) = (first.is_some(), base.is_some());
    let grid = first.or(base).unwrap_or_else(|| GridCard::patches(1, 1));
    match (has_first, has_base) {
        (true, _) => {
            let at = found.iter().position(|(found, ..)| matches!(found, Found::Grid(_))).unwrap_or(0);
            reasons.add("grid", found[at].1, found[at].2.clone());
        }
        (false, true) => reasons.add("grid", Basis::Graph, "Read from the first layer: no router sees patches."),
        (false, false) => {
            reasons.add("grid", Basis::Assumed, "The image's way through the graph could not be followed: one patch.");
        }
    }
    let logits = |index: usize| lookup.find(report.routers[index].tensors.gate_logits.as_ref()?);
    let roles = roles(graph, report, logits);
    let mut layers = Vec::new();
    for (index, ((router, (found, basis, text)), role)) in report.routers.iter().zip(found).zip(roles).enumerate() {
        let layout = found.layout();
        let own = match found {
            Found::Grid(own) if own != grid => Some(own),
            _ => None,
        };
        let field = if own.is_some() { "grid" } else { "tokens" };
        reasons.add(format!("layers[{index}].{field}"), basis, text);
        layers.push(layer_card(router, layout, own, role));
    }
    Told { grid, layers }
}

fn layer_card(router: &Router, tokens: TokenLayout, grid: Option<GridCard>, role: Role) -> LayerCard {
    let Role { task, iteration } = role;
    LayerCard { tokens, grid, task, iteration, ..LayerCard::of_router(router) }
}

/// What the tokens of a router are, and what that was read from.
fn place_router(
    graph: &ModelGraph<'_>,
    flow: Option<&Flow<'_, '_>>,
    lookup: &Lookup<'_>,
    router: &Router,
    image: &Image,
    base: Option<&GridCard>,
) -> (Found, Basis, String) {
    if router.per_image {
        return (Found::Image, Basis::Graph, "One decision for the whole image.".into());
    }
    let tensors = &router.tensors;
    let all = [&tensors.gate_logits, &tensors.gate_probs, &tensors.combine_weights, &tensors.expert_ids];
    place(graph, flow, lookup, all.into_iter().flatten(), image.batch, base)
}

/// What the tokens are that some tensors of one router have in common, and what that was read from.
pub(super) fn place<'t>(
    graph: &ModelGraph<'_>,
    flow: Option<&Flow<'_, '_>>,
    lookup: &Lookup<'_>,
    tensors: impl Iterator<Item = &'t TensorRef>,
    batch: usize,
    base: Option<&GridCard>,
) -> (Found, Basis, String) {
    let known: Vec<(&TensorRef, ValueId)> = tensors.filter_map(|tensor| Some((tensor, lookup.find(tensor)?))).collect();
    let count = known.iter().find_map(|(tensor, value)| num_tokens(graph, *value, tensor.expert_axis, batch));
    if count == Some(1) {
        return (Found::Image, Basis::Graph, "One decision for the whole image.".into());
    }
    let followed = known.iter().find_map(|(tensor, value)| tokens_of(flow?.places(*value)?, tensor.expert_axis, batch));
    match followed {
        Some(Found::Grid(grid)) => {
            let text = grid_text(&grid);
            (Found::Grid(grid), Basis::Graph, text)
        }
        Some(Found::Unclear(count)) => {
            let text =
                format!("{count} tokens, whose order on the image was not understood: they are shown as a list.");
            (Found::Unclear(count), Basis::Assumed, text)
        }
        Some(found @ Found::Unplaced(count)) => {
            (found, Basis::Graph, format!("{count} tokens that have no place on the image, such as object queries."))
        }
        Some(Found::Image) => (Found::Image, Basis::Graph, "One decision for the whole image.".into()),
        None => unfollowed(count, base, graph.inputs().len() > 1),
    }
}

fn grid_text(grid: &GridCard) -> String {
    let order = match &grid.order {
        TokenOrder::RowMajor => String::new(),
        TokenOrder::Windows { rows, cols, shift_rows, shift_cols } => {
            format!(", window by window of {rows} × {cols} (shifted by {shift_rows} and {shift_cols})")
        }
        TokenOrder::Listed(_) => match grid.padding_tokens() {
            0 => ", which it sees in another order than row by row".to_owned(),
            padding => format!(", which it sees in another order than row by row, with {padding} tokens of padding"),
        },
    };
    let others = match (grid.prefix_tokens, grid.suffix_tokens) {
        (0, 0) => String::new(),
        (prefix, suffix) => format!(", with {prefix} tokens before and {suffix} behind them"),
    };
    format!("The pixels' way through the graph ends in {} × {} patches{order}{others}.", grid.rows, grid.cols)
}

/// What the number of tokens alone suggests, and whether there is another input that may bring tokens.
fn unfollowed(count: Option<usize>, base: Option<&GridCard>, has_others: bool) -> (Found, Basis, String) {
    let Some(count) = count else {
        return (
            Found::Unclear(0),
            Basis::Assumed,
            "How many tokens it sees is not known before the model runs.".into(),
        );
    };
    if let Some(base) = base
        && let Some(others) = count.checked_sub(base.rows * base.cols)
        && (others == 0 || has_others)
    {
        let grid = GridCard { prefix_tokens: 0, suffix_tokens: others, ..GridCard::patches(base.rows, base.cols) };
        let text = format!(
            "The image's way to it depends on data. {count} tokens: assumed are the {} × {} patches first, then {others} \
             others.",
            base.rows, base.cols
        );
        return (Found::Grid(grid), Basis::Assumed, text);
    }
    (Found::Unplaced(count), Basis::Assumed, format!("{count} tokens; where they lie on the image is not known."))
}

/// Tokens of one image: all elements but those along the experts.
fn num_tokens(graph: &ModelGraph<'_>, value: ValueId, expert_axis: Option<usize>, batch: usize) -> Option<usize> {
    let shape = graph.shape(value)?;
    let others = shape.iter().enumerate().filter(|&(axis, _)| Some(axis) != expert_axis);
    let sizes = others.map(|(_, &size)| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()?;
    let all = sizes.iter().try_fold(1_usize, |all, &size| all.checked_mul(size))?;
    expert_axis.map(|_| all / batch)
}

/// The grid of the first layer that makes something else of pixels.
fn first_grid(graph: &ModelGraph<'_>, flow: &Flow<'_, '_>, batch: usize) -> Option<GridCard> {
    let products = graph.node_ids().map(|id| graph.node(id)).filter(|node| {
        matches!(
            node.op,
            "Conv" | "FusedConv" | "ConvInteger" | "QLinearConv" | "MatMul" | "MatMulInteger" | "Gemm" | "Einsum"
        )
    });
    let mut grids = products.filter_map(|node| {
        let places = flow.places(node.output(0)?)?;
        let features = if node.op.contains("Conv") { 1 } else { places.shape().len() - 1 };
        match tokens_of(places, Some(features), batch)? {
            Found::Grid(grid) => Some(grid),
            _ => None,
        }
    });
    grids.next()
}

/// The nodes and bodies around a value, outermost first.
type Around<'n> = Vec<(usize, Option<&'n str>)>;

/// Values by name and place.
pub(super) struct Lookup<'g> {
    values: HashMap<(&'g str, ScopeId), ValueId>,
    scopes: HashMap<Around<'g>, ScopeId>,
}

impl<'g> Lookup<'g> {
    pub fn of(graph: &'g ModelGraph<'_>) -> Self {
        let named = |id| ((graph.value(id).name, graph.value(id).scope), id);
        let around = |id| {
            let mut around = Around::new();
            let mut scope = graph.scope(id);
            while let Some(parent) = scope.parent {
                around.push((scope.owner, scope.body));
                scope = graph.scope(parent);
            }
            around.reverse();
            (around, id)
        };
        Self { values: graph.value_ids().map(named).collect(), scopes: graph.scope_ids().map(around).collect() }
    }

    fn find<'s>(&'s self, tensor: &'s TensorRef) -> Option<ValueId> {
        let scopes: &HashMap<Around<'s>, ScopeId> = &self.scopes;
        let around: Around<'s> = tensor.place.iter().map(|step| (step.node, step.body.as_deref())).collect();
        self.values.get(&(tensor.name.as_str(), *scopes.get(&around)?)).copied()
    }
}
