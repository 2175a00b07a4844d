// One bar per expert, as high as its load, and a mark at its importance, drawn from the buffer that layer_stats.wgsl
// filled.

struct Bars {
    view: vec4f,
    plot: vec4f,
    x_range: vec2f,
    y_max: f32,
    bar_width: f32,
    num_experts: u32,
    lit: u32,
    hovered: u32,
    flags: u32,
    pixels_per_point: f32,
}

const IMPORTANCE_MARKS = 1u;
const UNLIT_OPACITY = 0.22;

@group(0) @binding(1) var<storage, read> stats: array<u32>;
@group(1) @binding(0) var<uniform> frame: Bars;

@fragment
fn draw_bars(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let p = position.xy;
    if !rect_contains(p, frame.view) || !rect_contains(p, frame.plot) {
        return vec4f(0.0);
    }
    let experts_per_pixel = (frame.x_range.y - frame.x_range.x) / frame.plot.z;
    let x = frame.x_range.x + (p.x - frame.plot.x) * experts_per_pixel;
    if experts_per_pixel >= 0.5 {
        return to_target(tallest_bar(p, x, experts_per_pixel));
    }
    let expert = i32(round(x));
    if expert < 0 || u32(expert) >= frame.num_experts {
        return vec4f(0.0);
    }
    let color = bar_over(vec4f(0.0), p, u32(expert), 1.0 / experts_per_pixel);
    return to_target(importance_mark_over(color, p, u32(expert), 1.0 / experts_per_pixel));
}

fn load_of(expert: u32) -> u32 {
    return stats[TOTALS + expert];
}

// Where a load lies. The upper edge of the plot is the largest load where the frame names none.
fn height_of(load: f32) -> f32 {
    let y_max = select(max(f32(stats[LARGEST_LOAD]), 1.0), frame.y_max, frame.y_max > 0.0);
    return frame.plot.y + frame.plot.w * (1.0 - load / y_max);
}

fn bottom() -> f32 {
    return frame.plot.y + frame.plot.w;
}

fn opacity_of(expert: u32) -> f32 {
    let lit = frame.lit == NONE || frame.lit == expert || frame.hovered == expert;
    return select(UNLIT_OPACITY, 1.0, lit);
}

// x of the left edge and width of a bar.
fn extent_of(expert: u32, pixels_per_expert: f32) -> vec2f {
    let middle = frame.plot.x + (f32(expert) - frame.x_range.x) * pixels_per_expert;
    let width = frame.bar_width * pixels_per_expert;
    return vec2f(middle - 0.5 * width, width);
}

fn bar_over(below: vec4f, p: vec2f, expert: u32, pixels_per_expert: f32) -> vec4f {
    let load = load_of(expert);
    if load == 0u {
        return below;
    }
    let point = frame.pixels_per_point;
    let extent = extent_of(expert, pixels_per_expert);
    let top = height_of(f32(load));
    let radius = min(2.0 * point, 0.25 * extent.y);
    // The lower corners are rounded too, but below the bottom, where the bar is cut.
    let rect = vec4f(extent.x, top, extent.y, bottom() - top + radius);
    let coverage = clamp(0.5 - rect_distance(p, rect, radius), 0.0, 1.0) * clamp(bottom() - p.y + 0.5, 0.0, 1.0);
    var color = expert_color(expert);
    if frame.hovered == expert {
        color = mix(color, vec3f(1.0), 0.25);
    }
    if frame.lit == expert {
        color = mix(color, vec3f(1.0), 0.35 * stripe_coverage(p, 8.0 * point, point));
    }
    return over(below, color, coverage * opacity_of(expert));
}

// A light line in a dark one, visible on every colour, where the load would be if loads were shared out as the
// importances are.
fn importance_mark_over(below: vec4f, p: vec2f, expert: u32, pixels_per_expert: f32) -> vec4f {
    let total = bitcast<f32>(stats[TOTAL_IMPORTANCE]);
    if (frame.flags & IMPORTANCE_MARKS) == 0u || !(total > 0.0) {
        return below;
    }
    let point = frame.pixels_per_point;
    let share = bitcast<f32>(stats[TOTALS + frame.num_experts + expert]) / total;
    let extent = extent_of(expert, pixels_per_expert);
    let y = height_of(share * f32(stats[TOTAL_LOAD]));
    let mark = vec4f(extent.x, y - 0.75 * point, extent.y, 1.5 * point);
    let halo = vec4f(mark.xy - point, mark.zw + 2.0 * point);
    let opacity = opacity_of(expert);
    return over(over(below, vec3f(0.0), 0.75 * rect_coverage(p, halo) * opacity), vec3f(1.0), rect_coverage(p, mark) * opacity);
}

// Where several experts share a pixel, the one with the largest load shows: a peak must not vanish.
fn tallest_bar(p: vec2f, x: f32, experts_per_pixel: f32) -> vec4f {
    let first = u32(max(round(x - 0.5 * experts_per_pixel), 0.0));
    let end = u32(clamp(round(x + 0.5 * experts_per_pixel) + 1.0, 0.0, f32(frame.num_experts)));
    if first >= end {
        return vec4f(0.0);
    }
    var tallest = first;
    for (var expert = first + 1u; expert < end; expert++) {
        if load_of(expert) > load_of(tallest) {
            tallest = expert;
        }
    }
    let coverage = clamp(p.y - height_of(f32(load_of(tallest))) + 0.5, 0.0, 1.0) * clamp(bottom() - p.y + 0.5, 0.0, 1.0);
    return over(vec4f(0.0), expert_color(tallest), coverage * opacity_of(tallest));
}
