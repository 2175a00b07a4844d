//! The window on graphics adapters that offer little, and at sizes that nobody would choose.
#![cfg(feature = "gui")]

#[path = "window/settle.rs"]
mod settle;

use eframe::egui_wgpu::{WgpuSetup, WgpuSetupCreateNew, wgpu};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::RgbaImage;
use moescope::engine::{Engine, EngineOptions};
use moescope::render::expert_color;
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::settings::Settings;
use moescope::ui::state::OverlayKind;
use settle::settle;
use std::path::PathBuf;
use std::sync::Arc;

/// The window on a device with other limits than the adapter's.
fn window(limits: fn(wgpu::Limits) -> wgpu::Limits) -> Harness<'static, App> {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx");
    let start = Start { default_model: Some(model), layer: Some(0), ..Start::default() };
    let mut setup = WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(move |adapter| wgpu::DeviceDescriptor {
        required_limits: limits(adapter.limits()),
        ..wgpu::DeviceDescriptor::default()
    });
    let builder = Harness::builder().with_size([1280.0, 800.0]).wgpu_setup(WgpuSetup::CreateNew(setup));
    let mut harness = builder.build_eframe(move |cc| {
        App::new(cc, Arc::new(Engine::start(EngineOptions::default())), &start, Settings::default(), None)
            .expect("threads")
    });
    settle(&mut harness);
    harness
}

fn notices(harness: &Harness<'static, App>) -> Vec<String> {
    let notices = &harness.state().state().notices;
    notices.iter().map(|notice| format!("{}: {}", notice.title, notice.details)).collect()
}

/// How many pixels within a rectangle (in points, one pixel each) are about the colour of an expert.
fn pixels_like(picture: &RgbaImage, rect: egui::Rect, expert: u32) -> usize {
    let color = expert_color(expert);
    let near = |pixel: &image::Rgba<u8>| (0..3).all(|channel| pixel.0[channel].abs_diff(color[channel]) < 12);
    let columns = rect.left() as u32..rect.right() as u32;
    let inside = (rect.top() as u32..rect.bottom() as u32).flat_map(|y| columns.clone().map(move |x| (x, y)));
    inside.filter(|&(x, y)| near(picture.get_pixel(x, y))).count()
}

#[test]
fn without_storage_buffers_the_pictures_are_drawn_by_plain_means_and_that_is_said() {
    let shaders = |limits| limits;
    let none = |limits: wgpu::Limits| wgpu::Limits {
        max_texture_dimension_2d: limits.max_texture_dimension_2d,
        ..wgpu::Limits::downlevel_webgl2_defaults()
    };
    let [by_shaders, plain] = [shaders as fn(_) -> _, none].map(|limits| {
        let mut harness = window(limits);
        harness.state().send(Command::SetOpacity(1.0));
        // Numbers in the patches differ from their ground; the overlay of entropy has none.
        settle(&mut harness);
        let picture = harness.render().expect("a picture");
        let heatmap = harness.get_by_label("Heatmap: Chosen expert, layer 1").rect();
        let load = &harness.state().state().shown().expect("a result").analysis.layers[0].balance.load;
        let busiest = (0..load.len()).max_by_key(|&expert| load[expert]).expect("experts") as u32;
        let chart = egui::Rect::from_min_max(egui::pos2(heatmap.right(), 0.0), egui::pos2(1280.0, 800.0));
        let found = [heatmap, chart].map(|rect| pixels_like(&picture, rect, busiest));
        (notices(&harness), found)
    });
    assert_eq!(by_shaders.0, Vec::<String>::new());
    assert!(plain.0.len() == 1 && plain.0[0].contains("storage buffers"), "{:?}", plain.0);
    for (place, (ours, reference)) in ["heatmap", "chart"].iter().zip(plain.1.into_iter().zip(by_shaders.1)) {
        assert!(reference > 100, "{place}: {reference} pixels in the colour of the busiest expert");
        let ratio = ours as f64 / reference as f64;
        assert!((0.7..1.4).contains(&ratio), "{place}: {ours} pixels in its colour, by the shaders {reference}");
    }
}

#[test]
fn without_compute_shaders_the_window_says_where_its_charts_come_from() {
    let harness = window(|limits| wgpu::Limits { max_compute_invocations_per_workgroup: 0, ..limits });
    let notices = notices(&harness);
    assert!(notices.len() == 1 && notices[0].contains("compute shaders"), "{notices:?}");
}

#[test]
fn what_the_gpu_does_not_take_is_said_once() {
    // A layer of the default model without its gate probabilities fits, with them it does not.
    let mut harness = window(|limits| wgpu::Limits { max_storage_buffer_binding_size: 12_000, ..limits });
    let said = |harness: &Harness<'static, App>| {
        let notices = notices(harness);
        notices.iter().filter(|notice| notice.contains("gate probabilities")).count()
    };
    assert_eq!(said(&harness), 1, "{:?}", notices(&harness));
    harness.render().expect("a picture");
    harness.state().send(Command::DismissNotice(0));
    harness.state().send(Command::SetOverlay(OverlayKind::GateProbability));
    settle(&mut harness);
    harness.render().expect("a picture of hatched patches");
    assert_eq!(said(&harness), 0, "it is not tried again with every frame: {:?}", notices(&harness));
}

#[test]
fn a_window_of_any_size_draws_and_keeps_its_state() {
    let mut harness = window(|limits| limits);
    harness.state().send(Command::StepLayer(2));
    settle(&mut harness);
    let summary = |harness: &Harness<'static, App>| {
        let state = harness.state().state();
        format!("{:?} {:?}", state.view, state.shown().map(|shown| shown.id))
    };
    let before = summary(&harness);
    for size in [[1.0, 1.0], [3.0, 700.0], [200.0, 40.0], [480.0, 360.0], [4000.0, 60.0], [901.0, 2.0]] {
        harness.set_size(size.into());
        harness.run_steps(2);
        harness.render().unwrap_or_else(|error| panic!("{size:?}: {error}"));
    }
    // Minimised: nothing is drawn, and nothing may be divided by the size.
    harness.set_size(egui::Vec2::ZERO);
    harness.run_steps(3);
    harness.set_size(egui::vec2(1280.0, 800.0));
    settle(&mut harness);
    assert_eq!(summary(&harness), before);
    assert_eq!(notices(&harness), Vec::<String>::new());
    harness.render().expect("a picture");
}
