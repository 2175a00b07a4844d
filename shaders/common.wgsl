// Shared by everything that draws into a pane.

// Set where the target encodes sRGB by itself; colours here are sRGB values throughout, as egui's are.
override target_encodes_srgb: bool = false;

const NONE = 0xffffffffu;

// One triangle that covers the viewport. Positions come from @builtin(position), so nothing is interpolated.
@vertex
fn cover_viewport(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
    let corner = vec2f(vec2u((vertex << 1u) & 2u, vertex & 2u));
    return vec4f(corner * 2.0 - 1.0, 0.0, 1.0);
}

// How much of the pixel around `p` lies in a rectangle (x, y, width, height), 0 to 1.
fn rect_coverage(p: vec2f, rect: vec4f) -> f32 {
    let inside = clamp(p - rect.xy + 0.5, vec2f(0.0), vec2f(1.0)) * clamp(rect.xy + rect.zw - p + 0.5, vec2f(0.0), vec2f(1.0));
    return inside.x * inside.y;
}

fn rect_contains(p: vec2f, rect: vec4f) -> bool {
    return all(p >= rect.xy) && all(p < rect.xy + rect.zw);
}

// Signed distance in pixels to the border of a rectangle with corners rounded by `radius`; negative inside.
fn rect_distance(p: vec2f, rect: vec4f, radius: f32) -> f32 {
    let half_size = 0.5 * rect.zw;
    let q = abs(p - rect.xy - half_size) - half_size + radius;
    return length(max(q, vec2f(0.0))) + min(max(q.x, q.y), 0.0) - radius;
}

// How much of the pixel a line of some width covers whose middle is `distance` pixels away.
fn line_coverage(distance: f32, width: f32) -> f32 {
    return clamp(0.5 * width + 0.5 - abs(distance), 0.0, 1.0) * min(width, 1.0);
}

// Diagonal stripes, fixed to the screen.
fn stripe_coverage(p: vec2f, period: f32, width: f32) -> f32 {
    let along = (p.x + p.y) * 0.70710678;
    let distance = (fract(along / period) - 0.5) * period;
    return line_coverage(distance, width);
}

// Puts a colour with an opacity over a premultiplied one.
fn over(below: vec4f, color: vec3f, alpha: f32) -> vec4f {
    return below * (1.0 - alpha) + vec4f(color * alpha, alpha);
}

fn linear_from_srgb(srgb: vec3f) -> vec3f {
    return select(pow((srgb + 0.055) / 1.055, vec3f(2.4)), srgb / 12.92, srgb <= vec3f(0.04045));
}

fn to_target(premultiplied: vec4f) -> vec4f {
    if !target_encodes_srgb || premultiplied.a == 0.0 {
        return premultiplied;
    }
    return vec4f(linear_from_srgb(premultiplied.rgb / premultiplied.a) * premultiplied.a, premultiplied.a);
}
