// A photo with the routing of one layer over it. Each pixel looks up the one patch that it lies in, so the cost depends
// on the pane's pixels alone. All positions are physical pixels of the target.

struct Heatmap {
    image: vec4f,
    seen: vec4f,
    background: vec4f,
    grid: vec2u,
    patch_size: vec2f,
    num_tokens: u32,
    num_experts: u32,
    top_k: u32,
    overlay_index: u32,
    flags: u32,
    lit: u32,
    hovered: u32,
    pinned: u32,
    scale: u32,
    opacity: f32,
    scale_max: f32,
    grid_opacity: f32,
    mip_level: f32,
    pixels_per_point: f32,
    num_slots: u32,
}

// What a frame shows is known when its pipeline is chosen. A software GPU runs both sides of every branch, so what is
// not shown must not be in the shader.
override overlay: u32 = 0u;
override has_weight_opacity: bool = false;
override has_missing_patches: bool = false;
override has_lit_expert: bool = false;
override has_small_patches: bool = false;
override has_grid_lines: bool = false;
override has_outlines: bool = false;
override has_large_texels: bool = false;

const OVERLAY_NONE = 0u;
const OVERLAY_CHOSEN_EXPERT = 1u;
const OVERLAY_GATE_PROB = 2u;
const OVERLAY_ENTROPY = 3u;
const OVERLAY_MARGIN = 4u;
const OVERLAY_EXPERT_COUNT = 5u;
const OVERLAY_SLOT_DISPATCH = 6u;
const OVERLAY_SLOT_COMBINE = 7u;

const DIM_OUTSIDE = 1u;
const DARK = 2u;

// How far a photo loses its own colours under an overlay at full opacity, so that they do not mix with the experts'.
const GREY_UNDER_OVERLAY = 0.75;
// How far unlit patches, and what the model did not see, fade into the background.
const DIM_UNLIT = 0.62;
const DIM_UNSEEN = 0.6;
// What is left of an unlit patch's overlay.
const UNLIT_OVERLAY = 0.12;

@group(1) @binding(0) var<uniform> frame: Heatmap;
@group(1) @binding(1) var scales: texture_2d<f32>;
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
    var color = vec4f(frame.background.rgb * frame.background.a, frame.background.a);
    let texel = photo_at(p) * rect_coverage(p, frame.image);
    color = color * (1.0 - texel.a) + texel;
    let in_seen = rect_coverage(p, frame.seen);
    if overlay != OVERLAY_NONE || has_lit_expert {
        color = patches_over(color, p, in_seen);
    }
    if has_grid_lines {
        color = grid_lines_over(color, p, in_seen);
    }
    if has_outlines {
        color = outlines_over(color, p, in_seen);
    }
    return to_target(color);
}

// The photo at a position, premultiplied. Smooth when reduced or a little enlarged; far enlarged, its own pixels show
// as squares with antialiased edges.
fn photo_at(p: vec2f) -> vec4f {
    var uv = (p - frame.image.xy) / frame.image.zw;
    if has_large_texels {
        let size = vec2f(textureDimensions(photo));
        let enlarged = frame.image.zw / size;
        let sharpness = 1.0 + (enlarged - 1.0) * smoothstep(vec2f(6.0), vec2f(12.0), enlarged);
        let texel = uv * size;
        let corner = floor(texel - 0.5) + 0.5;
        let fraction = clamp((texel - corner - 0.5) * sharpness + 0.5, vec2f(0.0), vec2f(1.0));
        uv = (corner + fraction) / size;
    }
    return textureSampleLevel(photo, photo_sampler, uv, frame.mip_level);
}

// The patch at a position that lies within `seen`. A border belongs to the right or lower patch; the 1/256 pixel makes
// that the same on every GPU where a pixel's centre lies on a border.
fn patch_at(p: vec2f) -> u32 {
    let cell = (p + 1.0 / 256.0 - frame.seen.xy) / frame.patch_size;
    let col_row = vec2u(clamp(cell, vec2f(0.0), vec2f(frame.grid) - 1.0));
    return col_row.y * frame.grid.x + col_row.x;
}

fn patches_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    var color = below;
    if overlay != OVERLAY_NONE {
        let grey = vec3f(luma(color.rgb));
        color = vec4f(mix(color.rgb, grey, GREY_UNDER_OVERLAY * frame.opacity * in_seen), color.a);
    }
    var is_lit = false;
    if has_lit_expert {
        is_lit = rank_of(patch_at(p), frame.lit) != NONE;
        color = over(color, frame.background.rgb, select(DIM_UNLIT * in_seen, 0.0, is_lit));
    }
    if overlay != OVERLAY_NONE {
        let top = overlay_at(p) * in_seen;
        color = color * (1.0 - top.a) + top;
    }
    if has_lit_expert {
        color = lit_pattern_over(color, p, select(0.0, in_seen, is_lit));
    }
    return color;
}

// A fine hatch, dark beside light, that can be told on any colour.
fn lit_pattern_over(below: vec4f, p: vec2f, visible: f32) -> vec4f {
    let point = frame.pixels_per_point;
    let dark = stripe_coverage(p + vec2f(point), 8.0 * point, point);
    let light = stripe_coverage(p, 8.0 * point, point);
    return over(over(below, vec3f(0.0), 0.22 * dark * visible), vec3f(1.0), 0.32 * light * visible);
}

// The overlay at a position, premultiplied. Patches smaller than two pixels are averaged, so that none is skipped.
fn overlay_at(p: vec2f) -> vec4f {
    if !has_small_patches {
        return overlay_of(patch_at(p), p);
    }
    let samples = u32(clamp(ceil(2.0 / min(frame.patch_size.x, frame.patch_size.y)), 1.0, 4.0));
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
    if !has_missing_patches || patch_index < frame.num_tokens {
        for (var rank = 0u; rank < frame.top_k; rank++) {
            if routing[HEADER + frame.num_experts + patch_index * frame.top_k + rank] == expert {
                return rank;
            }
        }
    }
    return NONE;
}

// The overlay of a patch, premultiplied.
fn overlay_of(patch_index: u32, p: vec2f) -> vec4f {
    var opacity = frame.opacity;
    var rank = frame.overlay_index;
    if has_lit_expert {
        let lit_rank = rank_of(patch_index, frame.lit);
        opacity *= select(1.0, UNLIT_OVERLAY, lit_rank == NONE);
        rank = select(lit_rank, rank, lit_rank == NONE);
    }
    if has_missing_patches && patch_index >= frame.num_tokens {
        return no_value(p) * opacity;
    }
    if overlay == OVERLAY_CHOSEN_EXPERT {
        return chosen_expert_overlay(patch_index, rank, p) * opacity;
    }
    if overlay == OVERLAY_EXPERT_COUNT {
        return on_scale(f32(num_serving(patch_index))) * opacity;
    }
    return value_overlay(patch_index, p) * opacity;
}

fn chosen_expert_overlay(patch_index: u32, rank: u32, p: vec2f) -> vec4f {
    if rank >= frame.top_k {
        return vec4f(0.0);
    }
    let assignments = frame.num_tokens * frame.top_k;
    let at = HEADER + frame.num_experts + assignments + patch_index * frame.top_k + rank;
    var weight = 1.0;
    if has_weight_opacity {
        if !is_finite(routing[at]) {
            return no_value(p);
        }
        weight = clamp(bitcast<f32>(routing[at]), 0.0, 1.0);
    }
    return unpack4x8unorm(routing[at + assignments]) * weight;
}

// How many experts handled a patch: those whose weight is not 0. What a patch does not use has none.
fn num_serving(patch_index: u32) -> u32 {
    let weights = HEADER + frame.num_experts + (frame.num_tokens + patch_index) * frame.top_k;
    var count = 0u;
    for (var rank = 0u; rank < frame.top_k; rank++) {
        // Either sign of zero, and no test for NaN that a compiler may leave out.
        count += select(0u, 1u, (routing[weights + rank] & 0x7fffffffu) != 0u);
    }
    return count;
}

fn value_overlay(patch_index: u32, p: vec2f) -> vec4f {
    let tokens = frame.num_tokens;
    let entropies = HEADER + frame.num_experts + 3u * tokens * frame.top_k;
    var at = entropies + patch_index;
    switch overlay {
        case OVERLAY_MARGIN: {
            at += tokens;
        }
        case OVERLAY_GATE_PROB: {
            // Left out where they are too large for the GPU.
            if routing[3] == 0u || frame.overlay_index >= frame.num_experts {
                return no_value(p);
            }
            at = entropies + 2u * tokens + patch_index * frame.num_experts + frame.overlay_index;
        }
        case OVERLAY_SLOT_DISPATCH, OVERLAY_SLOT_COMBINE: {
            if frame.overlay_index >= frame.num_slots {
                return no_value(p);
            }
            let gate_probs = select(0u, tokens * frame.num_experts, routing[3] != 0u);
            let table = select(0u, tokens * frame.num_slots, overlay == OVERLAY_SLOT_COMBINE);
            at = entropies + 2u * tokens + gate_probs + table + patch_index * frame.num_slots + frame.overlay_index;
        }
        default: {}
    }
    if !is_finite(routing[at]) {
        return no_value(p);
    }
    return on_scale(bitcast<f32>(routing[at]));
}

fn on_scale(value: f32) -> vec4f {
    let t = clamp(value / frame.scale_max, 0.0, 1.0);
    return vec4f(textureLoad(scales, vec2u(u32(floor(t * 255.0 + 0.5)), frame.scale), 0).rgb, 1.0);
}

// A coarse hatch of two greys: no colour of any scale or expert.
fn no_value(p: vec2f) -> vec4f {
    let stripe = stripe_coverage(p, 6.0 * frame.pixels_per_point, 2.5 * frame.pixels_per_point);
    return vec4f(vec3f(mix(0.22, 0.85, stripe)), 1.0);
}

// Lines between patches.
fn grid_lines_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    let cell = (p - frame.seen.xy) / frame.patch_size;
    let distance = abs(cell - round(cell)) * frame.patch_size;
    let nearest = min(distance.x, distance.y);
    let color = select(0.0, 1.0, has(DARK));
    return over(below, vec3f(color), frame.grid_opacity * line_coverage(nearest, frame.pixels_per_point) * in_seen);
}

fn outlines_over(below: vec4f, p: vec2f, in_seen: f32) -> vec4f {
    var color = below;
    if has(DIM_OUTSIDE) {
        color = over(color, frame.background.rgb, DIM_UNSEEN * (1.0 - in_seen));
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

fn patch_rect(patch_index: u32) -> vec4f {
    let col_row = vec2f(vec2u(patch_index % frame.grid.x, patch_index / frame.grid.x));
    return vec4f(frame.seen.xy + col_row * frame.patch_size, frame.patch_size);
}

// A light line with a dark one on either side: visible on every photo.
fn outline_over(below: vec4f, p: vec2f, rect: vec4f, width: f32) -> vec4f {
    let point = frame.pixels_per_point;
    let halo = frame_coverage(p, rect, 0.5 * (width + 2.0) * point);
    return over(over(below, vec3f(0.0), 0.6 * halo), vec3f(1.0), 0.95 * frame_coverage(p, rect, 0.5 * width * point));
}

// How much of a pixel lies within `reach` of a rectangle's border.
fn frame_coverage(p: vec2f, rect: vec4f, reach: f32) -> f32 {
    return rect_coverage(p, grown(rect, reach)) - rect_coverage(p, grown(rect, -reach));
}

fn grown(rect: vec4f, by: f32) -> vec4f {
    return vec4f(rect.xy - by, max(rect.zw + 2.0 * by, vec2f(0.0)));
}
