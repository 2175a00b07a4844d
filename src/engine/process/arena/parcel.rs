//! How a tensor that lies in an arena is described to the other process, and how it is read there.

use crate::engine::{Tensor, TensorData, Values};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// Tensors begin at multiples of this, which suits every instruction set.
pub(super) const ALIGNMENT: usize = 64;

/// A tensor in an arena.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine::process) struct Parcel {
    pub(super) name: String,
    /// As the tensor says; whether its values fill it is for others to check.
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    /// Number of values.
    pub(super) len: usize,
    /// Bytes from the arena's start.
    pub(super) offset: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Element {
    F32,
    I64,
}

impl Parcel {
    /// The parcel of a tensor whose values are put at `offset`.
    pub(super) fn of(tensor: &Tensor, offset: usize) -> Self {
        let element = match tensor.data {
            TensorData::F32(_) => Element::F32,
            TensorData::I64(_) => Element::I64,
        };
        Self { name: tensor.name.clone(), shape: tensor.shape.clone(), element, len: tensor.data.len(), offset }
    }

    /// Bytes; `None` beyond what a number can hold.
    pub(super) fn num_bytes(&self) -> Option<usize> {
        self.len.checked_mul(match self.element {
            Element::F32 => size_of::<f32>(),
            Element::I64 => size_of::<i64>(),
        })
    }

    /// The tensor over the memory that it was found to lie in.
    pub(super) fn unpack(self, map: &Arc<Mmap>) -> Tensor {
        let bytes = self.offset..self.end().unwrap_or(self.offset);
        let data = match self.element {
            Element::F32 => TensorData::F32(Lent::values(map, bytes)),
            Element::I64 => TensorData::I64(Lent::values(map, bytes)),
        };
        Tensor { name: self.name, shape: self.shape, data }
    }

    /// The byte after the last; `None` for a place where no tensor can lie.
    pub(super) fn end(&self) -> Option<usize> {
        self.offset.checked_add(self.num_bytes()?).filter(|_| self.offset.is_multiple_of(ALIGNMENT))
    }
}

/// Values in an arena.
struct Lent<T> {
    map: Arc<Mmap>,
    /// Within the map, and aligned for `T`.
    bytes: Range<usize>,
    element: PhantomData<T>,
}

impl<T: bytemuck::AnyBitPattern + Send + Sync> Lent<T> {
    fn values(map: &Arc<Mmap>, bytes: Range<usize>) -> Values<T> {
        Values::of(Self { map: Arc::clone(map), bytes, element: PhantomData })
    }
}

impl<T: bytemuck::AnyBitPattern> AsRef<[T]> for Lent<T> {
    fn as_ref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[self.bytes.clone()])
    }
}

/// The values of a tensor as they lie in memory.
pub(super) fn bytes(data: &TensorData) -> &[u8] {
    match data {
        TensorData::F32(values) => bytemuck::cast_slice(values),
        TensorData::I64(values) => bytemuck::cast_slice(values),
    }
}
