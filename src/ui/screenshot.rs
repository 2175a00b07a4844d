//! `--screenshot`: waits until the window shows the result, saves what it shows, and ends.

use crate::report::write_whole;
use anyhow::Context as _;
use image::ImageEncoder as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What to save, and how the window should look.
#[derive(Clone, Debug, PartialEq)]
pub struct Screenshot {
    /// The file to write, a PNG.
    pub png: PathBuf,
    /// Width and height of the window in points.
    pub size: [u32; 2],
    /// Light or dark; `None` is as the system says.
    pub theme: Option<egui::Theme>,
    /// Scale of the window; 1 is 100 %.
    pub scale: f32,
}

/// What a picture tells besides its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// Seconds from the start of the window to the first frame with a result.
    pub first_result_secs: f64,
}

/// How it went, once it is over.
pub type ShotResult = Arc<Mutex<Option<anyhow::Result<Shot>>>>;

/// How far the window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to see yet.
    Nothing,
    /// There is a result, and more is on its way.
    Result,
    /// Everything that was asked for is on screen.
    Settled,
}

/// Where the picture stands.
#[derive(Debug)]
enum Stage {
    /// The result is not there, or its small pictures are not.
    Waiting,
    /// The window shows the result; textures and layout settle for a few frames.
    Settling {
        frames: u32,
    },
    /// The window was asked for its pixels, which come here.
    Asked {
        pixels: Receiver<Arc<egui::ColorImage>>,
    },
    Done,
}

/// Takes one picture of the window.
#[derive(Debug)]
pub struct Photographer {
    job: Screenshot,
    stage: Stage,
    started: Instant,
    first_result_secs: Option<f64>,
    outcome: ShotResult,
}

impl Photographer {
    const PATIENCE: Duration = Duration::from_secs(60);
    const FRAMES_TO_SETTLE: u32 = 12;

    /// A photographer, and the place where it leaves how it went. The window started at `started`.
    #[must_use]
    pub fn new(job: Screenshot, started: Instant) -> (Self, ShotResult) {
        let outcome = ShotResult::default();
        let photographer =
            Self { job, stage: Stage::Waiting, started, first_result_secs: None, outcome: Arc::clone(&outcome) };
        (photographer, outcome)
    }

    /// Called once per frame, after everything was drawn. `trouble` is a message that the window shows instead of a
    /// result.
    pub fn step(&mut self, ctx: &egui::Context, progress: Progress, trouble: Option<&str>) {
        let elapsed = self.started.elapsed();
        if progress != Progress::Nothing {
            self.first_result_secs.get_or_insert(elapsed.as_secs_f64());
        }
        match &mut self.stage {
            Stage::Waiting => {
                if let Some(trouble) = trouble {
                    self.finish(ctx, Err(anyhow::anyhow!("{trouble}")));
                } else if progress == Progress::Settled {
                    self.stage = Stage::Settling { frames: 0 };
                } else if elapsed > Self::PATIENCE {
                    self.finish(ctx, Err(anyhow::anyhow!("no result after {} s", Self::PATIENCE.as_secs())));
                }
                ctx.request_repaint_after(Duration::from_millis(20));
            }
            Stage::Settling { frames } => {
                *frames += 1;
                if *frames == Self::FRAMES_TO_SETTLE {
                    let (sender, pixels) = channel();
                    // The receiver waits in the next stage; it can only be gone when the window is.
                    ctx.request_screenshot(move |image| drop(sender.send(image)));
                    self.stage = Stage::Asked { pixels };
                }
                ctx.request_repaint();
            }
            Stage::Asked { pixels } => {
                if let Ok(image) = pixels.try_recv() {
                    self.finish(ctx, save_png(&image, &self.job.png));
                }
                ctx.request_repaint();
            }
            Stage::Done => {}
        }
    }

    fn finish(&mut self, ctx: &egui::Context, result: anyhow::Result<()>) {
        let shot = Shot { first_result_secs: self.first_result_secs.unwrap_or(f64::NAN) };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.map(|()| shot));
        self.stage = Stage::Done;
        ctx.send_viewport_cmd(egui::ViewportCommand::Close);
    }
}

fn save_png(image: &egui::ColorImage, path: &Path) -> anyhow::Result<()> {
    let [width, height] = image.size.map(|side| side as u32);
    let rgb: Vec<u8> = image.pixels.iter().flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]).collect();
    write_whole(path, |out| {
        let encoder = image::codecs::png::PngEncoder::new(out);
        Ok(encoder.write_image(&rgb, width, height, image::ExtendedColorType::Rgb8)?)
    })
    .with_context(|| format!("cannot write {}", path.display()))
}
