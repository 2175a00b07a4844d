//! What the window remembers from one start to the next.

use super::state::OverlayKind;
use crate::engine::ProviderChoice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Remembered settings. Unknown or missing fields take their defaults, so that an older or damaged file never hurts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Light, dark or as the system says.
    pub theme: egui::ThemePreference,
    /// Scale of the whole window; 1 is 100 %.
    pub zoom: f32,
    /// What the heatmap shows.
    pub overlay: OverlayKind,
    /// Opacity of the heatmap, 0 to 1.
    pub opacity: f32,
    /// Whether the patch grid is drawn.
    pub grid: bool,
    /// Whether what the model did not see is dimmed.
    pub crop: bool,
    /// The model that was open last, if it was not the bundled one.
    pub model: Option<PathBuf>,
    /// The folder of the last file dialog.
    pub folder: Option<PathBuf>,
    /// What a model runs on, where a person chose it.
    pub providers: BTreeMap<PathBuf, ProviderChoice>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: egui::ThemePreference::System,
            zoom: 1.0,
            overlay: OverlayKind::ChosenExpert,
            opacity: 0.75,
            grid: true,
            crop: true,
            model: None,
            folder: None,
            providers: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The scales that the menu offers.
    pub const ZOOMS: [f32; 5] = [1.0, 1.25, 1.5, 1.75, 2.0];
    const KEY: &str = "settings";

    /// Reads the settings; the defaults where there are none or they cannot be read.
    #[must_use]
    pub fn load(storage: Option<&dyn eframe::Storage>) -> Self {
        storage.and_then(|storage| eframe::get_value::<Self>(storage, Self::KEY)).unwrap_or_default().sane()
    }

    /// Hands the settings to the storage.
    pub fn save(&self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, Self::KEY, self);
    }

    /// A file edited by hand may hold anything; nothing in it may make the window unusable.
    fn sane(mut self) -> Self {
        let or = |value: f32, default: f32| if value.is_finite() { value } else { default };
        self.zoom = or(self.zoom, 1.0).clamp(0.5, 3.0);
        self.opacity = or(self.opacity, 0.75).clamp(0.0, 1.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn senseless_values_become_usable_ones() {
        let senseless = Settings { zoom: f32::NAN, opacity: 7.0, ..Settings::default() };
        let sane = senseless.sane();
        assert_eq!((sane.zoom, sane.opacity), (1.0, 1.0));
        assert_eq!(Settings { zoom: 0.0, ..Settings::default() }.sane().zoom, 0.5);
    }
}
