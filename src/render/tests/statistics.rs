//! The statistics that charts are drawn from, against the exact ones that the window prints.

use super::device::renderer_with;
use super::*;
use crate::render::sections::TOTALS;
use crate::render::{ContentKey, Renderer, Uploaded};
use crate::routing::{LayerBalance, TokenMeasures};

const ROUTING: ContentKey = ContentKey(31);
/// How far a sum of up to 65,536 32-bit floats may be off: it is made of at most 64 + 64 + 4 additions in a row, each of
/// which rounds by 2⁻²⁴ of what was summed.
const TOLERANCE: f64 = 1e-5;

fn upload(renderer: &mut Renderer, trace: &RoutingTrace) {
    let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
    renderer.retain(&[]);
    assert_eq!(renderer.set_routing(ROUTING, trace, &measures), Ok(Uploaded::Whole));
}

fn assert_equal_to_the_cpus(words: &[u32], layer: &LayerRouting) {
    let name = format!("{} tokens, {} experts, k = {}", layer.num_tokens(), layer.num_experts(), layer.top_k());
    let exact = LayerBalance::of(layer);
    let (totals, values) = words.split_at(TOTALS);
    let (loads, importances) = values.split_at(layer.num_experts());
    let loads: Vec<u64> = loads.iter().map(|&load| u64::from(load)).collect();
    assert_eq!(loads, exact.load, "{name}");
    assert_eq!(u64::from(totals[0]), exact.load.iter().sum::<u64>(), "{name}");
    assert_eq!(u64::from(totals[1]), exact.load.iter().copied().max().unwrap(), "{name}");
    assert_eq!(totals[2] as usize, exact.load_stats.dead, "{name}");
    let assert_near = |what: &str, bits: u32, exact: f64| {
        let found = f64::from(f32::from_bits(bits));
        assert!((found - exact).abs() <= TOLERANCE * exact.abs(), "{name}: {what} {found}, exactly {exact}");
    };
    for (expert, (&bits, &exact)) in importances.iter().zip(&exact.importance).enumerate() {
        assert_near(&format!("importance of expert {expert}"), bits, exact);
    }
    assert_near("total importance", totals[3], exact.importance.iter().sum());
    assert_near("largest importance", totals[4], exact.importance.iter().copied().fold(0.0, f64::max));
}

/// A number between 0 and 1 that looks random, the same on every machine (Wang's hash).
fn noise(seed: usize) -> f32 {
    let mut bits = (seed as u32 ^ 61) ^ (seed as u32 >> 16);
    bits = bits.wrapping_mul(9);
    bits ^= bits >> 4;
    bits = bits.wrapping_mul(0x27d4_eb2d);
    bits ^= bits >> 15;
    bits as f32 / u32::MAX as f32
}

#[test]
fn the_gpu_computes_what_the_cpu_does() {
    // One expert, no tokens, k = E, sizes around those of workgroups, many experts, many tokens.
    let shapes = [
        (1, 1, 1),
        (65_536, 1, 1),
        (0, 8, 2),
        (196, 8, 8),
        (127, 7, 3),
        (129, 129, 2),
        (1025, 17, 5),
        (16_384, 64, 2),
        (3, 4096, 4),
        (40, 70_001, 1),
        (65_536, 9, 2),
    ];
    let layer = |(tokens, num_experts, top_k): (usize, usize, usize), skewed: bool| {
        let chosen = |patch: usize, rank: usize| {
            let first = if skewed { 0 } else { (noise(patch) * num_experts as f32) as usize };
            ((first + rank) % num_experts) as i64
        };
        let prob = |patch: usize, expert: usize| noise(patch * num_experts + expert) / num_experts as f32;
        Routing { tokens, num_experts, top_k, chosen: &chosen, prob: &prob, ..Routing::default() }.layer()
    };
    let layers: Vec<_> = shapes.iter().flat_map(|&shape| [layer(shape, false), layer(shape, true)]).collect();
    let trace = RoutingTrace { layers };
    let mut offscreen = offscreen();
    assert!(offscreen.renderer().computes_statistics(), "these tests need an adapter with compute shaders");
    upload(offscreen.renderer(), &trace);
    for (index, layer) in trace.layers.iter().enumerate() {
        assert_equal_to_the_cpus(&offscreen.read_stats(ROUTING, index).unwrap(), layer);
    }
}

#[test]
fn values_that_are_not_finite_are_left_out_as_on_the_cpu() {
    let prob = |patch: usize, expert: usize| match (patch % 5, expert) {
        (0, 0) => f32::NAN,
        (1, 1) => f32::INFINITY,
        (2, 2) => f32::NEG_INFINITY,
        _ => 0.25,
    };
    let trace = Routing { prob: &prob, ..Routing::default() }.trace();
    let mut offscreen = offscreen();
    upload(offscreen.renderer(), &trace);
    assert_equal_to_the_cpus(&offscreen.read_stats(ROUTING, 0).unwrap(), &trace.layers[0]);
}

#[test]
fn statistics_are_computed_once_and_not_with_every_frame() {
    let trace = Routing::default().trace();
    let mut offscreen = offscreen();
    upload(offscreen.renderer(), &trace);
    let before = offscreen.read_stats(ROUTING, 0).unwrap();
    for _ in 0..3 {
        // Loads are counted up: a second count would double them.
        let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
        assert_eq!(offscreen.renderer().set_routing(ROUTING, &trace, &measures), Ok(Uploaded::Whole));
        offscreen.draw([8, 8], |_, _| {}).unwrap();
    }
    assert_eq!(offscreen.read_stats(ROUTING, 0).unwrap(), before);
    assert_equal_to_the_cpus(&before, &trace.layers[0]);
}

#[test]
fn without_compute_shaders_the_cpus_statistics_are_drawn() {
    let no_compute = |limits| wgpu::Limits { max_compute_workgroup_size_x: 0, ..limits };
    let mut offscreen = renderer_with(no_compute).unwrap();
    assert!(!offscreen.renderer().computes_statistics());
    let routing = Routing {
        tokens: 1000,
        num_experts: 5,
        top_k: 2,
        prob: &|patch, _| noise(patch),
        chosen: &|patch, rank| ((patch * patch + rank) % 5) as i64,
        ..Routing::default()
    };
    let trace = routing.trace();
    upload(offscreen.renderer(), &trace);
    assert_equal_to_the_cpus(&offscreen.read_stats(ROUTING, 0).unwrap(), &trace.layers[0]);
}
