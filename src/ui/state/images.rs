//! The images that are open, in the order in which they were opened.

use super::AppState;
use crate::analysis::{ImageId, ImageSpec};
use crate::input::DecodedImage;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One open image.
#[derive(Clone, Debug)]
pub struct ImageEntry {
    /// Its name within this session.
    pub id: ImageId,
    /// Where its pixels come from.
    pub spec: ImageSpec,
    /// Name on screen: a file name, a sample's title, or "Pasted image 1".
    pub title: String,
    /// Width and height in pixels, once decoded.
    pub size: Option<[u32; 2]>,
    /// The best prediction, once there: label and probability.
    pub best: Option<(String, f32)>,
    /// Why it cannot be shown.
    pub error: Option<String>,
}

/// The open images and which of them is wanted on screen.
#[derive(Debug, Default)]
pub struct ImageList {
    /// In the order of their ids.
    entries: Vec<ImageEntry>,
    /// Those that are files: a person may open thousands at once.
    files: HashMap<PathBuf, ImageId>,
    current: Option<ImageId>,
    next_id: u64,
    pasted: u32,
}

impl ImageList {
    /// The images in order.
    #[must_use]
    pub fn entries(&self) -> &[ImageEntry] {
        &self.entries
    }

    /// The image that is wanted on screen.
    #[must_use]
    pub fn current(&self) -> Option<&ImageEntry> {
        self.current.and_then(|id| self.get(id))
    }

    /// The image of an id, unless it was closed.
    #[must_use]
    pub fn get(&self, id: ImageId) -> Option<&ImageEntry> {
        self.entries.get(self.place_of(id)?)
    }

    /// The image of an id, to note what became known of it.
    pub fn get_mut(&mut self, id: ImageId) -> Option<&mut ImageEntry> {
        let place = self.place_of(id)?;
        self.entries.get_mut(place)
    }

    /// Adds an image, unless the same one is open already, and makes it the current one.
    pub fn open(&mut self, spec: ImageSpec) -> ImageId {
        let open = match &spec {
            ImageSpec::File(path) => self.files.get(path).copied(),
            other => self.entries.iter().find(|entry| entry.spec == *other).map(|entry| entry.id),
        };
        let id = open.unwrap_or_else(|| self.add(spec));
        self.current = Some(id);
        id
    }

    fn place_of(&self, id: ImageId) -> Option<usize> {
        self.entries.binary_search_by_key(&id.0, |entry| entry.id.0).ok()
    }

    fn add(&mut self, spec: ImageSpec) -> ImageId {
        let title = match &spec {
            ImageSpec::File(path) => file_name(path),
            ImageSpec::Sample(id) => crate::input::SAMPLES
                .iter()
                .find(|sample| sample.id == *id)
                .map_or_else(|| (*id).to_owned(), |sample| sample.title.to_owned()),
            ImageSpec::Decoded(_) => {
                self.pasted += 1;
                format!("Pasted image {}", self.pasted)
            }
        };
        let id = ImageId(self.next_id);
        self.next_id += 1;
        if let ImageSpec::File(path) = &spec {
            self.files.insert(path.clone(), id);
        }
        self.entries.push(ImageEntry { id, spec, title, size: None, best: None, error: None });
        id
    }

    /// Makes an open image the current one.
    pub fn select(&mut self, id: ImageId) {
        if self.get(id).is_some() {
            self.current = Some(id);
        }
    }

    /// Moves by so many places, wrapping around.
    pub fn step(&mut self, places: isize) {
        let Some(at) = self.entries.iter().position(|entry| Some(entry.id) == self.current) else { return };
        let to = (at as isize + places).rem_euclid(self.entries.len() as isize);
        self.current = Some(self.entries[to as usize].id);
    }

    /// Takes an image off the list; its neighbour becomes current if it was.
    pub fn close(&mut self, id: ImageId) {
        let Some(at) = self.place_of(id) else { return };
        if let ImageSpec::File(path) = self.entries.remove(at).spec {
            self.files.remove(&path);
        }
        if self.current == Some(id) {
            let neighbour = self.entries.get(at).or_else(|| self.entries.last());
            self.current = neighbour.map(|entry| entry.id);
        }
    }
}

/// The last part of a path for the screen; characters that are not Unicode are replaced.
pub(in crate::ui) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl AppState {
    pub(super) fn open_image(&mut self, spec: ImageSpec) {
        let id = self.images.open(spec);
        self.retry_and(id, ImageList::select);
    }

    /// An image that could not be read is tried again when it is asked for again: the file may be whole now.
    pub(super) fn retry_and(&mut self, id: ImageId, act: impl FnOnce(&mut ImageList, ImageId)) {
        if let Some(entry) = self.images.get_mut(id) {
            entry.error = None;
        }
        act(&mut self.images, id);
    }

    pub(super) fn close_image(&mut self, id: ImageId) {
        self.images.close(id);
        if self.images.current().is_none() {
            self.results.clear();
            self.decoded = None;
        }
    }

    pub(super) fn image_decoded(&mut self, image: ImageId, decoded: Arc<DecodedImage>) {
        if let Some(entry) = self.images.get_mut(image) {
            entry.size = Some([decoded.width, decoded.height]);
        }
        self.decoded = Some((image, decoded));
    }

    /// What was shown stays; the image keeps its place in the list, marked.
    pub(super) fn image_failed(&mut self, image: ImageId, message: String) {
        self.updating = false;
        let Some(entry) = self.images.get_mut(image) else { return };
        let title = format!("Could not open {}", entry.title);
        entry.error = Some(message.clone());
        let shown = self.results.shown().map(|shown| shown.image);
        if let Some(shown) = shown.filter(|shown| self.images.get(*shown).is_some()) {
            self.images.select(shown);
        }
        self.notify(title, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> (ImageList, Vec<ImageId>) {
        let mut list = ImageList::default();
        let ids = names.iter().map(|name| list.open(ImageSpec::File(name.into()))).collect();
        (list, ids)
    }

    #[test]
    fn stepping_wraps_around_at_both_ends() {
        let (mut list, ids) = list(&["a", "b", "c"]);
        list.step(1);
        assert_eq!(list.current().unwrap().id, ids[0]);
        list.step(-1);
        assert_eq!(list.current().unwrap().id, ids[2]);
    }

    #[test]
    fn opening_the_same_file_again_selects_it() {
        let (mut list, ids) = list(&["a", "b"]);
        assert_eq!(list.open(ImageSpec::File("a".into())), ids[0]);
        assert_eq!((list.entries().len(), list.current().unwrap().id), (2, ids[0]));
    }

    /// Looking through the list for each of them would take minutes.
    #[test]
    fn a_folder_of_images_is_opened_at_once() {
        let started = std::time::Instant::now();
        let mut list = ImageList::default();
        let open =
            |list: &mut ImageList, at: usize| list.open(ImageSpec::File(format!("folder/photo {at}.jpg").into()));
        let ids: Vec<ImageId> = (0..20_000).map(|at| open(&mut list, at)).collect();
        assert!(ids.iter().all(|&id| list.get(id).is_some_and(|entry| entry.id == id)));
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        list.close(ids[7]);
        assert!(list.get(ids[7]).is_none() && open(&mut list, 8) == ids[8]);
        assert!(open(&mut list, 7) != ids[7], "it was closed");
    }

    #[test]
    fn closing_the_current_image_shows_its_neighbour_and_at_last_none() {
        let (mut list, ids) = list(&["a", "b", "c"]);
        list.select(ids[1]);
        list.close(ids[1]);
        assert_eq!(list.current().unwrap().id, ids[2]);
        list.close(ids[2]);
        assert_eq!(list.current().unwrap().id, ids[0]);
        list.close(ids[0]);
        assert!(list.current().is_none());
        list.step(1);
    }
}
