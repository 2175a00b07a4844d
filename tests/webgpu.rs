//! WebGPU, truly run: the pinned library is installed as a person would, and where there is no graphics card, it draws on
//! a software driver. Needs pip, and on Debian 12 apt, to bring both on the first run.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CAT: &str = "assets/samples/cat.jpg";

/// A home for installed runtimes that outlives the test, so that they are brought once.
fn data_home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtimes")
}

/// The program, with the driver that it shall use.
fn moescope(args: &[&str]) -> Command {
    static DRIVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let driver = DRIVER.get_or_init(|| {
        let driver = driver();
        install();
        driver
    });
    let mut command = plain_moescope(args);
    if let Some(root) = driver {
        let file = root.join("usr/share/vulkan/icd.d/lvp_icd.json");
        command.env("VK_DRIVER_FILES", &file).env("VK_ICD_FILENAMES", &file);
        command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    }
    command
}

fn plain_moescope(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moescope"));
    command.args(args).env("XDG_DATA_HOME", data_home()).env_remove("ORT_DYLIB_PATH").current_dir(ROOT);
    command
}

/// The unpacked software driver; `None` where the system's own is to be used.
fn driver() -> Option<PathBuf> {
    let render_nodes = std::fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    if render_nodes.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("renderD")) {
        return None;
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vulkan-driver");
    let script = Path::new(ROOT).join("scripts/vulkan-driver.sh");
    let status = Command::new("sh").arg(script).arg(&root).status().unwrap();
    assert!(status.success(), "scripts/vulkan-driver.sh: {status}");
    root.is_dir().then_some(root)
}

fn install() {
    let (code, _, errors) = run(&mut plain_moescope(&["runtime", "install", "webgpu"]));
    assert_eq!(code, Some(0), "{errors}");
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(command: &mut Command) -> Value {
    let (code, out, errors) = run(command);
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn the_doctor_starts_webgpu_and_tells_what_is_not_installed() {
    let doctor = json(&mut moescope(&["runtime", "doctor", "--json"]));
    let verdict = |provider: &str| {
        let providers = doctor["providers"].as_array().unwrap();
        providers.iter().find(|row| row["provider"] == provider).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (verdict("cpu"), verdict("webgpu"), verdict("directml")),
        ("starts".into(), "starts".into(), "not_installed".into())
    );
}

#[test]
fn the_placement_tells_every_node() {
    let placement = json(&mut moescope(&["placement", "--require-provider", "webgpu", "--json"]));
    let count = |key: &str| placement[key].as_u64().unwrap();
    let ops = placement["ops"].as_array().unwrap();
    let sum = |provider: &str| -> u64 {
        ops.iter().filter(|op| op["provider"] == provider).map(|op| op["count"].as_u64().unwrap()).sum()
    };
    let (gpu, cpu) = (sum("WebGpuExecutionProvider"), sum("CPUExecutionProvider"));
    assert_eq!((gpu, gpu + cpu), (count("num_nodes_on_provider"), count("num_nodes")));
    // Every layer asks by one NonZero which patches an expert has; WebGPU has no kernel for that.
    let non_zero = ops.iter().find(|op| op["op"] == "NonZero").unwrap();
    assert_eq!(
        (non_zero["count"].as_u64().unwrap(), non_zero["provider"].as_str().unwrap()),
        (count("moe_layers"), "CPUExecutionProvider")
    );
    assert!(gpu > cpu && count("copies") > 0, "{placement}");
}

#[test]
fn webgpu_agrees_with_the_cpu_to_rounding() {
    let parity = json(&mut moescope(&["parity", CAT, "--provider", "webgpu", "--run-deadline", "600", "--json"]));
    assert_eq!((&parity["reference"]["provider"], &parity["other"]["provider"]), (&"cpu".into(), &"webgpu".into()));
    assert_eq!(parity["same_best_class"], true);
    assert!(parity["max_logit_difference"].as_f64().unwrap() < 1e-3, "{parity}");
    // A patch may change its expert where the gates are as close as rounding, and nowhere else.
    assert!(parity["largest_flipped_margin"].as_f64().unwrap_or(0.0) < 1e-4, "{parity}");
}

#[test]
fn without_a_driver_the_cpu_runs_and_that_is_told() {
    let without = |args: &[&str]| run(moescope(args).env("VK_DRIVER_FILES", "none").env("VK_ICD_FILENAMES", "none"));
    let (code, _, errors) = without(&["classify", CAT, "--require-provider", "webgpu"]);
    assert!(code == Some(1) && errors.contains("WebGPU does not start"), "{errors}");
    let (code, out, errors) = without(&["classify", CAT, "--provider", "webgpu"]);
    assert!(code == Some(0) && errors.contains("WebGPU did not start") && out.contains("CPU"), "{out}{errors}");
    let (code, out, _) = without(&["runtime", "doctor"]);
    assert!(code == Some(1) && out.contains("WebGPU    does not start") && out.contains("Vulkan"), "{out}");
}
