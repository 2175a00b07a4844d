//! The bars that are drawn from what the GPU counted.

use super::*;
use crate::render::{BarsFrame, ContentKey, PaneId, expert_color};
use crate::routing::TokenMeasures;

const ROUTING: ContentKey = ContentKey(21);
const PANE: PaneId = PaneId(21);

fn upload(offscreen: &mut Offscreen, trace: &RoutingTrace) {
    let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
    offscreen.renderer().retain(&[]);
    offscreen.renderer().set_routing(ROUTING, trace, &measures).unwrap();
}

/// 4 experts with loads 8, 4, 0 and 4 in 100 × 80 pixels: 25 pixels per expert, 10 pixels per token.
fn bars(change: impl Fn(BarsFrame) -> BarsFrame) -> RgbaImage {
    bars_of(&|_, _| 0.25, change)
}

fn bars_of(prob: &dyn Fn(usize, usize) -> f32, change: impl Fn(BarsFrame) -> BarsFrame) -> RgbaImage {
    let chosen = |patch: usize, _: usize| [0, 1, 0, 3][patch % 4];
    let trace = Routing { num_experts: 4, chosen: &chosen, prob, ..Routing::default() }.trace();
    let frame = change(BarsFrame {
        routing: ROUTING,
        layer: 0,
        view_px: [0.0, 0.0, 100.0, 80.0],
        plot_px: [0.0, 0.0, 100.0, 80.0],
        x_range: [-0.5, 3.5],
        y_max: Some(8.0),
        bar_width: 0.8,
        importance_marks: false,
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
fn without_a_named_top_the_largest_load_fills_the_plot() {
    let named = bars(|frame| frame);
    let unnamed = bars(|frame| BarsFrame { y_max: None, ..frame });
    assert_eq!(named.as_raw(), unnamed.as_raw(), "the largest load is 8");
}

#[test]
fn importance_is_marked_on_the_scale_of_the_loads() {
    // Gate probabilities of a third for three of four experts, over 16 tokens: importances of 16/3, so that 16 loads
    // shared out in these proportions would be 16/3 = 5.33 each, 53 pixels high; expert 3 has none.
    let prob = |_: usize, expert: usize| if expert < 3 { 1.0 / 3.0 } else { 0.0 };
    let picture = bars_of(&prob, |frame| BarsFrame { importance_marks: true, ..frame });
    let brightest_row = |expert: u32| {
        let brightness =
            |&row: &u32| picture.get_pixel(25 * expert + 12, row).0[..3].iter().map(|&c| u32::from(c)).sum::<u32>();
        (0..78).max_by_key(brightness).unwrap()
    };
    for expert in 0..3 {
        assert!((26..=27).contains(&brightest_row(expert)), "expert {expert}: row {}", brightest_row(expert));
    }
    assert!(picture.get_pixel(25 * 3 + 12, 79).0[..3].iter().all(|&c| c > 150), "a mark at the bottom");
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
        y_max: Some(16.0),
        bar_width: 0.8,
        importance_marks: false,
        lit_expert: None,
        hovered: None,
        pixels_per_point: 1.0,
    };
    offscreen.renderer().prepare_bars(PANE, &frame);
    let picture = offscreen.draw([100, 80], |renderer, pass| renderer.paint_bars(pass, PANE)).unwrap();
    let filled: Vec<_> = (0..100).filter(|&x| picture.get_pixel(x, 40).0[3] > 0).collect();
    assert_eq!(filled, [50]);
    // The only one with a colour: the one that it prefers of twenty.
    assert_eq!(picture.get_pixel(50, 40).0[..3], expert_color(2050 % 20));
}
