//! What a device must offer.

use crate::render::offscreen::open_adapter;
use crate::render::{RenderError, Renderer, device_descriptor};

fn renderer_with(limits: impl Fn(wgpu::Limits) -> wgpu::Limits) -> Result<Renderer, RenderError> {
    pollster::block_on(async {
        let adapter = open_adapter(wgpu::Backends::all()).await?;
        let mut descriptor = device_descriptor(&adapter);
        descriptor.required_limits = limits(descriptor.required_limits);
        let (device, queue) = adapter.request_device(&descriptor).await.expect("lower limits are granted");
        Renderer::new(&device, &queue, wgpu::TextureFormat::Bgra8Unorm)
    })
}

#[test]
fn a_device_without_storage_buffers_or_compute_is_refused_with_a_remedy() {
    let no_storage = renderer_with(|_| wgpu::Limits::downlevel_webgl2_defaults());
    assert_eq!(no_storage.err(), Some(RenderError::Unsupported { missing: "storage buffers" }));
    let no_compute = renderer_with(|limits| wgpu::Limits { max_compute_workgroup_size_x: 0, ..limits });
    assert_eq!(no_compute.as_ref().err(), Some(&RenderError::Unsupported { missing: "compute shaders" }));
    assert!(no_compute.unwrap_err().to_string().contains("mesa-vulkan-drivers"));
}

#[test]
fn the_least_limits_that_the_web_guarantees_with_compute_are_enough() {
    assert!(renderer_with(|_| wgpu::Limits::downlevel_defaults()).is_ok());
}

#[test]
fn a_layer_that_no_buffer_holds_is_refused() {
    let routing = super::Routing { tokens: 1024, num_experts: 256, ..super::Routing::default() };
    let trace = routing.trace();
    let measures = [crate::routing::TokenMeasures::of(&trace.layers[0])];
    let limit = 1 << 20;
    let small = |limits| wgpu::Limits { max_storage_buffer_binding_size: limit, ..limits };
    let mut renderer = renderer_with(small).unwrap();
    let key = crate::render::ContentKey(1);
    let bytes = 4 * 1024 * (1 + 2 + 256);
    let expected = RenderError::LayerTooLarge { layer: "test".into(), bytes, limit };
    assert_eq!(renderer.set_routing(key, &trace, &measures), Err(expected));
    assert!(!renderer.has(key));
}
