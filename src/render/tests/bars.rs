//! Loads counted on the GPU, and the bars drawn from them.

use super::*;
use crate::render::{BarsFrame, ContentKey, PaneId, expert_color};
use crate::routing::{LayerBalance, TokenMeasures};

const ROUTING: ContentKey = ContentKey(21);
const PANE: PaneId = PaneId(21);

fn upload(offscreen: &mut Offscreen, trace: &RoutingTrace) {
    let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
    offscreen.renderer().retain(&[]);
    offscreen.renderer().set_routing(ROUTING, trace, &measures).unwrap();
}

#[test]
fn the_gpu_counts_the_same_loads_as_the_cpu() {
    let shapes = [(1, 1, 1), (16, 7, 2), (1000, 8, 3), (16_384, 64, 2), (5, 4096, 1)];
    let layer = |(tokens, num_experts, top_k), chosen: &dyn Fn(usize) -> usize| {
        let chosen = |patch: usize, rank: usize| (chosen(patch + 3 * rank) % num_experts) as i64;
        Routing { tokens, num_experts, top_k, chosen: &chosen, ..Routing::default() }.layer()
    };
    let skewed = shapes.map(|shape| layer(shape, &|i| i * i));
    let all_to_one = shapes.map(|shape| layer(shape, &|_| 4));
    let layers = [skewed, all_to_one].concat();
    let trace = RoutingTrace { layers };
    let mut offscreen = offscreen();
    upload(&mut offscreen, &trace);
    for (index, layer) in trace.layers.iter().enumerate() {
        let loads: Vec<_> = offscreen.read_loads(ROUTING, index).unwrap().into_iter().map(u64::from).collect();
        assert_eq!(loads, LayerBalance::of(layer).load, "layer {index}");
    }
}

/// 4 experts with loads 8, 4, 0 and 4 in 100 × 80 pixels: 25 pixels per expert, 10 pixels per token.
fn bars(change: impl Fn(BarsFrame) -> BarsFrame) -> RgbaImage {
    let chosen = |patch: usize, _: usize| [0, 1, 0, 3][patch % 4];
    let trace = Routing { num_experts: 4, chosen: &chosen, ..Routing::default() }.trace();
    let frame = change(BarsFrame {
        routing: ROUTING,
        layer: 0,
        view_px: [0.0, 0.0, 100.0, 80.0],
        plot_px: [0.0, 0.0, 100.0, 80.0],
        x_range: [-0.5, 3.5],
        y_range: [0.0, 8.0],
        bar_width: 0.8,
        lit_expert: None,
        hovered: None,
        pixels_per_point: 1.0,
    });
    let mut offscreen = offscreen();
    upload(&mut offscreen, &trace);
    offscreen.renderer().prepare_bars(PANE, &frame);
    offscreen.draw([100, 80], |renderer, pass| renderer.paint_bars(pass, PANE)).unwrap()
}

#[test]
fn a_bar_is_as_high_as_its_load() {
    let picture = bars(|frame| frame);
    for (expert, load) in [(0, 8), (1, 4), (2, 0), (3, 4)] {
        let middle = 25 * expert + 12;
        for row in 0..80 {
            let pixel = picture.get_pixel(middle, row).0;
            if row >= 80 - 10 * load {
                assert_eq!(pixel[..3], expert_color(expert), "expert {expert}, row {row}");
                assert_eq!(pixel[3], 255);
            } else {
                assert_eq!(pixel[3], 0, "expert {expert}, row {row}");
            }
        }
        // The gap between two bars is 5 pixels wide.
        assert_eq!(picture.get_pixel(25 * expert, 79).0[3], 0);
        assert_eq!(picture.get_pixel(25 * expert + 24, 79).0[3], 0);
    }
}

#[test]
fn only_the_lit_bar_stays_lit() {
    let picture = bars(|frame| BarsFrame { lit_expert: Some(1), ..frame });
    let opacity = |expert: u32| picture.get_pixel(25 * expert + 12, 75).0[3];
    assert_eq!(opacity(1), 255);
    assert!((40..80).contains(&opacity(0)) && (40..80).contains(&opacity(3)));
}

#[test]
fn bars_keep_within_their_plot() {
    let picture = bars(|frame| BarsFrame { plot_px: [50.0, 20.0, 50.0, 60.0], ..frame });
    for (x, y, pixel) in picture.enumerate_pixels() {
        assert!(pixel.0[3] == 0 || (x >= 50 && y >= 20), "pixel {x}, {y}");
    }
    assert_eq!(picture.get_pixel(56, 79).0[..3], expert_color(0));
}

#[test]
fn where_many_experts_share_a_pixel_the_highest_shows() {
    // 4096 experts in 100 pixels; only expert 2050 is chosen.
    let chosen = |_: usize, _: usize| 2050;
    let trace = Routing { num_experts: 4096, chosen: &chosen, ..Routing::default() }.trace();
    let mut offscreen = offscreen();
    upload(&mut offscreen, &trace);
    let frame = BarsFrame {
        routing: ROUTING,
        layer: 0,
        view_px: [0.0, 0.0, 100.0, 80.0],
        plot_px: [0.0, 0.0, 100.0, 80.0],
        x_range: [-0.5, 4095.5],
        y_range: [0.0, 16.0],
        bar_width: 0.8,
        lit_expert: None,
        hovered: None,
        pixels_per_point: 1.0,
    };
    offscreen.renderer().prepare_bars(PANE, &frame);
    let picture = offscreen.draw([100, 80], |renderer, pass| renderer.paint_bars(pass, PANE)).unwrap();
    let filled: Vec<_> = (0..100).filter(|&x| picture.get_pixel(x, 40).0[3] > 0).collect();
    assert_eq!(filled, [50]);
    assert_eq!(picture.get_pixel(50, 40).0[..3], expert_color(2050));
}
