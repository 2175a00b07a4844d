//! What a frame costs: the heatmap by our shader against the same heatmap as one egui rectangle per patch.
//!
//! Both go the window's whole way: shapes, tessellation, egui's renderer, and a wait for the GPU, at 1280 × 720 over a
//! photo of 3840 × 2160. Counted is CPU time, of the whole process (a software GPU draws on threads of its own) and of
//! the main thread. Linux only, because it reads /proc. Ends with 1 when a bar is missed:
//!
//! - our shader takes at most 1/10 of the rectangles' process time and 1/20 of their main-thread time at 128 × 128 patches
//! - 128 × 128 patches cost our shader no more than 14 × 14, within a tenth for noise
//!
//! The main thread's time is also told for a frame of which only a corner is drawn: the same shapes, buffers and commands,
//! under a clip of 16 × 16 pixels. A software GPU draws on the processor that the main thread runs on; what is left without
//! that drawing is what the main thread does by itself. The photo alone, drawn by egui, is there to compare.

#![expect(clippy::print_stdout, reason = "a bench reports there")]

use eframe::egui_wgpu::{Callback, CallbackResources, CallbackTrait, Renderer as EguiRenderer, RendererOptions};
use eframe::egui_wgpu::{ScreenDescriptor, wgpu};
use egui::{Color32, Rect, pos2, vec2};
use moescope::render::{ContentKey, HeatmapFrame, HeatmapStyle, Overlay, PaneId, Renderer, expert_color};
use moescope::routing::{LayerRouting, PatchGrid, PixelRect, RoutingTrace, TokenMeasures, TopK};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SCREEN: [u32; 2] = [1280, 720];
const CORNER: egui::Vec2 = vec2(16.0, 16.0);
const PHOTO: [u32; 2] = [3840, 2160];
const NUM_EXPERTS: usize = 8;
const WARM_UP_FRAMES: u32 = 10;
/// About as long as a software GPU draws a frame, while the main thread waits.
const REST: Duration = Duration::from_millis(12);
/// The kernel counts a process's time in hundredths of a second: long runs keep that below a percent.
const RUN: Duration = Duration::from_secs(3);
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// The program's.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut gpu = Gpu::open();
    println!("{} on {}", env!("CARGO_PKG_NAME"), gpu.adapter);
    println!(
        "{:<32} {:>16} {:>16} {:>16} {:>10}",
        "frame", "process CPU ms", "main thread ms", "of a corner ms", "wall ms"
    );
    let photo = test_photo();
    let empty = measure(&mut gpu, "nothing", |_| {});
    let rested = run(&mut gpu, REST, &mut |_| {})[1];
    println!("{:<32} {:>16} {rested:>16.3}", "nothing, after a rest of 12 ms", "");
    let [shader_small, shader_large] = [14, 128].map(|side| shader_cost(&mut gpu, &photo, side));
    let texture = photo_texture(&gpu, &photo);
    measure(&mut gpu, "the photo alone, by egui", |ui| photo_ui(ui, &texture));
    let rectangles = rectangles_cost(&mut gpu, &texture, 128);
    println!("\nIn brackets: without the cost of a frame that shows nothing.");
    let bars = [
        bar("process CPU, shader / rectangles", shader_large.process, rectangles.process, empty.process, 0.1),
        bar("main thread, shader / rectangles", shader_large.main, rectangles.main, empty.main, 0.05),
        bar("process CPU, 128 × 128 / 14 × 14", shader_large.process, shader_small.process, empty.process, 1.1),
    ];
    println!("main thread, only a corner drawn: {:.3}", shader_large.corner / rectangles.corner);
    println!("main thread, a frame of nothing after a rest, of the rectangles': {:.3}", rested / rectangles.main);
    if bars.iter().all(|&met| met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn bar(name: &str, ours: f64, other: f64, empty: f64, most: f64) -> bool {
    let (ratio, net) = (ours / other, (ours - empty) / (other - empty));
    let verdict = if ratio <= most { "met" } else { "MISSED" };
    println!("{name}: {ratio:.3} [{net:.3}], at most {most}: {verdict}");
    ratio <= most
}

fn shader_cost(gpu: &mut Gpu, photo: &[u8], side: usize) -> Cost {
    let (image, routing) = (ContentKey(0), ContentKey(1));
    let trace = test_routing(side);
    let measures: Vec<_> = trace.layers.iter().map(TokenMeasures::of).collect();
    let mut renderer = Renderer::new(&gpu.device, &gpu.queue, FORMAT).expect("the device can draw");
    renderer.set_image(image, PHOTO, photo).expect("the photo fits");
    renderer.set_routing(routing, &trace, &measures).expect("the routing fits");
    gpu.egui.callback_resources.insert(renderer);
    let size = SCREEN.map(|side| side as f32);
    let [width, height] = PHOTO.map(|side| side as f32);
    let heatmap = Heatmap(HeatmapFrame {
        image,
        routing: Some(routing),
        layer: 0,
        grid: PatchGrid { rows: side, cols: side, seen: PixelRect { x: 0.0, y: 0.0, width, height } },
        image_size: [width, height],
        view_px: [0.0, 0.0, size[0], size[1]],
        image_px: [0.0, 0.0, size[0], size[1]],
        hovered: None,
        pinned: None,
        style: HeatmapStyle { overlay: Overlay::ChosenExpert { rank: 0 }, ..HeatmapStyle::default() },
    });
    measure(gpu, &format!("shader, {side} × {side} patches"), |ui| {
        ui.painter().add(Callback::new_paint_callback(screen_rect(), heatmap.clone()));
    })
}

#[derive(Clone)]
struct Heatmap(HeatmapFrame);

impl CallbackTrait for Heatmap {
    fn prepare(
        &self,
        _device: &wgpu::Device,
        _queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        let renderer: &mut Renderer = resources.get_mut().expect("inserted before the first frame");
        renderer.prepare_heatmap(PaneId(0), &self.0);
        Vec::new()
    }

    fn paint(
        &self,
        _info: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        resources.get::<Renderer>().expect("inserted before the first frame").paint_heatmap(pass, PaneId(0));
    }
}

fn photo_texture(gpu: &Gpu, photo: &[u8]) -> egui::TextureHandle {
    let photo = egui::ColorImage::from_rgba_unmultiplied(PHOTO.map(|side| side as usize), photo);
    gpu.context.load_texture("photo", photo, egui::TextureOptions::LINEAR)
}

fn photo_ui(ui: &egui::Ui, texture: &egui::TextureHandle) {
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture.id(), screen_rect(), uv, Color32::WHITE);
}

fn rectangles_cost(gpu: &mut Gpu, texture: &egui::TextureHandle, side: usize) -> Cost {
    let trace = test_routing(side);
    let patch = vec2(SCREEN[0] as f32, SCREEN[1] as f32) / side as f32;
    measure(gpu, &format!("rectangles, {side} × {side} patches"), |ui| {
        photo_ui(ui, texture);
        for (index, expert) in trace.layers[0].experts().iter().enumerate() {
            let corner = pos2((index % side) as f32 * patch.x, (index / side) as f32 * patch.y);
            let [r, g, b] = expert_color(expert.0);
            let color = Color32::from_rgba_unmultiplied(r, g, b, 153);
            ui.painter().rect_filled(Rect::from_min_size(corner, patch), 0.0, color);
        }
    })
}

/// Milliseconds per frame.
struct Cost {
    process: f64,
    main: f64,
    /// The main thread's, where only a corner is drawn.
    corner: f64,
}

fn measure(gpu: &mut Gpu, name: &str, mut draw: impl FnMut(&mut egui::Ui)) -> Cost {
    let [process, main, wall] = run(gpu, Duration::ZERO, &mut draw);
    // What lies outside of the clip is to be tessellated and sent all the same.
    let cull = |gpu: &Gpu, cull| gpu.context.tessellation_options_mut(|all| all.coarse_tessellation_culling = cull);
    cull(gpu, false);
    let [_, corner, _] = run(gpu, Duration::ZERO, &mut |ui: &mut egui::Ui| {
        ui.set_clip_rect(Rect::from_min_size(pos2(0.0, 0.0), CORNER));
        draw(ui);
    });
    cull(gpu, true);
    println!("{name:<32} {process:>16.3} {main:>16.3} {corner:>16.3} {wall:>10.3}");
    Cost { process, main, corner }
}

/// Milliseconds per frame: of the process, of the main thread, and by the clock. The main thread sleeps between frames.
fn run(gpu: &mut Gpu, rest: Duration, draw: &mut impl FnMut(&mut egui::Ui)) -> [f64; 3] {
    for _ in 0..WARM_UP_FRAMES {
        gpu.frame(draw);
    }
    let (process, main, start) = (process_cpu_ms(), main_thread_ms(), Instant::now());
    let mut frames = 0;
    while start.elapsed() < RUN {
        gpu.frame(draw);
        frames += 1;
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
    let wall = start.elapsed().as_secs_f64() * 1e3;
    [process_cpu_ms() - process, main_thread_ms() - main, wall].map(|total| total / f64::from(frames))
}

fn screen_rect() -> Rect {
    Rect::from_min_size(pos2(0.0, 0.0), vec2(SCREEN[0] as f32, SCREEN[1] as f32))
}

/// User and system time of all threads, those that have ended included.
fn process_cpu_ms() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is there on Linux");
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let fields: Vec<_> = stat.rsplit(") ").next().expect("a name in parentheses").split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks * 1e3 / TICKS_PER_SECOND
}

fn main_thread_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("/proc is there on Linux");
    stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("nanoseconds on the CPU") / 1e6
}

/// The window's way to the GPU, without a window.
struct Gpu {
    adapter: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    target: wgpu::TextureView,
    context: egui::Context,
    egui: EguiRenderer,
}

impl Gpu {
    fn open() -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default());
        let adapter = pollster::block_on(adapter).expect("a graphics adapter; mesa-vulkan-drivers has a software one");
        let device = adapter.request_device(&moescope::render::device_descriptor(&adapter));
        let (device, queue) = pollster::block_on(device).expect("the adapter opens");
        let target = device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: SCREEN[0], height: SCREEN[1], depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            view_formats: &[],
        });
        Self {
            adapter: adapter.get_info().name,
            target: target.create_view(&wgpu::TextureViewDescriptor::default()),
            egui: EguiRenderer::new(&device, FORMAT, RendererOptions::default()),
            context: egui::Context::default(),
            device,
            queue,
        }
    }

    fn frame(&mut self, draw: &mut impl FnMut(&mut egui::Ui)) {
        let input = egui::RawInput {
            screen_rect: Some(screen_rect()),
            max_texture_side: Some(self.device.limits().max_texture_dimension_2d as usize),
            ..Default::default()
        };
        let mut output = self.context.run_ui(input, draw);
        for (id, deltas) in &output.textures_delta.set {
            for delta in deltas {
                self.egui.update_texture(&self.device, &self.queue, *id, delta);
            }
        }
        output.textures_delta.clear();
        let primitives = self.context.tessellate(output.shapes, output.pixels_per_point);
        let screen = ScreenDescriptor { size_in_pixels: SCREEN, pixels_per_point: output.pixels_per_point };
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut buffers = self.egui.update_buffers(&self.device, &self.queue, &mut encoder, &primitives, &screen);
        {
            let mut pass = encoder
                .begin_render_pass(&wgpu::RenderPassDescriptor {
                    color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                        view: &self.target,
                        depth_slice: None,
                        resolve_target: None,
                        ops: wgpu::Operations {
                            load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                            store: wgpu::StoreOp::Store,
                        },
                    })],
                    ..Default::default()
                })
                .forget_lifetime();
            self.egui.render(&mut pass, &primitives, &screen);
        }
        buffers.push(encoder.finish());
        self.queue.submit(buffers);
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is still there");
    }
}

/// A smooth picture; its contents do not matter to the cost.
fn test_photo() -> Vec<u8> {
    let [width, height] = PHOTO;
    (0..height).flat_map(|y| (0..width).flat_map(move |x| [(x / 15) as u8, (y / 9) as u8, 128, 255])).collect()
}

fn test_routing(side: usize) -> RoutingTrace {
    let tokens = side * side;
    let chosen: Vec<_> = (0..tokens).map(|token| (token * 7 / 3 % NUM_EXPERTS) as i64).collect();
    let probs = vec![1.0 / NUM_EXPERTS as f32; tokens * NUM_EXPERTS];
    let top_k = TopK::new(1, NUM_EXPERTS).expect("1 of 8");
    let layer = LayerRouting::new("bench", NUM_EXPERTS, top_k, probs, &chosen, vec![1.0; tokens]);
    RoutingTrace { layers: vec![layer.expect("the shapes fit")] }
}
