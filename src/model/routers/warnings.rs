//! What a person should know before believing the pictures of a router.

use super::assemble::lost_experts;
use super::branches::Unlike;
use super::experts::Found;
use super::report::{GatingRule, Router};
use super::walk::Walk;

/// The sentences about one router.
pub(super) fn warnings(router: &Router, walk: &Walk<'_, '_>, found: &Found) -> Vec<String> {
    let mut warnings = Vec::new();
    let width = router.num_experts;
    if found.by_hit {
        warnings.push(
            "The experts were fixed while the model was exported: each branch belongs to the n-th expert that the traced image \
             hit, so that other images may run wrong experts. Export the model with all experts in its graph."
                .to_owned(),
        );
    }
    if found.fixes_rows {
        warnings.push(
            "The number of tokens that an expert takes was fixed while the model was exported: it fails on images of which \
             that expert takes more or fewer. Export the model with `index_add` in place of `out[tokens] += …`."
                .to_owned(),
        );
    }
    if lost_experts(found, width) {
        warnings.push(format!(
            "The router chooses among {width} experts, but the graph has {} of them: the export lost the others, and what \
             is routed to them is left out. Export the model with all experts in its graph.",
            found.count
        ));
    }
    if found.without_weights + found.constants > 0 && !found.has_gaps {
        warnings.push(without_network(found, width));
    }
    if router.experts.all_executed && router.top_k.is_some_and(|k| k < width) {
        warnings.push(
            "This graph runs all experts on all tokens and drops what was not chosen: a smaller k saves no time."
                .to_owned(),
        );
    }
    if router.tensors.expert_ids.is_none()
        && router.tensors.ranks.is_empty()
        && walk.findings.choices.iter().any(|choice| choice.cascaded)
    {
        warnings.push(
            "The choices are made one after the other, and no tensor lists all of them: the chosen experts are not shown."
                .to_owned(),
        );
    }
    if router.rule == GatingRule::TopKThenSoftmax && router.top_k == Some(1) {
        warnings.push("A softmax over one kept logit is always 1: the weight says nothing about the gate.".to_owned());
    }
    if walk.findings.random {
        warnings
            .push("The router draws random numbers: the same image may be routed differently each time.".to_owned());
    }
    warnings.extend(found.unlike.as_ref().map(unlike));
    warnings
}

/// Of experts that are no networks, what they are (MoE++: Jin et al. 2025).
fn without_network(found: &Found, width: usize) -> String {
    let networks = found.count - found.without_weights - found.constants;
    let mut others = vec![format!("{networks} of {width} experts are networks")];
    if found.constants > 0 {
        others.push(format!("{} mix a vector of their own with what they are given", found.constants));
    }
    if found.without_weights > 0 {
        others.push(format!("{} only pass on, scale or drop what they are given", found.without_weights));
    }
    if found.count < width {
        let missing = width - found.count;
        others
            .push(format!("{missing} left no trace in the graph: such an expert gives nothing, or the export lost it"));
    }
    others.join("; ") + "."
}

/// What tells two experts apart, and what that means for whoever looks at the pictures.
fn unlike(unlike: &Unlike) -> String {
    let [a, b] = unlike.experts;
    let [of_a, of_b] = &unlike.weights;
    let sizes = |(op, sizes): &(String, Vec<i64>)| {
        let sizes: Vec<String> = sizes.iter().map(i64::to_string).collect();
        format!("{op} {}", sizes.join("×"))
    };
    let own = |of: &[(String, Vec<i64>)], other: &[(String, Vec<i64>)]| {
        let own: Vec<String> = of.iter().filter(|weight| !other.contains(weight)).take(3).map(sizes).collect();
        if own.is_empty() { format!("{} weights", of.len()) } else { own.join(", ") }
    };
    format!(
        "The experts are built in different ways: expert {b} has {}, where expert {a} has {}. If the model means it so, the \
         pictures are right; if not, a part of the model was taken for an expert, and its share is not to be believed.",
        own(of_b, of_a),
        own(of_a, of_b)
    )
}
