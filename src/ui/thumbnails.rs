//! Small pictures for the lists, as textures: asked for when first seen, kept afterwards.

use super::state::ImageEntry;
use crate::analysis::{ImageId, ImageSpec, Thumbnails};
use egui::{ColorImage, TextureHandle, TextureOptions};
use std::cell::RefCell;
use std::collections::HashMap;

/// What a small picture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThumbnailKey {
    /// A bundled sample, whether it is open or not.
    Sample(&'static str),
    /// An open image.
    Image(ImageId),
}

impl ThumbnailKey {
    /// The key of an open image; a sample has the same one as in the strip.
    #[must_use]
    pub fn of(entry: &ImageEntry) -> Self {
        match entry.spec {
            ImageSpec::Sample(id) => Self::Sample(id),
            ImageSpec::File(_) | ImageSpec::Decoded(_) => Self::Image(entry.id),
        }
    }
}

/// The textures that are there, and the thread that makes the others.
pub struct ThumbnailTextures {
    worker: Thumbnails<ThumbnailKey>,
    /// `None` while it is being made, or when the image cannot be read.
    textures: RefCell<HashMap<ThumbnailKey, Option<TextureHandle>>>,
}

impl ThumbnailTextures {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(ctx: &egui::Context) -> std::io::Result<Self> {
        let wake = ctx.clone();
        Ok(Self { worker: Thumbnails::start(move || wake.request_repaint())?, textures: RefCell::default() })
    }

    /// Takes the pictures that are done.
    pub fn update(&self, ctx: &egui::Context) {
        while let Some((key, thumbnail)) = self.worker.poll() {
            let texture = thumbnail.map(|thumbnail| {
                let image = ColorImage::from_rgba_unmultiplied(thumbnail.size, &thumbnail.rgba);
                ctx.load_texture(format!("thumbnail {key:?}"), image, TextureOptions::LINEAR)
            });
            self.textures.borrow_mut().insert(key, texture);
        }
    }

    /// The texture, if it is there; the first call for a key asks for it.
    #[must_use]
    pub fn get(&self, key: ThumbnailKey, spec: &ImageSpec) -> Option<TextureHandle> {
        let mut textures = self.textures.borrow_mut();
        textures
            .entry(key)
            .or_insert_with(|| {
                self.worker.request(key, spec.clone());
                None
            })
            .clone()
    }
}
