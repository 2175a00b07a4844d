//! The heatmap's pixels.

use super::*;
use crate::render::{ColorScale, ContentKey, HeatmapFrame, PaneId, RenderError, expert_color};
use crate::routing::{ExpertIdx, SlotIdx, SlotWeight, SlotWeights, TokenMeasures};

const PHOTO: [u8; 3] = [120, 130, 140];

#[test]
fn every_pixel_of_a_patch_has_its_experts_color() {
    let picture = draw(&Routing::default(), plain(FIRST_CHOICE));
    for (x, y, pixel) in picture.enumerate_pixels() {
        let patch = (y / 16) * 4 + x / 16;
        assert_eq!(pixel.0[..3], expert_color(patch % 3), "pixel {x}, {y}");
    }
}

#[test]
fn a_pixel_whose_middle_lies_on_a_border_belongs_to_the_right_or_lower_patch() {
    // Patches of 16 pixels that start half a pixel in: borders run through the middle of pixels 16, 32 and 48.
    let grid = PatchGrid { rows: 4, cols: 4, seen: PixelRect { x: 0.5, y: 0.5, width: 64.0, height: 64.0 } };
    let picture = draw_on(&[0, 0, 0, 255].repeat(64 * 64), grid, &Routing::default(), plain(FIRST_CHOICE));
    for border in [16, 32, 48] {
        let patch = border / 16;
        assert_eq!(rgb(&picture, border - 1, 8), expert_color((patch - 1) % 3));
        assert_eq!(rgb(&picture, border, 8), expert_color(patch % 3));
        assert_eq!(rgb(&picture, 8, border - 1), expert_color((patch - 1) * 4 % 3));
        assert_eq!(rgb(&picture, 8, border), expert_color(patch * 4 % 3));
    }
}

#[test]
fn rank_picks_among_the_chosen_and_beyond_k_nothing_is_shown() {
    let routing = Routing { top_k: 2, ..Routing::default() };
    let at_rank = |rank| rgb(&draw(&routing, plain(Overlay::ChosenExpert { rank })), 24, 8);
    assert_eq!(at_rank(0), expert_color(1));
    assert_eq!(at_rank(1), expert_color(2));
    assert_ne!(at_rank(2), expert_color(0));
    let grey = at_rank(2);
    assert!(grey.iter().all(|channel| channel.abs_diff(130) < 8), "the photo, greyed: {grey:?}");
}

#[test]
fn the_combine_weight_scales_the_opacity() {
    let routing = Routing { weight: &|patch, _| patch as f32 / 15.0, ..Routing::default() };
    let style = HeatmapStyle { weight_opacity: true, opacity: 0.5, ..plain(FIRST_CHOICE) };
    let picture = draw(&routing, style);
    let bare = draw(&Routing { weight: &|_, _| 0.0, ..Routing::default() }, style);
    for patch in 0..16 {
        let (x, y) = (patch % 4 * 16 + 8, patch / 4 * 16 + 8);
        let opacity = 0.5 * patch as f32 / 15.0;
        for channel in 0..3 {
            let (below, above) = (f32::from(rgb(&bare, x, y)[channel]), f32::from(expert_color(patch % 3)[channel]));
            let expected = below + (above - below) * opacity;
            let found = f32::from(rgb(&picture, x, y)[channel]);
            assert!((found - expected).abs() <= 1.5, "patch {patch}: {found}, expected {expected}");
        }
    }
}

#[test]
fn values_have_the_color_of_their_scale() {
    // Expert 2 gets patch / 15, the other two share the rest.
    let prob = |patch: usize, expert: usize| {
        let last = patch as f32 / 15.0;
        if expert == 2 { last } else { (1.0 - last) / 2.0 }
    };
    let routing = Routing { prob: &prob, ..Routing::default() };
    let measures = TokenMeasures::of(&routing.layer());
    let log_experts = 3f32.ln();
    let gate_prob = |patch: usize| patch as f32 / 15.0;
    let halved = |patch: usize| gate_prob(patch) / 0.5;
    let entropy = |patch: usize| measures.entropy[patch] / log_experts;
    let margin = |patch: usize| measures.margin[patch];
    let cases = [
        (Overlay::GateProb { expert: 2 }, 1.0, &gate_prob as &dyn Fn(usize) -> f32),
        (Overlay::GateProb { expert: 2 }, 0.5, &halved),
        (Overlay::Entropy, 1.0, &entropy),
        (Overlay::Margin, 1.0, &margin),
    ];
    for scale in ColorScale::ALL {
        for (overlay, scale_max, value) in cases {
            let picture = draw(&routing, HeatmapStyle { scale, scale_max, ..plain(overlay) });
            for patch in 0..16 {
                let found = rgb(&picture, patch % 4 * 16 + 8, patch / 4 * 16 + 8);
                // A value on the edge of two steps may round either way.
                let near = [-1.0, 0.0, 1.0].map(|ulps| scale.color(value(patch as usize) + ulps * 1e-6));
                assert!(near.contains(&found), "{overlay:?}, {scale:?}, patch {patch}: {found:?}");
            }
        }
    }
}

/// A trace of one layer of 16 patches, drawn with one style.
fn draw_layer(layer: LayerRouting, style: HeatmapStyle) -> RgbaImage {
    let trace = RoutingTrace { layers: vec![layer] };
    let rgba = [120, 130, 140, 255].repeat(64 * 64);
    let grid = whole(4, 4, [64, 64]);
    let picture = HeatmapPicture { image_size: [64, 64], rgba: &rgba, trace: &trace, layer: 0, grid, style };
    offscreen().draw_heatmap(&picture, [64, 64]).unwrap()
}

/// The colour of each patch is that of its value, from 0 to 1.
fn check_values(picture: &RgbaImage, value: impl Fn(usize) -> f32) {
    for patch in 0..16 {
        let found = rgb(picture, patch % 4 * 16 + 8, patch / 4 * 16 + 8);
        // A value on the edge of two steps may round either way.
        let near = [-1.0, 0.0, 1.0].map(|ulps| ColorScale::default().color(value(patch as usize) + ulps * 1e-6));
        assert!(near.contains(&found), "patch {patch}: {found:?}");
    }
}

#[test]
fn both_weights_of_a_slot_have_the_color_of_their_scale() {
    // 3 experts with 2 slots each: slot s has dispatch weight p / 15 · (s + 1) / 6 with patch p, and combine weight 1 − that.
    let dispatch = |patch: usize, slot: usize| patch as f32 / 15.0 * (slot + 1) as f32 / 6.0;
    let all = || (0..16).flat_map(|patch| (0..6).map(move |slot| (patch, slot)));
    let tables = [
        all().map(|(patch, slot)| dispatch(patch, slot)).collect(),
        all().map(|(patch, slot)| 1.0 - dispatch(patch, slot)).collect(),
    ];
    let [dispatches, combines]: [Vec<f32>; 2] = tables;
    let slots = SlotWeights::new("test", 3, 2, dispatches, combines).unwrap();
    let layer = Routing::default().layer().with_slots(slots).unwrap();
    for slot in [0, 3, 5] {
        let style = |weight| HeatmapStyle { scale_max: 0.5, ..plain(Overlay::Slot { weight, slot: SlotIdx(slot) }) };
        let picture = draw_layer(layer.clone(), style(SlotWeight::Dispatch));
        check_values(&picture, |patch| dispatch(patch, slot) / 0.5);
        let picture = draw_layer(layer.clone(), style(SlotWeight::Combine));
        check_values(&picture, |patch| (1.0 - dispatch(patch, slot)) / 0.5);
    }
}

#[test]
fn the_number_of_experts_is_counted_without_those_that_had_no_room() {
    // Patch p chose p mod 4 experts; of patches from 8 on the best one had no room.
    let choices = (0..16).map(|patch| {
        let weight = |rank: u32| if patch >= 8 && rank == 0 { 0.0 } else { 0.25 };
        (0..patch % 4).map(|rank| (ExpertIdx(rank), weight(rank))).collect()
    });
    let choices: Vec<Vec<(ExpertIdx, f32)>> = choices.collect();
    let layer = LayerRouting::of_choices("test", 5, Vec::new(), &choices).unwrap();
    let picture = draw_layer(layer, plain(Overlay::ExpertCount));
    check_values(&picture, |patch| {
        let count = patch % 4;
        (if patch >= 8 { count.saturating_sub(1) } else { count }) as f32 / 3.0
    });
}

#[test]
fn a_value_that_is_not_finite_is_hatched() {
    let broken = |patch: usize| patch == 5 || patch == 6;
    let value = |patch: usize| if patch == 5 { f32::NAN } else { f32::INFINITY };
    let prob = |patch: usize, _: usize| if broken(patch) { value(patch) } else { 0.25 };
    let weight = |patch: usize, _: usize| if broken(patch) { value(patch) } else { 1.0 };
    let routing = Routing { prob: &prob, weight: &weight, ..Routing::default() };
    let weighted = HeatmapStyle { weight_opacity: true, ..plain(FIRST_CHOICE) };
    for style in [weighted, plain(Overlay::GateProb { expert: 1 }), plain(Overlay::Entropy), plain(Overlay::Margin)] {
        let picture = draw(&routing, style);
        for patch in 0..16 {
            let (left, top) = (patch as u32 % 4 * 16, patch as u32 / 4 * 16);
            let colors: Vec<_> = (0..16).map(|i| rgb(&picture, left + i, top + 8)).collect();
            let greys = colors.iter().all(|[r, g, b]| r == g && g == b);
            let levels = colors.iter().map(|color| color[0]);
            let contrast = levels.clone().max().unwrap() - levels.min().unwrap();
            assert_eq!(greys && contrast > 100, broken(patch), "{:?}, patch {patch}: {colors:?}", style.overlay);
        }
    }
}

#[test]
fn a_grid_with_more_patches_than_tokens_is_hatched_where_there_is_none() {
    let picture = draw(&Routing { tokens: 15, ..Routing::default() }, plain(FIRST_CHOICE));
    assert_eq!(rgb(&picture, 40, 56), expert_color(2));
    let [r, g, b] = rgb(&picture, 56, 56);
    assert!(r == g && g == b, "patch 15 has no token: {r} {g} {b}");
}

#[test]
fn only_the_lit_experts_patches_stay_lit() {
    let routing = Routing { top_k: 2, ..Routing::default() };
    let lit = HeatmapStyle { lit_expert: Some(1), opacity: 0.6, ..plain(FIRST_CHOICE) };
    let picture = draw(&routing, lit);
    // Patches 0 and 1 chose expert 1, at rank 1 and 0; patch 2 did not.
    let distance =
        |color: [u8; 3]| -> u32 { color.iter().zip(expert_color(1)).map(|(&a, b)| u32::from(a.abs_diff(b))).sum() };
    let patch_color =
        |x: u32| median((x..x + 16).flat_map(|x| (0..16).map(move |y| (x, y))).map(|(x, y)| rgb(&picture, x, y)));
    assert!(distance(patch_color(0)) < 200 && distance(patch_color(16)) < 200);
    assert_eq!(patch_color(0), patch_color(16), "one color, whatever the rank");
    let dimmed = patch_color(32);
    assert!(dimmed.iter().all(|&channel| channel < 90), "fades into the black background: {dimmed:?}");
    let levels = (0..16).map(|x| rgb(&picture, x, 8)[0]);
    assert!(levels.clone().max() > levels.min(), "lit patches carry a pattern");
}

#[test]
fn what_the_model_did_not_see_is_dimmed() {
    let grid = PatchGrid { rows: 4, cols: 4, seen: PixelRect { x: 16.0, y: 16.0, width: 32.0, height: 32.0 } };
    let photo = [PHOTO[0], PHOTO[1], PHOTO[2], 255].repeat(64 * 64);
    let style = HeatmapStyle { dim_outside: true, ..plain(Overlay::None) };
    let picture = draw_on(&photo, grid, &Routing::default(), style);
    assert_eq!(rgb(&picture, 32, 32), PHOTO);
    assert_eq!(rgb(&picture, 4, 4), PHOTO.map(|channel| (f32::from(channel) * 0.4).round() as u8));
    assert!(rgb(&picture, 15, 32)[0] > 125 || rgb(&picture, 16, 32)[0] > 125, "a frame around it");
    let undimmed = draw_on(&photo, grid, &Routing::default(), plain(Overlay::None));
    assert!(undimmed.pixels().all(|pixel| pixel.0[..3] == PHOTO));
    let all_seen = draw_on(&photo, whole(4, 4, [64, 64]), &Routing::default(), style);
    assert!(all_seen.pixels().all(|pixel| pixel.0[..3] == PHOTO), "no frame where the model saw everything");
}

#[test]
fn grid_lines_fade_as_patches_get_small() {
    let contrast = |patches: usize| {
        let routing = Routing { tokens: patches * patches, ..Routing::default() };
        let style = HeatmapStyle { grid_lines: true, ..plain(Overlay::None) };
        let picture =
            draw_on(&[120, 130, 140, 255].repeat(64 * 64), whole(patches, patches, [64, 64]), &routing, style);
        picture.pixels().map(|pixel| pixel.0[0].abs_diff(PHOTO[0])).max().unwrap()
    };
    let [large, middle, small] = [2, 6, 11].map(contrast);
    assert!(large > middle && middle > small && small == 0, "{large}, {middle}, {small}");
}

#[test]
fn the_hovered_and_the_pinned_patch_are_outlined() {
    let (plain_picture, outlined) = (frame_picture(None, None), frame_picture(Some(0), Some(15)));
    let changed = |x, y| rgb(&plain_picture, x, y) != rgb(&outlined, x, y);
    assert!(changed(8, 16) && changed(16, 8), "lower and right edge of patch 0");
    assert!(changed(48, 56) && changed(56, 48), "left and upper edge of patch 15");
    assert!(!changed(8, 8) && !changed(56, 56) && !changed(32, 32), "nothing within and between");
    assert!(rgb(&outlined, 47, 56)[0] > 200 || rgb(&outlined, 48, 56)[0] > 200, "light in the middle");
}

fn frame_picture(hovered: Option<u32>, pinned: Option<u32>) -> RgbaImage {
    let mut offscreen = offscreen();
    upload(&mut offscreen, &Routing::default());
    let frame = HeatmapFrame { hovered, pinned, ..frame() };
    offscreen.renderer().prepare_heatmap(PaneId(1), &frame);
    offscreen.draw([64, 64], |renderer, pass| renderer.paint_heatmap(pass, PaneId(1))).unwrap()
}

const IMAGE: ContentKey = ContentKey(10);
const ROUTING: ContentKey = ContentKey(11);

fn upload(offscreen: &mut Offscreen, routing: &Routing<'_>) {
    let trace = routing.trace();
    let measures = [TokenMeasures::of(&trace.layers[0])];
    let renderer = offscreen.renderer();
    renderer.retain(&[]);
    renderer.set_image(IMAGE, [64, 64], &[120, 130, 140, 255].repeat(64 * 64)).unwrap();
    renderer.set_routing(ROUTING, &trace, &measures).unwrap();
}

fn frame() -> HeatmapFrame {
    HeatmapFrame {
        image: IMAGE,
        routing: Some(ROUTING),
        layer: 0,
        grid: whole(4, 4, [64, 64]),
        image_size: [64.0, 64.0],
        view_px: [0.0, 0.0, 64.0, 64.0],
        image_px: [0.0, 0.0, 64.0, 64.0],
        hovered: None,
        pinned: None,
        style: plain(FIRST_CHOICE),
    }
}

#[test]
fn two_panes_of_one_frame_keep_their_own_numbers() {
    let mut offscreen = offscreen();
    upload(&mut offscreen, &Routing { top_k: 2, ..Routing::default() });
    let left = HeatmapFrame { view_px: [0.0, 0.0, 32.0, 64.0], ..frame() };
    let right =
        HeatmapFrame { view_px: [32.0, 0.0, 32.0, 64.0], style: plain(Overlay::ChosenExpert { rank: 1 }), ..frame() };
    let renderer = offscreen.renderer();
    renderer.prepare_heatmap(PaneId(1), &left);
    renderer.prepare_heatmap(PaneId(2), &right);
    let paint_both = |renderer: &crate::render::Renderer, pass: &mut wgpu::RenderPass<'_>| {
        renderer.paint_heatmap(pass, PaneId(1));
        renderer.paint_heatmap(pass, PaneId(2));
    };
    let picture = offscreen.draw([64, 64], paint_both).unwrap();
    assert_eq!(rgb(&picture, 8, 8), expert_color(0), "patch 0 at rank 0");
    assert_eq!(rgb(&picture, 56, 8), expert_color(1), "patch 3 at rank 1");
}

#[test]
fn pan_and_zoom_move_the_patches_with_the_image() {
    let mut offscreen = offscreen();
    upload(&mut offscreen, &Routing::default());
    // Four times enlarged, so that patch 5 fills the picture.
    let frame = HeatmapFrame { image_px: [-64.0, -64.0, 256.0, 256.0], ..frame() };
    offscreen.renderer().prepare_heatmap(PaneId(1), &frame);
    let picture = offscreen.draw([64, 64], |renderer, pass| renderer.paint_heatmap(pass, PaneId(1))).unwrap();
    assert!(picture.pixels().all(|pixel| pixel.0[..3] == expert_color(5 % 3)));
}

#[test]
fn what_is_not_uploaded_is_left_out() {
    let mut offscreen = offscreen();
    offscreen.renderer().retain(&[]);
    offscreen.renderer().prepare_heatmap(PaneId(1), &frame());
    let picture = offscreen.draw([64, 64], |renderer, pass| renderer.paint_heatmap(pass, PaneId(1))).unwrap();
    assert!(picture.pixels().all(|pixel| pixel.0 == [0, 0, 0, 255]), "the background alone");
}

#[test]
fn a_large_grid_shows_every_patch_and_a_tiny_one_their_mean() {
    let routing = Routing {
        tokens: 128 * 128,
        num_experts: 2,
        chosen: &|patch, _| ((patch % 128 + patch / 128) % 2) as i64,
        prob: &|_, _| 0.5,
        ..Routing::default()
    };
    let trace = routing.trace();
    let picture = HeatmapPicture {
        image_size: [64, 64],
        rgba: &[0, 0, 0, 255].repeat(64 * 64),
        trace: &trace,
        layer: 0,
        grid: whole(128, 128, [64, 64]),
        style: plain(FIRST_CHOICE),
    };
    let large = offscreen().draw_heatmap(&picture, [512, 512]).unwrap();
    for (x, y, pixel) in large.enumerate_pixels() {
        assert_eq!(pixel.0[..3], expert_color((x / 4 + y / 4) % 2), "pixel {x}, {y}");
    }
    let tiny = offscreen().draw_heatmap(&picture, [32, 32]).unwrap();
    for channel in 0..3 {
        let mean = (u16::from(expert_color(0)[channel]) + u16::from(expert_color(1)[channel])) / 2;
        assert!(u16::from(tiny.get_pixel(16, 16).0[channel]).abs_diff(mean) <= 2);
    }
}

#[test]
fn an_image_wider_than_any_texture_is_reduced_and_drawn() {
    let (width, height) = (20_000u32, 50u32);
    // Left half red, right half blue.
    let row: Vec<u8> =
        (0..width).flat_map(|x| if x < width / 2 { [255, 0, 0, 255] } else { [0, 0, 255, 255] }).collect();
    let trace = Routing::default().trace();
    let picture = HeatmapPicture {
        image_size: [width, height],
        rgba: &row.repeat(height as usize),
        trace: &trace,
        layer: 0,
        grid: whole(4, 4, [width, height]),
        style: plain(Overlay::None),
    };
    let drawn = offscreen().draw_heatmap(&picture, [1000, 20]).unwrap();
    // 1000 × 2.5 pixels in the middle of 20 rows.
    assert_eq!(rgb(&drawn, 250, 10), [255, 0, 0]);
    assert_eq!(rgb(&drawn, 750, 10), [0, 0, 255]);
    assert_eq!(rgb(&drawn, 250, 2), [0, 0, 0]);
}

#[test]
fn a_reduced_photo_shows_the_mean_of_its_light() {
    // A chessboard of single pixels, black and white: half the light, whose sRGB value is 188 (180 with a gamma of 2).
    let board: Vec<u8> =
        (0..64 * 64).flat_map(|i| if (i % 64 + i / 64) % 2 == 0 { [255; 4] } else { [0, 0, 0, 255] }).collect();
    let trace = RoutingTrace::default();
    let picture = HeatmapPicture {
        image_size: [64, 64],
        rgba: &board,
        trace: &trace,
        layer: 0,
        grid: whole(4, 4, [64, 64]),
        style: plain(Overlay::None),
    };
    let reduced = offscreen().draw_heatmap(&picture, [16, 16]).unwrap();
    for pixel in reduced.pixels() {
        assert!((175..=192).contains(&pixel.0[0]), "{pixel:?}");
    }
}

#[test]
fn a_transparent_photo_shows_the_background() {
    let trace = RoutingTrace::default();
    let picture = HeatmapPicture {
        image_size: [2, 2],
        rgba: &[200, 100, 0, 128].repeat(4),
        trace: &trace,
        layer: 0,
        grid: whole(1, 1, [2, 2]),
        style: HeatmapStyle { background: [1.0, 1.0, 1.0, 1.0], ..plain(Overlay::None) },
    };
    let [r, g, b, alpha] = offscreen().draw_heatmap(&picture, [8, 8]).unwrap().get_pixel(4, 4).0;
    assert_eq!(alpha, 255);
    for (found, expected) in [(r, 228), (g, 177), (b, 127)] {
        assert!(u8::abs_diff(found, expected) <= 1, "{found}, expected {expected}");
    }
}

#[test]
fn a_picture_of_no_size_is_refused() {
    let result = offscreen().draw([0, 64], |_, _| {});
    assert!(matches!(result, Err(RenderError::PictureSize { width: 0, height: 64, .. })));
}

fn median(colors: impl Iterator<Item = [u8; 3]>) -> [u8; 3] {
    let colors: Vec<_> = colors.collect();
    std::array::from_fn(|channel| {
        let mut levels: Vec<_> = colors.iter().map(|color| color[channel]).collect();
        levels.sort_unstable();
        levels[levels.len() / 2]
    })
}
