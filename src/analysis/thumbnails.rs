//! Small pictures for lists, made on a thread of their own, so that a long list of large files delays nothing.

use super::service::ImageSpec;
use crate::input::{DecodedImage, decode_file, decode_sample};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A small picture, 8-bit RGBA, rows from top to bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail {
    /// Width and height in pixels; the longer one is at most [`Thumbnail::MAX_SIDE`].
    pub size: [usize; 2],
    /// `size[0] * size[1] * 4` bytes.
    pub rgba: Vec<u8>,
}

impl Thumbnail {
    /// Longest side in pixels: 64 points at a scale of 200 %.
    pub const MAX_SIDE: u32 = 128;

    fn of(image: &DecodedImage) -> Option<Self> {
        let whole = image::ImageBuffer::<image::Rgba<u8>, &[u8]>::from_raw(image.width, image.height, &image.rgba)?;
        let scale = f64::from(Self::MAX_SIDE) / f64::from(image.width.max(image.height));
        let side = |side: u32| ((f64::from(side) * scale.min(1.0)).round() as u32).max(1);
        let small = image::imageops::thumbnail(&whole, side(image.width), side(image.height));
        Some(Self { size: [small.width() as usize, small.height() as usize], rgba: small.into_raw() })
    }
}

/// The queue and its thread. The latest request is served first: it is what the person looks at now.
#[derive(Debug)]
pub struct Thumbnails<K> {
    queue: Arc<Queue<K>>,
    done: Receiver<(K, Option<Thumbnail>)>,
}

#[derive(Debug)]
struct Queue<K> {
    waiting: Mutex<Waiting<K>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<K> {
    jobs: VecDeque<(K, ImageSpec)>,
    closed: bool,
}

impl<K: Send + 'static> Thumbnails<K> {
    /// Starts the thread. `wake` is called after every picture, from that thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let waiting = Mutex::new(Waiting { jobs: VecDeque::new(), closed: false });
        let queue = Arc::new(Queue { waiting, changed: Condvar::new() });
        let (sender, done) = channel();
        let shared = Arc::clone(&queue);
        std::thread::Builder::new().name("moescope-thumbnails".into()).spawn(move || serve(&shared, &sender, &wake))?;
        Ok(Self { queue, done })
    }

    /// Asks for the picture of an image; it comes through [`poll`](Self::poll) under its key.
    pub fn request(&self, key: K, spec: ImageSpec) {
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_front((key, spec));
        self.queue.changed.notify_one();
    }

    /// The next picture that is done, `None` in it where the image cannot be read; never waits.
    #[must_use]
    pub fn poll(&self) -> Option<(K, Option<Thumbnail>)> {
        self.done.try_recv().ok()
    }
}

impl<K> Drop for Thumbnails<K> {
    fn drop(&mut self) {
        // The thread ends by itself after the picture in work; nobody needs to wait for that.
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.queue.changed.notify_one();
    }
}

fn serve<K>(queue: &Queue<K>, sender: &Sender<(K, Option<Thumbnail>)>, wake: &(impl Fn() + Send)) {
    loop {
        let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            if waiting.closed {
                return;
            }
            match waiting.jobs.pop_front() {
                Some(job) => break job,
                None => waiting = queue.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(waiting);
        let (key, spec) = job;
        let image = match spec {
            ImageSpec::File(path) => decode_file(&path).ok().map(Arc::new),
            ImageSpec::Sample(id) => decode_sample(id).ok().map(Arc::new),
            ImageSpec::Decoded(image) => Some(image),
        };
        if sender.send((key, image.and_then(|image| Thumbnail::of(&image)))).is_err() {
            return;
        }
        wake();
    }
}
