// One bar per expert, as high as its load, drawn from the buffer that load_count.wgsl filled.

struct Bars {
    view: vec4f,
    plot: vec4f,
    x_range: vec2f,
    y_range: vec2f,
    num_experts: u32,
    lit: u32,
    hovered: u32,
    bar_width: f32,
    pixels_per_point: f32,
}

const UNLIT_OPACITY = 0.22;

@group(0) @binding(0) var<uniform> frame: Bars;

@fragment
fn draw_bars(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let p = position.xy;
    if !rect_contains(p, frame.view) || !rect_contains(p, frame.plot) {
        return vec4f(0.0);
    }
    let experts_per_pixel = (frame.x_range.y - frame.x_range.x) / frame.plot.z;
    let x = frame.x_range.x + (p.x - frame.plot.x) * experts_per_pixel;
    var color = vec4f(0.0);
    if experts_per_pixel < 0.5 {
        color = bar_over(color, p, i32(round(x)), 1.0 / experts_per_pixel);
    } else {
        color = tallest_bar(p, x, experts_per_pixel);
    }
    return to_target(color);
}

fn top_of(expert: i32) -> f32 {
    let share = (f32(loads[expert]) - frame.y_range.x) / (frame.y_range.y - frame.y_range.x);
    return frame.plot.y + frame.plot.w * (1.0 - share);
}

fn bottom() -> f32 {
    return frame.plot.y + frame.plot.w * (1.0 + frame.y_range.x / (frame.y_range.y - frame.y_range.x));
}

fn exists(expert: i32) -> bool {
    return expert >= 0 && u32(expert) < frame.num_experts;
}

fn bar_opacity(expert: i32) -> f32 {
    let lit = frame.lit == NONE || frame.lit == u32(expert) || frame.hovered == u32(expert);
    return select(UNLIT_OPACITY, 1.0, lit);
}

fn bar_over(below: vec4f, p: vec2f, expert: i32, pixels_per_expert: f32) -> vec4f {
    if !exists(expert) || loads[expert] == 0u {
        return below;
    }
    let point = frame.pixels_per_point;
    let middle = frame.plot.x + (f32(expert) - frame.x_range.x) * pixels_per_expert;
    let width = frame.bar_width * pixels_per_expert;
    let top = top_of(expert);
    let radius = min(2.0 * point, 0.25 * width);
    // The lower corners are rounded too, but below the bottom, where the bar is cut.
    let rect = vec4f(middle - 0.5 * width, top, width, bottom() - top + radius);
    let coverage = clamp(0.5 - rect_distance(p, rect, radius), 0.0, 1.0) * clamp(bottom() - p.y + 0.5, 0.0, 1.0);
    var color = expert_color(u32(expert));
    if frame.hovered == u32(expert) {
        color = mix(color, vec3f(1.0), 0.25);
    }
    if frame.lit == u32(expert) {
        color = mix(color, vec3f(1.0), 0.35 * stripe_coverage(p, 8.0 * point, point));
    }
    return over(below, color, coverage * bar_opacity(expert));
}

// Where several experts share a pixel, the one with the largest load shows: a peak must not vanish.
fn tallest_bar(p: vec2f, x: f32, experts_per_pixel: f32) -> vec4f {
    let first = max(i32(round(x - 0.5 * experts_per_pixel)), 0);
    let last = min(i32(round(x + 0.5 * experts_per_pixel)), i32(frame.num_experts) - 1);
    var tallest = -1;
    for (var expert = first; expert <= last; expert++) {
        if tallest < 0 || loads[expert] > loads[tallest] {
            tallest = expert;
        }
    }
    if tallest < 0 {
        return vec4f(0.0);
    }
    let coverage = clamp(p.y - top_of(tallest) + 0.5, 0.0, 1.0) * clamp(bottom() - p.y + 0.5, 0.0, 1.0);
    return over(vec4f(0.0), expert_color(u32(tallest)), coverage * bar_opacity(tallest));
}
