//! Brings ONNX Runtime, so that `cargo build` alone gives a program that runs.
//!
//! The library comes out of the pinned Python wheel, which `pip` fetches from the index that the user has set up. It is
//! unpacked once beside the profile folders (`target/onnxruntime-VERSION`), so that debug and release builds share one
//! download, and linked into the profile's folder, where it lies beside the executable. A build without Python or
//! network still succeeds: the program then says what is missing.

/// The program installs other wheels by the same code.
#[path = "src/engine/runtime/catalogue.rs"]
mod catalogue;
#[path = "src/engine/runtime/fetch.rs"]
mod fetch;

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/engine/runtime/catalogue.rs");
    println!("cargo:rerun-if-changed=src/engine/runtime/fetch.rs");
    println!("cargo:rerun-if-env-changed=ORT_DYLIB_PATH");
    println!("cargo:rustc-env=MOESCOPE_ORT_VERSION={}", catalogue::CPU_VERSION);
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
    let libc = var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    let version = catalogue::CPU_VERSION;
    let wheel = catalogue::find("cpu", &os, &arch, &libc)
        .ok_or_else(|| format!("there is no wheel of onnxruntime {version} for {os} on {arch} ({libc})"))?;
    let name = match os.as_str() {
        "windows" => "onnxruntime.dll".to_owned(),
        "macos" => format!("libonnxruntime.{version}.dylib"),
        _ => format!("libonnxruntime.so.{version}"),
    };
    let profile = profile_folder(Path::new(&var("OUT_DIR")?))?;
    let folder = format!("onnxruntime-{version}");
    let here = profile.join(&folder);
    let library = here.join(&name);
    // A file that is not there makes cargo run this script again: a failed download is tried again by the next build.
    println!("cargo:rerun-if-changed={}", library.display());
    if !library.is_file() {
        let shared = profile.parent().unwrap_or(&profile).join(&folder);
        if !shared.join(&name).is_file() {
            make_room(&shared)?;
            fetch::install(wheel, &shared, make_all_old)?;
        }
        make_room(&here)?;
        link_folder(&shared, &here)?;
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

/// A folder without the library is a leftover.
fn make_room(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot replace {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Gives `to` the files of `from`: hard links where the file system has them, else copies.
fn link_folder(from: &Path, to: &Path) -> Result<(), String> {
    let link = |into: &Path| -> io::Result<()> {
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = into.join(entry.file_name());
            if fs::hard_link(entry.path(), &target).is_err() {
                fs::copy(entry.path(), &target)?;
                make_old(&target)?;
            }
        }
        Ok(())
    };
    let work = fetch::TempFolder::beside(to)?;
    let linked = work.0.join("linked");
    link(&linked).map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))?;
    fetch::publish(&linked, to)
}

fn make_all_old(folder: &Path) -> io::Result<()> {
    fs::read_dir(folder)?.try_for_each(|entry| make_old(&entry?.path()))
}

/// A file written while a build script runs looks newer than the script's run, and cargo would run it again each time.
fn make_old(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(24))
}
