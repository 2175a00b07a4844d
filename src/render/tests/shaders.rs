//! The WGSL files, against naga and against the structs of layout.rs.

use crate::render::layout::{BarsUniform, HeatmapUniform};
use crate::render::pipelines::{
    HEATMAP_WGSL, LAYER_STATS_WGSL, LOAD_BARS_WGSL, MIPMAP_WGSL, STATS_INVOCATIONS, STATS_STORAGE, STATS_TILE,
    STORAGE_BUFFERS,
};
use crate::render::sections::{HEADER, TOTALS};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::mem::offset_of;

const ALL: [(&str, &str); 4] = [
    ("heatmap", HEATMAP_WGSL),
    ("load bars", LOAD_BARS_WGSL),
    ("statistics", LAYER_STATS_WGSL),
    ("mipmap", MIPMAP_WGSL),
];

fn parse(wgsl: &str) -> naga::Module {
    naga::front::wgsl::parse_str(wgsl).unwrap_or_else(|error| panic!("{}", error.emit_to_string(wgsl)))
}

#[test]
fn every_shader_is_valid() {
    for (name, wgsl) in ALL {
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let result = validator.validate(&parse(wgsl));
        assert!(result.is_ok(), "{name}: {}", result.unwrap_err().emit_to_string(wgsl));
    }
}

#[test]
fn every_shader_file_is_part_of_a_pipeline() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(ALL.iter().any(|(_, wgsl)| wgsl.contains(&text)), "{} is drawn with by nothing", path.display());
    }
}

/// Name and offset of each member, and the struct's size.
fn wgsl_struct(wgsl: &str, name: &str) -> (Vec<(String, usize)>, usize) {
    let module = parse(wgsl);
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap();
    let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is no struct") };
    let members = members.iter().map(|member| (member.name.clone().unwrap(), member.offset as usize)).collect();
    (members, *span as usize)
}

/// Names and offsets of a Rust struct's fields, in the form of [`wgsl_struct`].
macro_rules! rust_struct {
    ($type:ty: $($field:ident),+) => {
        (vec![$((stringify!($field).to_owned(), offset_of!($type, $field))),+], size_of::<$type>())
    };
}

#[test]
fn uniforms_lie_in_memory_as_the_shaders_read_them() {
    let heatmap = rust_struct!(
        HeatmapUniform: image, seen, background, grid, patch_size, num_tokens, num_experts, top_k, overlay_index,
        flags, lit, hovered, pinned, scale, opacity, scale_max, grid_opacity, mip_level, pixels_per_point, num_slots
    );
    assert_eq!(wgsl_struct(HEATMAP_WGSL, "Heatmap"), heatmap);
    let bars = rust_struct!(
        BarsUniform: view, plot, x_range, y_max, bar_width, num_experts, lit, hovered, flags, pixels_per_point
    );
    assert_eq!(wgsl_struct(LOAD_BARS_WGSL, "Bars"), bars);
}

#[test]
fn limits_match_the_shaders() {
    let stats = parse(LAYER_STATS_WGSL);
    for entry in &stats.entry_points {
        assert_eq!(entry.workgroup_size.iter().product::<u32>(), STATS_INVOCATIONS, "{}", entry.name);
    }
    let tile = stats.entry_points.iter().find(|entry| entry.name == "sum_importance").unwrap();
    assert_eq!(tile.workgroup_size[0], STATS_TILE);
    let shared = stats.global_variables.iter().filter(|(_, it)| it.space == naga::AddressSpace::WorkGroup);
    let shared: u32 = shared.map(|(_, it)| stats.types[it.ty].inner.size(stats.to_ctx())).sum();
    assert_eq!(shared, STATS_STORAGE);
    for wgsl in [HEATMAP_WGSL, LOAD_BARS_WGSL, LAYER_STATS_WGSL] {
        let module = parse(wgsl);
        let storage = |space| matches!(space, naga::AddressSpace::Storage { .. });
        let buffers = module.global_variables.iter().filter(|(_, variable)| storage(variable.space)).count();
        assert!(buffers <= STORAGE_BUFFERS as usize);
    }
}

#[test]
fn the_shaders_find_the_data_where_they_are_written() {
    let layer = concat!(include_str!("../../../shaders/layer.wgsl"));
    assert!(
        layer.contains(&format!("const HEADER = {HEADER}u;")) && layer.contains(&format!("const TOTALS = {TOTALS}u;"))
    );
}
