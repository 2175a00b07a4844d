//! Expert colours and scales.

use crate::render::{ColorScale, LayerPalette, busiest_experts, expert_color, text_color_on};
use std::collections::HashSet;

/// Viénot, Brettel and Mollon (1999): what dichromats see, as matrices on linear sRGB.
const DEUTERANOPIA: [[f64; 3]; 3] = [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]];
const PROTANOPIA: [[f64; 3]; 3] = [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]];
const NORMAL: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

#[test]
fn experts_can_be_told_apart() {
    // Least CIEDE2000 difference of any two among the first 8, 20 and 64; 2.3 is just noticeable side by side.
    for (experts, normal, dichromat) in [(8, 18.0, 11.0), (20, 8.0, 5.0), (64, 3.0, 2.0)] {
        for (vision, least) in [(NORMAL, normal), (DEUTERANOPIA, dichromat), (PROTANOPIA, dichromat)] {
            let colors: Vec<_> = (0..experts).map(|expert| lab(seen_by(vision, expert_color(expert)))).collect();
            for (i, &a) in colors.iter().enumerate() {
                for (j, &b) in colors.iter().enumerate().skip(i + 1) {
                    let difference = ciede2000(a, b);
                    assert!(difference >= least, "experts {i} and {j} of {experts}: {difference:.1} < {least}");
                }
            }
        }
    }
}

#[test]
fn the_difference_formula_matches_published_pairs() {
    // Sharma, Wu and Dalal (2005), table 1: pairs 1, 7, 10, 17 and 20.
    let pairs = [
        ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
        ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
        ([50.0, 2.49, -0.001], [50.0, -2.49, 0.0011], 7.2195),
        ([50.0, 2.5, 0.0], [73.0, 25.0, -18.0], 27.1492),
        ([50.0, 2.5, 0.0], [58.0, 24.0, 15.0], 19.4535),
    ];
    for (a, b, expected) in pairs {
        assert!((ciede2000(a, b) - expected).abs() < 1e-4, "{a:?} {b:?}: {}", ciede2000(a, b));
    }
}

#[test]
fn beyond_the_table_neighbours_differ() {
    let colors: Vec<_> = (64..1024).map(expert_color).collect();
    assert!(colors.iter().collect::<HashSet<_>>().len() > 900);
    for pair in colors.windows(2) {
        assert!(ciede2000(lab(linear(pair[0])), lab(linear(pair[1]))) > 10.0, "{pair:?}");
    }
    assert_eq!(expert_color(u32::MAX).len(), 3);
}

#[test]
fn of_thousands_of_experts_the_busiest_have_the_most_distinct_colors_and_the_rest_is_grey() {
    // Experts 0, 20, 40 … would all like the first colour; the larger the number, the larger the load.
    let load: Vec<u64> = (0..4096).map(|expert| if expert % 20 == 0 { expert / 20 } else { 0 }).collect();
    let palette = LayerPalette::of(&load);
    let busiest: Vec<u32> = (185..=204).map(|step| 20 * step).collect();
    let colors: HashSet<_> = busiest.iter().map(|&expert| palette.color(expert)).collect();
    assert_eq!(colors, (0..20).map(expert_color).collect(), "each has another of the first twenty");
    assert_eq!(palette.color(4080), expert_color(0), "the busiest one has the colour that it prefers");
    for rest in [0, 1, 20, 184 * 20, 4095, u32::MAX] {
        assert_eq!(palette.color(rest), LayerPalette::REST, "expert {rest}");
    }
    let few = LayerPalette::of(&[0; 64]);
    assert!((0..64).all(|expert| few.color(expert) == expert_color(expert)), "a colour each, with or without load");
    assert!(LayerPalette::of(&[0; 65]).color(3) == LayerPalette::REST, "nobody is busy");
}

#[test]
fn the_busiest_experts_come_first_and_ties_by_their_numbers() {
    for (load, count, expected) in [
        (&[][..], 3, &[][..]),
        (&[0, 0], 3, &[]),
        (&[1, 5, 5, 0, 7], 10, &[4, 1, 2, 0]),
        (&[1, 5, 5, 0, 7], 2, &[4, 1]),
        (&[2; 5], 3, &[0, 1, 2]),
        (&[3], 0, &[]),
    ] {
        assert_eq!(busiest_experts(load, count), expected, "{load:?}, {count}");
    }
}

#[test]
fn text_is_readable_on_every_expert() {
    assert_eq!(text_color_on([255, 255, 0]), [0; 3]);
    assert_eq!(text_color_on([0, 0, 128]), [255; 3]);
    for expert in 0..256 {
        let color = expert_color(expert);
        let [a, b] = [color, text_color_on(color)].map(|color| {
            let [r, g, b] = linear(color);
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        });
        assert!(a.max(b) / a.min(b) >= 4.5, "expert {expert}: WCAG AA for small text");
    }
}

#[test]
fn scales_get_lighter_step_by_step() {
    for scale in ColorScale::ALL {
        let lightness = |step: u16| lab(linear(scale.color(f32::from(step) / 255.0)))[0];
        for step in (8..=248).step_by(8) {
            assert!(lightness(step) > lightness(step - 8), "{scale:?} at {step}");
        }
    }
}

#[test]
fn scales_have_the_published_ends() {
    // matplotlib's tables.
    let ends = |scale: ColorScale| (scale.color(0.0), scale.color(1.0));
    assert_eq!(ends(ColorScale::Viridis), ([68, 1, 84], [253, 231, 37]));
    assert_eq!(ends(ColorScale::Magma), ([0, 0, 4], [252, 253, 191]));
    assert_eq!(ColorScale::Viridis.color(-1.0), [68, 1, 84]);
    assert_eq!(ColorScale::Viridis.color(f32::INFINITY), [253, 231, 37]);
    assert_eq!(ColorScale::Viridis.color(f32::NAN), [68, 1, 84]);
}

fn linear(color: [u8; 3]) -> [f64; 3] {
    color.map(|byte| {
        let value = f64::from(byte) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    })
}

fn seen_by(matrix: [[f64; 3]; 3], color: [u8; 3]) -> [f64; 3] {
    times(matrix, linear(color)).map(|channel| channel.clamp(0.0, 1.0))
}

fn times(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

/// CIE L*a*b* (D65) of linear sRGB.
fn lab(linear: [f64; 3]) -> [f64; 3] {
    const XYZ: [[f64; 3]; 3] =
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]];
    let xyz = times(XYZ, linear);
    let [x, y, z] = [xyz[0] / 0.95047, xyz[1], xyz[2] / 1.08883]
        .map(|t| if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// The CIEDE2000 difference of two L*a*b* colours, in the notation of Sharma, Wu and Dalal (2005).
fn ciede2000([l1, a1, b1]: [f64; 3], [l2, a2, b2]: [f64; 3]) -> f64 {
    let mean_c7 = ((a1.hypot(b1) + a2.hypot(b2)) / 2.0).powi(7);
    let g = 0.5 * (1.0 - (mean_c7 / (mean_c7 + 25f64.powi(7))).sqrt());
    let (a1, a2) = (a1 * (1.0 + g), a2 * (1.0 + g));
    let (c1, c2) = (a1.hypot(b1), a2.hypot(b2));
    let hue = |a: f64, b: f64| b.atan2(a).to_degrees().rem_euclid(360.0);
    let (h1, h2) = (hue(a1, b1), hue(a2, b2));
    let achromatic = c1 * c2 == 0.0;
    let dh = if achromatic { 0.0 } else { (h2 - h1 + 180.0).rem_euclid(360.0) - 180.0 };
    let (dl, dc) = (l2 - l1, c2 - c1);
    let dh_big = 2.0 * (c1 * c2).sqrt() * (dh / 2.0).to_radians().sin();
    let (l, c) = ((l1 + l2) / 2.0, (c1 + c2) / 2.0);
    let h = if achromatic {
        h1 + h2
    } else if (h1 - h2).abs() <= 180.0 {
        (h1 + h2) / 2.0
    } else {
        (h1 + h2 + 360.0) / 2.0
    };
    let cos = |degrees: f64| degrees.to_radians().cos();
    let t = 1.0 - 0.17 * cos(h - 30.0) + 0.24 * cos(2.0 * h) + 0.32 * cos(3.0 * h + 6.0) - 0.2 * cos(4.0 * h - 63.0);
    let theta = 30.0 * (-((h - 275.0) / 25.0).powi(2)).exp();
    let rc = 2.0 * (c.powi(7) / (c.powi(7) + 25f64.powi(7))).sqrt();
    let sl = 1.0 + 0.015 * (l - 50.0).powi(2) / (20.0 + (l - 50.0).powi(2)).sqrt();
    let (sc, sh) = (1.0 + 0.045 * c, 1.0 + 0.015 * c * t);
    let rt = -(2.0 * theta).to_radians().sin() * rc;
    ((dl / sl).powi(2) + (dc / sc).powi(2) + (dh_big / sh).powi(2) + rt * (dc / sc) * (dh_big / sh)).sqrt()
}
