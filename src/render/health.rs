//! What a graphics device tells of itself while a window uses it. Unheard, a lost device freezes the window and an error
//! ends the program.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Hears of one device; copies hear of the same.
#[derive(Clone, Debug, Default)]
pub struct DeviceHealth(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    lost: OnceLock<String>,
    error: Mutex<Report>,
}

/// The first error; the same one may come back with every frame.
#[derive(Debug, Default)]
enum Report {
    #[default]
    None,
    New(String),
    Told,
}

impl DeviceHealth {
    /// Listens to a device from now on; `wake` is called when there is something to tell.
    #[must_use]
    pub fn listen(device: &wgpu::Device, wake: impl Fn() + Clone + Send + Sync + 'static) -> Self {
        let health = Self::default();
        let (heard, wake_up) = (Arc::clone(&health.0), wake.clone());
        device.set_device_lost_callback(move |reason, message| {
            let text = if message.is_empty() { format!("{reason:?}") } else { message };
            // A device is lost only once.
            drop(heard.lost.set(text));
            wake_up();
        });
        let heard = Arc::clone(&health.0);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut report = heard.error.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*report, Report::None) {
                *report = Report::New(error.to_string());
                wake();
            }
        }));
        health
    }

    /// Why the device is gone, if it is.
    #[must_use]
    pub fn lost(&self) -> Option<&str> {
        self.0.lost.get().map(String::as_str)
    }

    /// The first error of the device that nobody expected; told once.
    #[must_use]
    pub fn take_error(&self) -> Option<String> {
        let mut report = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *report, Report::Told) {
            Report::New(error) => Some(error),
            Report::Told => None,
            Report::None => {
                *report = Report::None;
                None
            }
        }
    }
}
