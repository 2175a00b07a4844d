// A photo with the routing of one layer over it. Each pixel looks up the one patch that it lies in, so the cost depends
// on the pane's pixels alone. All positions are physical pixels of the target.

struct Heatmap {
    view: vec4f,
    image: vec4f,
    seen: vec4f,
    background: vec4f,
    grid: vec2u,
    num_tokens: u32,
    num_experts: u32,
    overlay: u32,
    overlay_index: u32,
    top_k: u32,
    flags: u32,
    lit: u32,
    hovered: u32,
    pinned: u32,
    scale: u32,
    opacity: f32,
    scale_max: f32,
    mip_level: f32,
    pixels_per_point: f32,
}

const OVERLAY_CHOSEN_EXPERT = 1u;
const OVERLAY_GATE_PROB = 2u;
const OVERLAY_ENTROPY = 3u;
const OVERLAY_MARGIN = 4u;

const WEIGHT_OPACITY = 1u;
const GRID_LINES = 2u;
const DIM_OUTSIDE = 4u;
const DARK = 8u;

// How far a photo loses its own colours under an overlay at full opacity, so that they do not mix with the experts'.
const GREY_UNDER_OVERLAY = 0.75;
// How far unlit patches, and what the model did not see, fade into the background.
const DIM_UNLIT = 0.62;
const DIM_UNSEEN = 0.6;
// What is left of an unlit patch's overlay.
const UNLIT_OVERLAY = 0.12;

@group(0) @binding(0) var<uniform> frame: Heatmap;
@group(0) @binding(1) var scales: texture_2d<f32>;
@group(2) @binding(0) var photo: texture_2d<f32>;
@group(2) @binding(1) var photo_sampler: sampler;

fn has(flag: u32) -> bool {
    return (frame.flags & flag) != 0u;
}

fn luma(color: vec3f) -> f32 {
    return dot(color, vec3f(0.299, 0.587, 0.114));
}

@fragment
fn draw_heatmap(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let p = position.xy;
    if !rect_contains(p, frame.view) {
        return vec4f(0.0);
    }
    var color = vec4f(frame.background.rgb * frame.background.a, frame.background.a);
    let in_image = rect_coverage(p, frame.image);
    if in_image > 0.0 {
        let texel = photo_at(p);
        color = color * (1.0 - texel.a * in_image) + texel * in_image;
    }
    let in_seen = rect_coverage(p, frame.seen);
    if has(DIM_OUTSIDE) && in_seen < 1.0 {
        color = over(color, frame.background.rgb, DIM_UNSEEN * (1.0 - in_seen));
    }
    if in_seen > 0.0 {
        color = patches_over(color, p, in_seen);
    }
    return to_target(lines_over(color, p, in_seen));
}

// The photo at a position, premultiplied. Smooth when reduced or a little enlarged; far enlarged, its own pixels show
// as squares with antialiased edges.
fn photo_at(p: vec2f) -> vec4f {
    let size = vec2f(textureDimensions(photo));
    let texel = (p - frame.image.xy) / frame.image.zw * size;
    let enlarged = max(frame.image.zw / size, vec2f(1.0));
    let sharpness = 1.0 + (enlarged - 1.0) * smoothstep(vec2f(6.0), vec2f(12.0), enlarged);
    let corner = floor(texel - 0.5) + 0.5;
    let fraction = clamp((texel - corner - 0.5) * sharpness + 0.5, vec2f(0.0), vec2f(1.0));
    return textureSampleLevel(photo, photo_sampler, (corner + fraction) / size, frame.mip_level);
}

// The size of a patch in pixels.
fn patch_size() -> vec2f {
    return frame.seen.zw / vec2f(frame.grid);
}

// The patch at a position that lies within `seen`. A border belongs to the right or lower patch; the 1/256 pixel makes
// that the same on every GPU where a pixel's centre lies on a border.
fn patch_at(p: vec2f) -> u32 {
    let cell = floor((p + 1.0 / 256.0 - frame.seen.xy) / patch_size());
    let col_row = vec2u(clamp(cell, vec2f(0.0), vec2f(frame.grid) - 1.0));
    return col_row.y * frame.grid.x + col_row.x;
}

fn patches_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    let overlay = smooth_overlay_at(p);
    var color = below;
    if frame.overlay != 0u {
        let grey = vec3f(luma(color.rgb));
        color = vec4f(mix(color.rgb, grey, GREY_UNDER_OVERLAY * frame.opacity * in_seen), color.a);
    }
    if frame.lit != NONE {
        if rank_of(patch_at(p), frame.lit) == NONE {
            color = over(color, frame.background.rgb, DIM_UNLIT * in_seen);
        }
    }
    color = color * (1.0 - overlay.a * in_seen) + overlay * in_seen;
    if frame.lit != NONE && rank_of(patch_at(p), frame.lit) != NONE {
        color = lit_pattern_over(color, p, in_seen);
    }
    return color;
}

// A fine hatch, dark beside light, that can be told on any colour.
fn lit_pattern_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    let point = frame.pixels_per_point;
    let dark = stripe_coverage(p + vec2f(point), 8.0 * point, point);
    let light = stripe_coverage(p, 8.0 * point, point);
    return over(over(below, vec3f(0.0), 0.22 * dark * in_seen), vec3f(1.0), 0.32 * light * in_seen);
}

// The overlay at a position, premultiplied. Patches smaller than two pixels are averaged, so that none is skipped.
fn smooth_overlay_at(p: vec2f) -> vec4f {
    let size = patch_size();
    let samples = u32(clamp(ceil(2.0 / min(size.x, size.y)), 1.0, 4.0));
    if samples == 1u || min(size.x, size.y) >= 2.0 {
        return overlay_of(patch_at(p), p);
    }
    var sum = vec4f(0.0);
    for (var y = 0u; y < samples; y++) {
        for (var x = 0u; x < samples; x++) {
            let offset = (vec2f(f32(x), f32(y)) + 0.5) / f32(samples) - 0.5;
            sum += overlay_of(patch_at(p + offset), p);
        }
    }
    return sum / f32(samples * samples);
}

// The rank at which a patch chose an expert, or NONE.
fn rank_of(patch_index: u32, expert: u32) -> u32 {
    if patch_index < frame.num_tokens {
        for (var rank = 0u; rank < frame.top_k; rank++) {
            if experts[patch_index * frame.top_k + rank] == expert {
                return rank;
            }
        }
    }
    return NONE;
}

// The overlay of a patch, premultiplied.
fn overlay_of(patch_index: u32, p: vec2f) -> vec4f {
    if frame.overlay == 0u {
        return vec4f(0.0);
    }
    var opacity = frame.opacity;
    var rank = frame.overlay_index;
    if frame.lit != NONE {
        let lit_rank = rank_of(patch_index, frame.lit);
        opacity *= select(1.0, UNLIT_OVERLAY, lit_rank == NONE);
        rank = select(lit_rank, rank, lit_rank == NONE);
    }
    if patch_index >= frame.num_tokens {
        return no_value(p) * opacity;
    }
    if frame.overlay == OVERLAY_CHOSEN_EXPERT {
        return chosen_expert_overlay(patch_index, rank, p) * opacity;
    }
    return value_overlay(patch_index, p) * opacity;
}

fn chosen_expert_overlay(patch_index: u32, rank: u32, p: vec2f) -> vec4f {
    if rank >= frame.top_k {
        return vec4f(0.0);
    }
    let at = patch_index * frame.top_k + rank;
    var weight = 1.0;
    if has(WEIGHT_OPACITY) {
        if !is_finite(value_bits[at]) {
            return no_value(p);
        }
        weight = clamp(bitcast<f32>(value_bits[at]), 0.0, 1.0);
    }
    return vec4f(expert_color(experts[at]), 1.0) * weight;
}

fn value_overlay(patch_index: u32, p: vec2f) -> vec4f {
    let tokens = frame.num_tokens;
    var at = tokens * frame.top_k + patch_index;
    switch frame.overlay {
        case OVERLAY_MARGIN: {
            at += tokens;
        }
        case OVERLAY_GATE_PROB: {
            at = tokens * (frame.top_k + 2u) + patch_index * frame.num_experts + frame.overlay_index;
        }
        default: {}
    }
    if !is_finite(value_bits[at]) || (frame.overlay == OVERLAY_GATE_PROB && frame.overlay_index >= frame.num_experts) {
        return no_value(p);
    }
    let t = clamp(bitcast<f32>(value_bits[at]) / frame.scale_max, 0.0, 1.0);
    return vec4f(textureLoad(scales, vec2u(u32(floor(t * 255.0 + 0.5)), frame.scale), 0).rgb, 1.0);
}

// A coarse hatch of two greys: no colour of any scale or expert.
fn no_value(p: vec2f) -> vec4f {
    let stripe = stripe_coverage(p, 6.0 * frame.pixels_per_point, 2.5 * frame.pixels_per_point);
    return vec4f(vec3f(mix(0.22, 0.85, stripe)), 1.0);
}

fn lines_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    var color = below;
    if has(GRID_LINES) && in_seen > 0.0 {
        color = grid_lines_over(color, p, in_seen);
    }
    if has(DIM_OUTSIDE) {
        color = outline_over(color, p, frame.seen, 1.0);
    }
    if frame.hovered != NONE {
        color = outline_over(color, p, patch_rect(frame.hovered), 1.5);
    }
    if frame.pinned != NONE {
        color = outline_over(color, p, patch_rect(frame.pinned), 2.5);
    }
    return color;
}

// Lines between patches fade out as the patches get small, and are gone below 6 points.
fn grid_lines_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    let point = frame.pixels_per_point;
    let size = patch_size();
    let visible = smoothstep(6.0, 20.0, min(size.x, size.y) / point);
    if visible == 0.0 {
        return below;
    }
    let cell = (p - frame.seen.xy) / size;
    let distance = abs(cell - round(cell)) * size;
    let coverage = max(line_coverage(distance.x, point), line_coverage(distance.y, point));
    let line = select(0.0, 1.0, has(DARK));
    return over(below, vec3f(line), 0.22 * visible * coverage * in_seen);
}

fn patch_rect(patch_index: u32) -> vec4f {
    let size = patch_size();
    let col_row = vec2f(vec2u(patch_index % frame.grid.x, patch_index / frame.grid.x));
    return vec4f(frame.seen.xy + col_row * size, size);
}

// A light line with a dark one on either side: visible on every photo.
fn outline_over(below: vec4f, p: vec2f, rect: vec4f, width: f32) -> vec4f {
    let point = frame.pixels_per_point;
    let distance = rect_distance(p, rect, 0.0);
    let halo = line_coverage(distance, (width + 2.0) * point);
    return over(over(below, vec3f(0.0), 0.6 * halo), vec3f(1.0), 0.95 * line_coverage(distance, width * point));
}
