//! Memory that the program and a worker share, so that a tensor crosses with one copy on its way there and two on its way
//! back.
//!
//! Each direction has an arena of its own with one [`Writer`] and one [`Reader`]. The program trusts nothing: a worker may
//! have been taken over by its model, so places and sizes are checked against the real size of the file, and values are
//! copied out, once, before anybody looks at them: the worker could change them between two looks. The worker has the
//! program's word instead, and lets its model read the inputs where they lie. On Linux the file exists in memory only and
//! is sealed against shrinking, which would kill the reader.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
mod parcel;

pub(super) use parcel::Parcel;

use crate::engine::Tensor;
#[cfg(target_os = "linux")]
use linux::{Place, reserve};
use memmap2::{Mmap, MmapMut};
#[cfg(not(target_os = "linux"))]
use other::{Place, reserve};
use parcel::{ALIGNMENT, bytes};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Before the tensors the writer counts what it has begun.
const COUNTER: Range<usize> = 0..size_of::<u32>();
/// An arena begins with this size: enough for a classifier.
const FIRST_BYTES: usize = 1 << 20;
/// More than this is not taken from a worker in one run.
const MAX_TAKEN_BYTES: usize = 4 << 30;

/// Shared memory, and how the other process finds it.
#[derive(Debug)]
pub(super) struct Arena {
    file: File,
    place: Place,
}

impl Arena {
    /// Makes an arena that [`address`](Self::address) leads to.
    ///
    /// # Errors
    /// When the system gives no memory, or no room for the file.
    pub(super) fn create() -> io::Result<Self> {
        let (file, place) = Place::create()?;
        reserve(&file, FIRST_BYTES)?;
        Ok(Self { file, place })
    }

    /// Opens the arena that another process made.
    ///
    /// # Errors
    /// When there is none at the address.
    pub(super) fn open(address: &OsString) -> io::Result<Self> {
        let (file, place) = Place::open(address)?;
        Ok(Self { file, place })
    }

    /// What the worker is to pass to [`open`](Self::open).
    pub(super) fn address(&self) -> OsString {
        self.place.address(&self.file)
    }

    /// The file behind it.
    #[cfg(target_os = "linux")]
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// The side of an arena that puts tensors in. It stays mapped between runs, so that its pages are there.
#[derive(Debug)]
pub(super) struct Writer {
    arena: Arena,
    map: MmapMut,
    num_begun: u32,
}

impl Writer {
    /// # Errors
    /// When the system has no room for it.
    pub(super) fn new(arena: Arena) -> io::Result<Self> {
        Ok(Self { map: map_to_write(&arena.file)?, arena, num_begun: 0 })
    }

    /// Lets the other side know that something has begun, should this process end over it. Nobody is woken by that.
    pub(super) fn begin(&mut self) {
        self.num_begun = self.num_begun.wrapping_add(1);
        self.map[COUNTER].copy_from_slice(&self.num_begun.to_ne_bytes());
    }

    /// Copies tensors in, over those that were there before: nobody may be reading those.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn put(&mut self, tensors: &[Tensor]) -> io::Result<Vec<Parcel>> {
        let mut end = ALIGNMENT;
        let offsets: Vec<usize> = tensors
            .iter()
            .map(|tensor| {
                let offset = end;
                end = (offset + bytes(&tensor.data).len()).next_multiple_of(ALIGNMENT);
                offset
            })
            .collect();
        self.make_room(end)?;
        Ok(tensors.iter().zip(offsets).map(|(tensor, offset)| self.put_one(tensor, offset)).collect())
    }

    /// Copies bytes in, over the tensors that were there before.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.make_room(ALIGNMENT + bytes.len())?;
        self.map[ALIGNMENT..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.map.len() {
            reserve(&self.arena.file, bytes.next_power_of_two())?;
            self.map = map_to_write(&self.arena.file)?;
        }
        Ok(())
    }

    fn put_one(&mut self, tensor: &Tensor, offset: usize) -> Parcel {
        let bytes = bytes(&tensor.data);
        self.map[offset..offset + bytes.len()].copy_from_slice(bytes);
        Parcel::of(tensor, offset)
    }
}

/// The side of an arena that takes tensors out.
#[derive(Debug)]
pub(super) struct Reader {
    arena: Arena,
    map: Arc<Mmap>,
}

impl Reader {
    /// # Errors
    /// When the system has no room for it.
    pub(super) fn new(arena: Arena) -> io::Result<Self> {
        Ok(Self { map: map_to_read(&arena.file)?, arena })
    }

    /// How often the writer has called [`Writer::begin`].
    pub(super) fn num_begun(&self) -> u32 {
        bytemuck::pod_read_unaligned(&self.map[COUNTER])
    }

    /// Copies tensors out.
    ///
    /// # Errors
    /// When a parcel does not lie in the arena: then the other side is not to be trusted.
    pub(super) fn take(&mut self, parcels: Vec<Parcel>) -> io::Result<Vec<Tensor>> {
        let mut tensors = self.lend(parcels)?;
        tensors.iter_mut().for_each(|tensor| tensor.data = tensor.data.owned());
        Ok(tensors)
    }

    /// Tensors whose values stay in the arena: only for whoever knows that the writer is silent while they are used.
    ///
    /// # Errors
    /// When a parcel does not lie in the arena.
    pub(super) fn lend(&mut self, parcels: Vec<Parcel>) -> io::Result<Vec<Tensor>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a tensor does not lie in the shared memory");
        let mut total = 0_usize;
        for parcel in &parcels {
            let (end, len) = parcel.end().zip(parcel.num_bytes()).ok_or_else(wrong)?;
            total = total.checked_add(len).filter(|&total| total <= MAX_TAKEN_BYTES).ok_or_else(wrong)?;
            if end > self.map.len() {
                self.map = map_to_read(&self.arena.file)?;
            }
            if end > self.map.len() {
                return Err(wrong());
            }
        }
        Ok(parcels.into_iter().map(|parcel| parcel.unpack(&self.map)).collect())
    }

    /// Copies out what [`Writer::put_bytes`] copied in.
    ///
    /// # Errors
    /// When there are not so many bytes.
    pub(super) fn take_bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let end = len.min(MAX_TAKEN_BYTES) + ALIGNMENT;
        if end > self.map.len() {
            self.map = map_to_read(&self.arena.file)?;
        }
        let bytes = self.map.get(ALIGNMENT..end).filter(|bytes| bytes.len() == len);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn map_to_write(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file cannot be shrunk under us (see [`Place`]), and the reader of an arena never writes.
    unsafe { MmapMut::map_mut(file) }
}

fn map_to_read(file: &File) -> io::Result<Arc<Mmap>> {
    // SAFETY: the file cannot be shrunk under us (see [`Place`]), and the writer is silent while this side reads: the program
    // orders no run before the last one was answered, and a worker answers when it has written. A worker that breaks this
    // gives wrong numbers, which it could do anyway: the program copies them once and judges the copy.
    unsafe { Mmap::map(file) }.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::parcel::Element;
    use super::*;
    use crate::engine::TensorData;

    fn f32s(name: &str, values: &[f32]) -> Tensor {
        Tensor { name: name.into(), shape: vec![values.len()], data: TensorData::F32(values.into()) }
    }

    fn both_sides() -> (Writer, Reader) {
        let here = Arena::create().unwrap();
        let there = Arena { file: here.file.try_clone().unwrap(), place: Place::create().unwrap().1 };
        (Writer::new(here).unwrap(), Reader::new(there).unwrap())
    }

    #[test]
    fn tensors_come_out_as_they_went_in() {
        let (mut here, mut there) = both_sides();
        let small = [
            f32s("a", &[1.0, f32::NAN, 3.0]),
            Tensor { name: "b".into(), shape: vec![2, 1], data: TensorData::I64([7, -1].into()) },
            f32s("empty", &[]),
            Tensor { name: "wrong shape".into(), shape: vec![3], data: TensorData::F32([1.0].into()) },
        ];
        let large = [f32s("large", &vec![0.5; FIRST_BYTES]), small[1].clone()];
        for tensors in [&small[..], &large, &small] {
            let copied = there.take(here.put(tensors).unwrap()).unwrap();
            let lent = there.lend(here.put(tensors).unwrap()).unwrap();
            assert_eq!(format!("{lent:?}"), format!("{tensors:?}"));
            here.put(&[f32s("others", &[9.0; 64])]).unwrap();
            assert_eq!(format!("{copied:?}"), format!("{tensors:?}"), "a copy is not touched by the next tensors");
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (mut here, mut there) = both_sides();
        for bytes in [vec![7; FIRST_BYTES + 1], vec![1, 2, 3], Vec::new()] {
            here.put_bytes(&bytes).unwrap();
            assert!(there.take_bytes(bytes.len()).unwrap() == bytes);
        }
        let end = here.map.len();
        assert!(there.take_bytes(end + 1).is_err());
    }

    #[test]
    fn what_has_begun_is_counted_beside_the_tensors() {
        let (mut here, mut there) = both_sides();
        assert_eq!(there.num_begun(), 0);
        here.begin();
        let parcels = here.put(&[f32s("large", &vec![0.5; FIRST_BYTES])]).unwrap();
        here.begin();
        assert_eq!(there.num_begun(), 2);
        assert_eq!(there.take(parcels).unwrap()[0].data, TensorData::F32(vec![0.5; FIRST_BYTES].into()));
        assert_eq!(there.num_begun(), 2, "the memory has grown");
    }

    #[test]
    fn places_outside_of_the_memory_are_refused() {
        let mut arena = both_sides().1;
        let end = arena.map.len();
        for (len, offset) in
            [(end / 4 + 1, 0), (1, end), (1, 4), (1, usize::MAX - 63), (usize::MAX / 4 + 1, 0), (usize::MAX / 4, 64)]
        {
            let parcel = Parcel { name: String::new(), shape: vec![len], element: Element::F32, len, offset };
            assert!(arena.take(vec![parcel]).is_err(), "{len} values at {offset}");
        }
        let len = end / 4;
        let whole = Parcel { name: String::new(), shape: vec![len], element: Element::F32, len, offset: 0 };
        assert!(arena.take(vec![whole]).is_ok());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_other_side_cannot_shrink_it() {
        let arena = Arena::create().unwrap();
        assert!(arena.file.set_len(0).is_err());
    }
}
