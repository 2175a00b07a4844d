//! Compares one tensor of a router with what PyTorch recorded.

use crate::row::{Golden, Row};
use moescope::engine::{Tensor, TensorData};
use moescope::model::routers::TensorRef;
use ndarray::{Array2, ArrayD, Axis, IxDyn};
use serde_json::Value;

/// How far weights and scores may differ.
const TOLERANCE: f64 = 1e-5;

/// Whether the tensor could be compared: `Ok(false)` where the architecture has none, or hides it.
pub fn compare(
    golden: &mut Golden,
    row: &Row,
    [input, router]: [usize; 2],
    truth: &Value,
    role: &str,
    found: Option<(&TensorRef, &Tensor)>,
) -> Result<bool, String> {
    let rule = truth["rule"].as_str().unwrap();
    // Of expert choice, what is chosen are tokens.
    let recorded = if rule == "expert_choice" && role == "expert_ids" { "token_ids" } else { role };
    let mut read = |name: &str| golden.floats(&format!("router.{input}.{router}.{name}"));
    let Some(expected) = read(recorded) else { return Ok(false) };
    let Some((reference, tensor)) = found else {
        return if is_hidden(rule, role, &row.name) { Ok(false) } else { Err("was not found".into()) };
    };
    let ids = read("expert_ids").map(|ids| rows(&ids));
    let experts = usize::try_from(truth["num_experts"].as_u64().unwrap()).unwrap();
    let mut actual = experts_last(as_floats(tensor), reference.expert_axis);
    let mut expected = rows(&expected);
    if let (Some(kept), Some(ids), "combine_weights") = (read("kept"), &ids, role)
        && matches!(rule, "top_p" | "threshold")
    {
        // What is not taken weighs nothing, and stands where its expert stands.
        expected = &expected * &rows(&kept);
        if reference.dense {
            expected = spread(&expected, ids, experts);
        }
    } else if let (true, Some(ids), "combine_weights") = (reference.dense, &ids, role)
        && expected.ncols() != experts
    {
        actual = pick(&actual, ids, experts);
    }
    if actual.len() != expected.len() {
        return Err(format!("({}) has shape {:?}, not {:?}", reference.name, tensor.shape, expected.shape()));
    }
    let mut actual = actual.to_shape(expected.raw_dim()).unwrap().to_owned();
    if truth["unordered"] == true && matches!(role, "expert_ids" | "combine_weights") {
        // A set has no order; sorted, equal sets are equal.
        sort_rows(&mut actual);
        sort_rows(&mut expected);
    }
    let differences = actual.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let Some(tolerance) = row.tolerance() else {
        let limit = if role == "expert_ids" { 0.0 } else { TOLERANCE };
        let worst = differences.fold(0.0, f64::max);
        return if worst <= limit { Ok(true) } else { Err(format!("({}) differs by {worst:e}", reference.name)) };
    };
    // Where another number format rounds, close choices may differ, and with them whole rows; most must agree.
    let limit = if role == "expert_ids" { 0.0 } else { tolerance };
    let agreeing = differences.filter(|&difference| difference <= limit).count();
    if agreeing * 10 >= expected.len() * 8 {
        Ok(true)
    } else {
        Err(format!("({}) agrees in {agreeing} of {}", reference.name, expected.len()))
    }
}

/// The same for what tells which choices their experts had room for: `Ok(false)` where experts take any number of tokens.
pub fn compare_kept(
    golden: &mut Golden,
    row: &Row,
    [input, router]: [usize; 2],
    truth: &Value,
    found: Option<(&TensorRef, &Tensor)>,
    place_axis: Option<usize>,
) -> Result<bool, String> {
    let mut read = |name: &str| golden.floats(&format!("router.{input}.{router}.{name}"));
    let (Some(expected), false) = (read("kept"), truth["capacity"].is_null()) else {
        return if found.is_none() { Ok(false) } else { Err("is invented".into()) };
    };
    let ids = rows(&read("expert_ids").unwrap());
    let Some((reference, tensor)) = found else {
        return if is_hidden("", "kept", &row.name) { Ok(false) } else { Err("was not found".into()) };
    };
    let mut actual = as_floats(tensor).mapv(|value| f64::from(value != 0.0));
    let mut axis = reference.expert_axis;
    if let Some(places) = place_axis {
        actual = actual.fold_axis(Axis(places), 0.0, |any: &f64, one| any.max(*one));
        axis = axis.map(|axis| axis - usize::from(axis > places));
    }
    let mut actual = experts_last(actual, axis);
    if reference.dense {
        actual = pick(&actual, &ids, truth["num_experts"].as_u64().unwrap() as usize);
    }
    let same = actual.iter().eq(expected.iter());
    if same { Ok(true) } else { Err(format!("({}) is {actual:?}, not {expected:?}", reference.name)) }
}

/// The same for a tensor of one of a token's choices alone.
pub fn compare_rank(
    golden: &mut Golden,
    [input, router, rank]: [usize; 3],
    truth: &Value,
    role: &str,
    (reference, tensor): (&TensorRef, &Tensor),
    place_axis: Option<usize>,
) -> Result<(), String> {
    let mut read = |name: &str| golden.floats(&format!("router.{input}.{router}.{name}")).map(|array| rows(&array));
    let expected = read(role).ok_or_else(|| format!("{role} of one choice is invented"))?.column(rank).to_vec();
    let ids = read("expert_ids").unwrap().column(rank).to_owned().insert_axis(Axis(1));
    let mut actual = as_floats(tensor);
    if let Some(places) = place_axis {
        actual = actual.fold_axis(Axis(places), 0.0, |any: &f64, one| any.max(one.abs()));
    }
    if reference.dense {
        actual = pick(&actual, &ids, truth["num_experts"].as_u64().unwrap() as usize);
    }
    let as_recorded = |value: f64| if role == "kept" { f64::from(value != 0.0) } else { value };
    let limit = if role == "combine_weights" { TOLERANCE } else { 0.0 };
    let same = actual.len() == expected.len()
        && actual.iter().zip(&expected).all(|(&a, b)| (as_recorded(a) - b).abs() <= limit);
    let fault = || format!("{role} of choice {rank} ({}) is {actual:?}, not {expected:?}", reference.name);
    if same { Ok(()) } else { Err(fault()) }
}

/// What a graph does not have although PyTorch computes it: inside one operator; probabilities and weights that nothing
/// uses, which exporters leave out; the experts of a threshold, which are a mask.
fn is_hidden(rule: &str, role: &str, row: &str) -> bool {
    match role {
        "gate_logits" => false,
        "gate_probs" => rule == "contrib_moe" || row.starts_with("hf-llama4"),
        "expert_ids" => matches!(rule, "contrib_moe" | "threshold"),
        _ => rule == "contrib_moe" || row == "variant-argmax-only",
    }
}

/// Rows of the last axis.
fn rows(array: &ArrayD<f64>) -> Array2<f64> {
    let columns = array.shape().last().copied().unwrap_or(1).max(1);
    array.to_shape((array.len() / columns, columns)).unwrap().to_owned()
}

fn experts_last(array: ArrayD<f64>, axis: Option<usize>) -> ArrayD<f64> {
    let Some(axis) = axis.filter(|&axis| axis + 1 < array.ndim()) else { return array };
    let mut order: Vec<usize> = (0..array.ndim()).filter(|&other| other != axis).collect();
    order.push(axis);
    array.permuted_axes(order).as_standard_layout().to_owned()
}

/// The weights of the chosen experts, out of those of all.
fn pick(dense: &ArrayD<f64>, ids: &Array2<f64>, experts: usize) -> ArrayD<f64> {
    let dense = dense.to_shape((dense.len() / experts, experts)).unwrap();
    Array2::from_shape_fn(ids.raw_dim(), |(token, rank)| dense[[token, ids[[token, rank]] as usize]]).into_dyn()
}

fn spread(weights: &Array2<f64>, ids: &Array2<f64>, experts: usize) -> Array2<f64> {
    let mut dense = Array2::zeros((weights.nrows(), experts));
    for ((token, rank), weight) in weights.indexed_iter() {
        dense[[token, ids[[token, rank]] as usize]] += weight;
    }
    dense
}

fn sort_rows(array: &mut Array2<f64>) {
    for mut row in array.axis_iter_mut(Axis(0)) {
        let mut values = row.to_vec();
        values.sort_by(f64::total_cmp);
        row.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }
}

/// A tensor of the engine as floats.
fn as_floats(tensor: &Tensor) -> ArrayD<f64> {
    let values: Vec<f64> = match &tensor.data {
        TensorData::F32(floats) => floats.iter().map(|&float| f64::from(float)).collect(),
        TensorData::I64(ints) => ints.iter().map(|&int| int as f64).collect(),
    };
    ArrayD::from_shape_vec(IxDyn(&tensor.shape), values).unwrap()
}
