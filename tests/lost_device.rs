//! A window whose graphics device is lost goes on in another window with all that was open. Real windows open here, one
//! after another, so there must be a display; and windows want the main thread, which the usual test harness keeps.

#![expect(clippy::print_stdout, reason = "there is no test harness that would report")]

use eframe::egui_wgpu::wgpu;
use egui::{Context, Ui, ViewportCommand};
use moescope::engine::{Engine, EngineOptions};
use moescope::routing::{ExpertIdx, LayerIdx, PatchIdx};
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::reopen::{self, Movable, WindowError};
use moescope::ui::settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

fn main() {
    for moment in [Moment::BetweenFrames, Moment::WithinAFrame] {
        println!("the device is lost: {moment:?}");
        let (app, moves) = run(moment, 1).expect("the window goes on");
        assert_eq!(moves, 1, "{moment:?}");
        app.check();
    }
    println!("the device is lost again and again");
    let Err(error) = run(Moment::BetweenFrames, u32::MAX) else {
        panic!("three losses within a minute end the window")
    };
    assert!(matches!(error, WindowError::Lost { times: 3, .. }), "{error}");
    println!("ok");
}

/// When the device goes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    BetweenFrames,
    /// After the frame was laid out and before it is drawn, which egui's renderer answers with a panic.
    WithinAFrame,
}

/// What the person had on screen, and what is there after the device was lost.
struct Seen {
    before: Option<String>,
    after: Option<(String, Vec<String>, Arc<egui::ColorImage>)>,
}

impl Seen {
    fn check(&self) {
        let (after, notices, picture) = self.after.as_ref().expect("the second window was seen");
        assert_eq!(self.before.as_ref(), Some(after), "everything that was open is there");
        assert!(notices.iter().any(|notice| notice.contains("was lost")), "it is said: {notices:?}");
        let colors: std::collections::HashSet<_> = picture.pixels.iter().collect();
        assert!(colors.len() > 500, "the second window draws: {} colours", colors.len());
    }
}

/// The window, which destroys its own device.
struct Losing {
    app: App,
    moment: Moment,
    losses_left: u32,
    started: Instant,
    step: Step,
    seen: std::sync::mpsc::Sender<(Seen, u32)>,
    found: Seen,
    moves: u32,
}

enum Step {
    WaitForResult,
    Look { frames: u32 },
    Lost,
    Photograph(Receiver<Arc<egui::ColorImage>>),
}

fn run(moment: Moment, losses: u32) -> Result<(Seen, u32), WindowError> {
    let (sender, receiver) = channel();
    let options = |adapters| eframe::NativeOptions {
        persist_window: false,
        // Nothing of a person's own settings is read or written.
        persistence_path: Some(std::env::temp_dir().join(format!("moescope-lost-device-{}", std::process::id()))),
        ..moescope::ui::native_options(None, adapters)
    };
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx");
    let start = Start { default_model: Some(model), ..Start::default() };
    reopen::run("MoE Scope test", options, |cc| {
        let engine = Arc::new(Engine::start(EngineOptions::default()));
        Ok(Losing {
            app: App::new(cc, engine, &start, Settings::default(), None)?,
            moment,
            losses_left: losses,
            started: Instant::now(),
            step: Step::WaitForResult,
            seen: sender,
            found: Seen { before: None, after: None },
            moves: 0,
        })
    })?;
    Ok(receiver.recv().expect("the last window told what it saw"))
}

/// All that a person would miss.
fn summary(app: &App) -> String {
    let state = app.state();
    let titles: Vec<_> = state.images.entries().iter().map(|entry| &entry.title).collect();
    let shown = state.shown().map(|shown| (shown.id, shown.image, shown.analysis.top_k));
    let multiples: Vec<_> = state.results.multiples().iter().map(|multiple| multiple.outcome.id).collect();
    format!("{titles:?} {shown:?} {multiples:?} {:?} {:?}", state.view, state.settings)
}

impl Losing {
    fn lose(&mut self, frame: &eframe::Frame) {
        let state = frame.wgpu_render_state().expect("wgpu draws the window");
        state.device.destroy();
        // A destroyed device says so when its queue is empty; one that a driver lost says so at once.
        drop(state.device.poll(wgpu::PollType::Poll));
        self.losses_left = self.losses_left.saturating_sub(1);
        self.step = Step::Lost;
    }

    fn go_on(&mut self, ctx: &Context, frame: &eframe::Frame) {
        assert!(self.started.elapsed() < Duration::from_secs(120), "the window got stuck");
        ctx.request_repaint_after(Duration::from_millis(10));
        match &mut self.step {
            Step::WaitForResult if self.app.state().shown().is_some() && !self.app.state().updating => {
                self.app.send(Command::SelectLayer(LayerIdx(1)));
                self.app.send(Command::LightExpert(ExpertIdx(2)));
                self.app.send(Command::Pin(PatchIdx(17)));
                self.app.send(Command::SetOpacity(0.5));
                self.step = Step::Look { frames: 0 };
            }
            Step::WaitForResult | Step::Lost => {}
            Step::Look { frames } => {
                *frames += 1;
                if *frames < 5 {
                } else if self.losses_left > 0 {
                    self.found.before = Some(summary(&self.app));
                    self.lose(frame);
                } else {
                    let (sender, pixels) = channel();
                    ctx.request_screenshot(move |image| drop(sender.send(image)));
                    self.step = Step::Photograph(pixels);
                }
            }
            Step::Photograph(pixels) => {
                if let Ok(picture) = pixels.try_recv() {
                    let notices = self.app.state().notices.iter().map(|notice| notice.title.clone()).collect();
                    self.found.after = Some((summary(&self.app), notices, picture));
                    let found = std::mem::replace(&mut self.found, Seen { before: None, after: None });
                    self.seen.send((found, self.moves)).expect("the test waits for it");
                    self.step = Step::Lost;
                    ctx.send_viewport_cmd(ViewportCommand::Close);
                }
            }
        }
    }
}

impl eframe::App for Losing {
    fn logic(&mut self, ctx: &Context, frame: &mut eframe::Frame) {
        self.app.logic(ctx, frame);
        if matches!(self.moment, Moment::BetweenFrames) {
            self.go_on(ctx, frame);
        }
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        // Lost in `logic` just now: the window has nothing to draw with.
        if self.lost_device().is_some() {
            return;
        }
        self.app.ui(ui, frame);
        if matches!(self.moment, Moment::WithinAFrame) {
            let ctx = ui.ctx().clone();
            self.go_on(&ctx, frame);
        }
    }
}

impl Movable for Losing {
    fn lost_device(&self) -> Option<String> {
        self.app.lost_device()
    }

    fn move_to(&mut self, cc: &eframe::CreationContext<'_>, reason: &str) -> std::io::Result<()> {
        self.moves += 1;
        self.step = Step::Look { frames: 0 };
        self.app.move_to(cc, reason)
    }
}
