//! The pinned wheels that ONNX Runtime's libraries come from. `build.rs` takes the one for the CPU from here, the program
//! those that a person installs.
//!
//! The Python registry keeps a wheel for good once it is published, and the checksum refuses any other. There is no
//! library for Intel's Macs and for C libraries other than glibc.

/// One wheel for one platform.
#[derive(Debug, PartialEq, Eq)]
pub struct Wheel {
    /// What it is called here.
    pub runtime: &'static str,
    /// Operating system, by Rust's name.
    pub os: &'static str,
    /// Processor, by Rust's name.
    pub arch: &'static str,
    /// Name of the Python package.
    pub package: &'static str,
    /// Version of the package.
    pub version: &'static str,
    /// pip's name of the platform.
    pub platform: &'static str,
    /// File name.
    pub file: &'static str,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
}

/// Version of ONNX Runtime that the build brings.
pub const CPU_VERSION: &str = "1.31.1";

/// The wheel of a runtime for a target, by Rust's names of the operating system, the processor and the C library.
pub fn find(runtime: &str, os: &str, arch: &str, env: &str) -> Option<&'static Wheel> {
    let fits = |wheel: &&Wheel| wheel.runtime == runtime && wheel.os == os && wheel.arch == arch;
    WHEELS.iter().filter(|_| os != "linux" || env == "gnu").find(fits)
}

/// All of them, in the order of the runtimes.
pub const WHEELS: &[Wheel] = &[
    Wheel {
        runtime: "cpu",
        os: "linux",
        arch: "x86_64",
        package: "onnxruntime",
        version: "1.31.1",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    },
    Wheel {
        runtime: "cpu",
        os: "linux",
        arch: "aarch64",
        package: "onnxruntime",
        version: "1.31.1",
        platform: "manylinux_2_28_aarch64",
        file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl",
        sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    },
    Wheel {
        runtime: "cpu",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime",
        version: "1.31.1",
        platform: "win_amd64",
        file: "onnxruntime-1.31.1-cp311-cp311-win_amd64.whl",
        sha256: "c3d91b5de31e2fc82d71bd65b2b22bddee8b49057a3a36338e9a868e0ea90c05",
    },
    Wheel {
        runtime: "cpu",
        os: "windows",
        arch: "aarch64",
        package: "onnxruntime",
        version: "1.31.1",
        platform: "win_arm64",
        file: "onnxruntime-1.31.1-cp311-cp311-win_arm64.whl",
        sha256: "93800007a7023b3ab26ad72e6463d0d57d84ead49a2f6341954d91438e046bc0",
    },
    Wheel {
        runtime: "cpu",
        os: "macos",
        arch: "aarch64",
        package: "onnxruntime",
        version: "1.31.1",
        platform: "macosx_14_0_arm64",
        file: "onnxruntime-1.31.1-cp311-cp311-macosx_14_0_arm64.whl",
        sha256: "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
    },
    Wheel {
        runtime: "webgpu",
        os: "linux",
        arch: "x86_64",
        package: "onnxruntime-webgpu",
        version: "1.27.0",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime_webgpu-1.27.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        sha256: "142eb8bdb803c58117bf64164d201f43180bc87229cac14b590aa4ea79e0f70b",
    },
    Wheel {
        runtime: "webgpu",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime-webgpu",
        version: "1.27.0",
        platform: "win_amd64",
        file: "onnxruntime_webgpu-1.27.0-cp311-cp311-win_amd64.whl",
        sha256: "c2de23fb6bb775f86d2eef57e3cac6f885d16289a84e6232d2e78803f84f38c5",
    },
    Wheel {
        runtime: "webgpu",
        os: "macos",
        arch: "aarch64",
        package: "onnxruntime-webgpu",
        version: "1.27.0",
        platform: "macosx_14_0_arm64",
        file: "onnxruntime_webgpu-1.27.0-cp311-cp311-macosx_14_0_arm64.whl",
        sha256: "f39aec2f3e252dd445759065e1a7cd11f910fc87ce5de6e2edb1846ef7020034",
    },
    Wheel {
        runtime: "webgpu-plugin",
        os: "linux",
        arch: "x86_64",
        package: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime_ep_webgpu-0.4.0-py3-none-manylinux_2_28_x86_64.whl",
        sha256: "5d8c961eda91a88961cad1fb7621f389f006b18497d6ea9ecf96f729f066cbfb",
    },
    Wheel {
        runtime: "webgpu-plugin",
        os: "linux",
        arch: "aarch64",
        package: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        platform: "manylinux_2_28_aarch64",
        file: "onnxruntime_ep_webgpu-0.4.0-py3-none-manylinux_2_28_aarch64.whl",
        sha256: "17f660db53b1a509c63e721ac6784a2daa1c4e91a968523ee9986505ee5b0a55",
    },
    Wheel {
        runtime: "webgpu-plugin",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        platform: "win_amd64",
        file: "onnxruntime_ep_webgpu-0.4.0-py3-none-win_amd64.whl",
        sha256: "7db646669d1a2390551da675115ea125e68cb3d4d2c3a2d6e463372bf8d6ea87",
    },
    Wheel {
        runtime: "webgpu-plugin",
        os: "windows",
        arch: "aarch64",
        package: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        platform: "win_arm64",
        file: "onnxruntime_ep_webgpu-0.4.0-py3-none-win_arm64.whl",
        sha256: "a9586f6744370776059edd794c11bca2f563258a5bd2707864aefff31d3af39f",
    },
    Wheel {
        runtime: "webgpu-plugin",
        os: "macos",
        arch: "aarch64",
        package: "onnxruntime-ep-webgpu",
        version: "0.4.0",
        platform: "macosx_14_0_arm64",
        file: "onnxruntime_ep_webgpu-0.4.0-py3-none-macosx_14_0_universal2.whl",
        sha256: "8d0a91d44b43d931c3068b9134aed9770f27803e353c2b58c93e1700bb68bcca",
    },
    Wheel {
        runtime: "cuda",
        os: "linux",
        arch: "x86_64",
        package: "onnxruntime-gpu",
        version: "1.31.1",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
    },
    Wheel {
        runtime: "cuda",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime-gpu",
        version: "1.31.1",
        platform: "win_amd64",
        file: "onnxruntime_gpu-1.31.1-cp311-cp311-win_amd64.whl",
        sha256: "fd98341ba71c093153f0dcfc53eb69d57f706866fb45e94e5b0cde5d97a50dbf",
    },
    Wheel {
        runtime: "directml",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime-directml",
        version: "1.24.4",
        platform: "win_amd64",
        file: "onnxruntime_directml-1.24.4-cp311-cp311-win_amd64.whl",
        sha256: "96642a787e5a6f33bf043521c0f06eb1eb663f6b830e5862a2026d03f9c90543",
    },
    Wheel {
        runtime: "openvino",
        os: "linux",
        arch: "x86_64",
        package: "onnxruntime-openvino",
        version: "1.24.1",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime_openvino-1.24.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8",
    },
    Wheel {
        runtime: "openvino",
        os: "windows",
        arch: "x86_64",
        package: "onnxruntime-openvino",
        version: "1.24.1",
        platform: "win_amd64",
        file: "onnxruntime_openvino-1.24.1-cp311-cp311-win_amd64.whl",
        sha256: "8042698232bf67f1f6b219c2b07728d7ae7ddff17d8524588de3675480609aef",
    },
];
