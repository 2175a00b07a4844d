//! What the program does to, and without, the machine around it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn moescope() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moescope"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn classifying_leaves_nothing_in_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples/cat.jpg");
    let output = moescope()
        .arg("classify")
        .arg(sample)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files_below(home.path()), Vec::<PathBuf>::new());
}

#[test]
#[cfg(all(target_os = "linux", feature = "gui"))]
fn without_a_display_the_headless_commands_are_named() {
    let home = tempfile::tempdir().unwrap();
    let output = moescope()
        .env("HOME", home.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("moescope classify") && errors.contains("moescope render"), "{errors}");
}

#[test]
#[cfg(all(target_os = "linux", feature = "gui"))]
fn without_a_graphics_driver_it_is_said_what_to_install() {
    let home = tempfile::tempdir().unwrap();
    let output = moescope()
        .env("HOME", home.path())
        .env_remove("WGPU_BACKEND")
        .envs(["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"].map(|it| (it, "/nonexistent")))
        .args(["--screenshot", "window.png"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("mesa-vulkan-drivers") && errors.contains("moescope render"), "{errors}");
}
