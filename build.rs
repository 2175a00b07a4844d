//! Brings ONNX Runtime, so that `cargo build` alone gives a program that runs.
//!
//! The library comes out of the pinned Python wheel, which `pip` fetches from the index that the user has set up. It is
//! unpacked once beside the profile folders (`target/onnxruntime-VERSION`), so that debug and release builds share one
//! download, and linked into the profile's folder, where it lies beside the executable. A build without Python or
//! network still succeeds: the program then says what is missing.

#[path = "build/wheel.rs"]
mod wheel;

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build/wheel.rs");
    println!("cargo:rerun-if-env-changed=ORT_DYLIB_PATH");
    println!("cargo:rustc-env=MOESCOPE_ORT_VERSION={}", wheel::VERSION);
    if env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty()) {
        return;
    }
    if let Err(problem) = bring_library() {
        println!("cargo:warning=ONNX Runtime was not obtained: {problem}");
        println!(
            "cargo:warning=The program builds without it and says so when it starts. Either install Python 3 with pip, \
             check the network and build again, or set ORT_DYLIB_PATH to an ONNX Runtime library."
        );
    }
}

/// Puts the library into the profile's folder and tells the crate where.
fn bring_library() -> Result<(), String> {
    let var = |name| env::var(name).map_err(|_| format!("cargo did not set {name}"));
    let (os, arch) = (var("CARGO_CFG_TARGET_OS")?, var("CARGO_CFG_TARGET_ARCH")?);
    let wheel = wheel::for_target(&os, &arch, &var("CARGO_CFG_TARGET_ENV").unwrap_or_default())?;
    let profile = profile_folder(Path::new(&var("OUT_DIR")?))?;
    let folder = format!("onnxruntime-{}", wheel::VERSION);
    let here = profile.join(&folder);
    let library = here.join(wheel.library_file());
    // A file that is not there makes cargo run this script again: a failed download is tried again by the next build.
    println!("cargo:rerun-if-changed={}", library.display());
    if !library.is_file() {
        let shared = profile.parent().unwrap_or(&profile).join(&folder);
        if !shared.join(wheel.library_file()).is_file() {
            wheel.download_and_unpack(&shared)?;
        }
        wheel::link_folder(&shared, &here, wheel.library_file())?;
    }
    println!("cargo:rustc-env=MOESCOPE_ORT_LIBRARY={}", library.display());
    Ok(())
}

/// The folder that the executable is built into: the one that holds cargo's `build` folder.
fn profile_folder(out_dir: &Path) -> Result<PathBuf, String> {
    out_dir
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "build"))
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} does not lie in cargo's build folder", out_dir.display()))
}
