//! What a device must offer, and what happens where it offers less.

use super::{FIRST_CHOICE, Routing, plain, rgb, whole};
use crate::render::offscreen::{HeatmapPicture, Offscreen, open_adapter};
use crate::render::{ContentKey, DeviceHealth, Overlay, RenderError, Uploaded, device_descriptor, expert_color};
use crate::routing::{RoutingTrace, TokenMeasures};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A device of its own with other limits.
pub(super) fn renderer_with(limits: impl Fn(wgpu::Limits) -> wgpu::Limits) -> Result<Offscreen, RenderError> {
    pollster::block_on(async {
        let adapter = open_adapter(wgpu::Backends::all()).await?;
        let mut descriptor = device_descriptor(&adapter);
        descriptor.required_limits = limits(descriptor.required_limits);
        let (device, queue) = adapter.request_device(&descriptor).await.expect("lower limits are granted");
        Offscreen::on(device, queue)
    })
}

#[test]
fn a_device_without_storage_buffers_is_refused_with_a_remedy() {
    let refused = renderer_with(|_| wgpu::Limits::downlevel_webgl2_defaults()).err();
    assert_eq!(refused, Some(RenderError::Unsupported { missing: "storage buffers" }));
    assert!(refused.unwrap().to_string().contains("mesa-vulkan-drivers"));
}

#[test]
fn the_least_limits_that_the_web_guarantees_with_compute_are_enough() {
    let mut offscreen = renderer_with(|_| wgpu::Limits::downlevel_defaults()).unwrap();
    assert!(offscreen.renderer().computes_statistics());
}

const KEY: ContentKey = ContentKey(1);

fn upload(offscreen: &mut Offscreen, trace: &RoutingTrace) -> Result<Uploaded, RenderError> {
    let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
    offscreen.renderer().set_routing(KEY, trace, &measures)
}

#[test]
fn gate_probabilities_that_no_buffer_holds_are_left_out_and_that_is_said() {
    let trace = Routing { tokens: 1024, num_experts: 256, ..Routing::default() }.trace();
    let limit = 1 << 20;
    let small = |limits| wgpu::Limits { max_storage_buffer_binding_size: limit, ..limits };
    let mut offscreen = renderer_with(small).unwrap();
    let reason = RenderError::GateProbsTooLarge { bytes: 4 * 1024 * 256, limit };
    assert_eq!(upload(&mut offscreen, &trace), Ok(Uploaded::WithoutGateProbs(reason.clone())));
    let black = [0, 0, 0, 255].repeat(64 * 64);
    let picture = |overlay| HeatmapPicture {
        image_size: [64, 64],
        rgba: &black,
        trace: &trace,
        layer: 0,
        grid: whole(32, 32, [64, 64]),
        style: plain(overlay),
    };
    assert_eq!(offscreen.draw_heatmap(&picture(Overlay::GateProb { expert: 0 }), [64, 64]), Err(reason));
    let chosen = offscreen.draw_heatmap(&picture(FIRST_CHOICE), [64, 64]).unwrap();
    assert_eq!(rgb(&chosen, 3, 1), expert_color(1), "chosen experts are drawn all the same");
    // The statistics of loads do not need gate probabilities.
    assert_eq!(offscreen.read_stats(KEY, 0).unwrap()[0], 1024);
}

#[test]
fn a_routing_that_no_buffer_holds_is_refused_once_and_for_all() {
    let trace =
        Routing { tokens: 40_000, num_experts: 2, top_k: 2, chosen: &|_, rank| rank as i64, ..Routing::default() }
            .trace();
    let limit = 1 << 20;
    let mut offscreen = renderer_with(|limits| wgpu::Limits { max_buffer_size: limit, ..limits }).unwrap();
    let bytes = 4 * (4 + 2 + 40_000 * 8);
    for _ in 0..2 {
        assert_eq!(upload(&mut offscreen, &trace), Err(RenderError::TooLarge { bytes, limit }));
        assert!(!offscreen.renderer().has(KEY));
    }
    // The failure is remembered with its key, and forgotten with it: a smaller routing may come under it later.
    offscreen.renderer().retain(&[]);
    assert_eq!(upload(&mut offscreen, &Routing::default().trace()), Ok(Uploaded::Whole));
}

#[test]
fn a_photo_larger_than_the_devices_textures_is_reduced() {
    let mut offscreen = renderer_with(|limits| wgpu::Limits { max_texture_dimension_2d: 256, ..limits }).unwrap();
    let (width, height) = (1024, 512);
    let row: Vec<u8> =
        (0..width).flat_map(|x| if x < width / 2 { [255, 0, 0, 255] } else { [0, 0, 255, 255] }).collect();
    let picture = HeatmapPicture {
        image_size: [width, height],
        rgba: &row.repeat(height as usize),
        trace: &Routing::default().trace(),
        layer: 0,
        grid: whole(4, 4, [width, height]),
        style: plain(Overlay::None),
    };
    let drawn = offscreen.draw_heatmap(&picture, [256, 128]).unwrap();
    assert_eq!((rgb(&drawn, 60, 64), rgb(&drawn, 190, 64)), ([255, 0, 0], [0, 0, 255]));
    let too_large = offscreen.draw([257, 1], |_, _| {});
    assert_eq!(too_large, Err(RenderError::PictureSize { width: 257, height: 1, limit: 256 }));
}

#[test]
fn a_lost_device_is_heard_of_and_nothing_panics() {
    let mut offscreen = renderer_with(|limits| limits).unwrap();
    let woken = Arc::new(AtomicU32::new(0));
    let wake = {
        let woken = Arc::clone(&woken);
        move || {
            woken.fetch_add(1, Ordering::Relaxed);
        }
    };
    let health = DeviceHealth::listen(offscreen.device(), wake);
    assert_eq!(health.lost(), None);
    offscreen.device().destroy();
    // Whoever draws on learns of it as an error, whatever is done.
    let trace = Routing::default().trace();
    assert!(upload(&mut offscreen, &trace).is_err());
    drop(offscreen.renderer().set_image(ContentKey(2), [1, 1], &[0; 4]));
    assert!(matches!(offscreen.draw([8, 8], |_, _| {}), Err(RenderError::ReadBack { .. })));
    drop(offscreen.device().poll(wgpu::PollType::Poll));
    assert!(health.lost().is_some() && woken.load(Ordering::Relaxed) > 0);
}

#[test]
fn the_first_unexpected_error_of_a_device_is_told_once() {
    let offscreen = renderer_with(|limits| limits).unwrap();
    let health = DeviceHealth::listen(offscreen.device(), || {});
    for _ in 0..2 {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::STORAGE;
        let invalid = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
        drop(offscreen.device().create_buffer(&invalid));
    }
    assert!(health.take_error().is_some_and(|error| error.contains("buffer")));
    assert_eq!(health.take_error(), None);
    assert_eq!(health.lost(), None);
}
