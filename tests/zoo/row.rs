//! A row of the zoo: row.json and golden.npz, as models/zoo/README.md describes them.

#![allow(dead_code, reason = "each test takes what it needs")]

use moescope::engine::{Tensor, TensorData};
use ndarray::ArrayD;
use ndarray_npy::{ReadNpyExt, ReadableElement};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// One folder below models/zoo/rows.
pub struct Row {
    pub name: String,
    json: Value,
    folder: PathBuf,
}

/// All rows, by name.
pub fn rows() -> Vec<Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows");
    let mut rows: Vec<Row> = fs::read_dir(root).unwrap().map(|entry| Row::read(entry.unwrap().path())).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

impl Row {
    fn read(folder: PathBuf) -> Self {
        let json = serde_json::from_slice(&fs::read(folder.join("row.json")).unwrap()).unwrap();
        Self { name: folder.file_name().unwrap().to_string_lossy().into_owned(), json, folder }
    }

    pub fn model_path(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    pub fn routers(&self) -> &[Value] {
        self.json["routers"].as_array().unwrap()
    }

    /// Layers of experts that no gate chooses.
    pub fn fixed(&self) -> Vec<Value> {
        self.json["fixed"].as_array().cloned().unwrap_or_default()
    }

    /// Whether golden values are one draw of several.
    pub fn is_random(&self) -> bool {
        self.json["random"] == true
    }

    /// How far values may differ, where the numbers are of another format than PyTorch's.
    pub fn tolerance(&self) -> Option<f64> {
        (self.json["approximate"] == true).then(|| self.json["tolerance"].as_f64().unwrap())
    }

    /// Inputs for which the graph computes what PyTorch computes; a frozen export does not for all.
    pub fn comparable_inputs(&self) -> Vec<usize> {
        let differences = self.json["max_difference"].as_array().unwrap();
        let limit = self.json["tolerance"].as_f64().unwrap();
        let right = |index: &usize| differences[*index].as_f64().is_some_and(|difference| difference <= limit);
        (0..differences.len()).filter(right).collect()
    }

    pub fn golden(&self) -> Golden {
        Golden::open(&self.folder.join("golden.npz")).unwrap()
    }

    /// What PyTorch computes with other choices, where that was recorded.
    pub fn changed(&self) -> Option<Golden> {
        Golden::open(&self.folder.join("changed.npz"))
    }
}

/// Arrays by name.
pub struct Golden {
    archive: ZipArchive<File>,
}

impl Golden {
    fn open(path: &Path) -> Option<Self> {
        File::open(path).ok().map(|file| Self { archive: ZipArchive::new(file).unwrap() })
    }

    fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.archive.by_name(&format!("{name}.npy")).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    fn array<T: ReadableElement>(bytes: &[u8]) -> Option<ArrayD<T>> {
        ArrayD::read_npy(bytes).ok()
    }

    /// All graph inputs of input number `index`.
    pub fn inputs(&mut self, index: usize) -> Vec<Tensor> {
        let prefix = format!("input.{index}.");
        let names: Vec<String> = self.archive.file_names().map(str::to_owned).collect();
        let names = names.iter().filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix(".npy"));
        names.map(|name| self.tensor(&format!("{prefix}{name}"), name)).collect()
    }

    fn tensor(&mut self, key: &str, name: &str) -> Tensor {
        let bytes = self.bytes(key).unwrap();
        let (shape, data) = if let Some(floats) = Self::array::<f32>(&bytes) {
            (floats.shape().to_vec(), TensorData::F32(floats.into_iter().collect()))
        } else {
            let ints = Self::array::<i64>(&bytes).unwrap();
            (ints.shape().to_vec(), TensorData::I64(ints.into_iter().collect()))
        };
        Tensor { name: name.to_owned(), shape, data }
    }

    /// A recorded tensor as floats: integers and truth values are small enough for that.
    pub fn floats(&mut self, name: &str) -> Option<ArrayD<f64>> {
        let bytes = self.bytes(name)?;
        let floats = Self::array::<f32>(&bytes).map(|array| array.mapv(f64::from));
        let ints = || Self::array::<i64>(&bytes).map(|array| array.mapv(|int| int as f64));
        let bools = || Self::array::<bool>(&bytes).map(|array| array.mapv(f64::from));
        Some(floats.or_else(ints).or_else(bools).unwrap())
    }
}
