//! Memory that the program and a worker share, so that a tensor crosses with one copy on each side.
//!
//! Each direction has its own arena and one writer. The reader trusts nothing: a worker may have been taken over by its
//! model, so places and sizes are checked against the real size of the file, and values are copied out before they are
//! looked at. On Linux the file exists in memory only and is sealed against shrinking, which would kill the reader.

use crate::engine::{Tensor, TensorData};
use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Tensors begin at multiples of this, which suits every instruction set.
const ALIGNMENT: usize = 64;
/// An arena begins with this size: enough for a classifier.
const FIRST_BYTES: usize = 1 << 20;
/// More than this is not taken from a worker in one run.
const MAX_TAKEN_BYTES: usize = 4 << 30;

/// A tensor in an arena.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parcel {
    name: String,
    /// As the tensor says; whether its values fill it is for others to check.
    shape: Vec<usize>,
    element: Element,
    /// Number of values.
    len: usize,
    /// Bytes from the arena's start.
    offset: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Element {
    F32,
    I64,
}

/// Shared memory that one side writes and the other reads.
#[derive(Debug)]
pub(super) struct Arena {
    file: File,
    map: MmapMut,
    /// Where the other process finds it, if it has a name.
    place: Place,
}

impl Arena {
    /// Makes an arena that [`address`](Self::address) leads to.
    ///
    /// # Errors
    /// When the system gives no memory, or no room for the file.
    pub(super) fn create() -> io::Result<Self> {
        let (file, place) = Place::create()?;
        place::reserve(&file, FIRST_BYTES)?;
        Ok(Self { map: map(&file)?, file, place })
    }

    /// Opens the arena that another process made.
    ///
    /// # Errors
    /// When there is none at the address.
    pub(super) fn open(address: &OsString) -> io::Result<Self> {
        let (file, place) = Place::open(address)?;
        Ok(Self { map: map(&file)?, file, place })
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

    /// Copies tensors in, over those that were there before.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn put(&mut self, tensors: &[Tensor]) -> io::Result<Vec<Parcel>> {
        let mut end = 0;
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
        self.make_room(bytes.len())?;
        self.map[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Copies out what [`put_bytes`](Self::put_bytes) copied in.
    ///
    /// # Errors
    /// When there are not so many bytes.
    pub(super) fn take_bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        if len > self.map.len() {
            self.map = map(&self.file)?;
        }
        let bytes = self.map.get(..len).filter(|_| len <= MAX_TAKEN_BYTES);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.map.len() {
            place::reserve(&self.file, bytes.next_power_of_two())?;
            self.map = map(&self.file)?;
        }
        Ok(())
    }

    fn put_one(&mut self, tensor: &Tensor, offset: usize) -> Parcel {
        let bytes = bytes(&tensor.data);
        self.map[offset..offset + bytes.len()].copy_from_slice(bytes);
        let element = match tensor.data {
            TensorData::F32(_) => Element::F32,
            TensorData::I64(_) => Element::I64,
        };
        Parcel { name: tensor.name.clone(), shape: tensor.shape.clone(), element, len: tensor.data.len(), offset }
    }

    /// Copies tensors out.
    ///
    /// # Errors
    /// When a parcel does not lie in the arena: then the other side is not to be trusted.
    pub(super) fn take(&mut self, parcels: Vec<Parcel>) -> io::Result<Vec<Tensor>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a tensor does not lie in the shared memory");
        let mut total = 0_usize;
        for parcel in &parcels {
            let (end, len) = parcel.end().zip(parcel.num_bytes()).ok_or_else(wrong)?;
            total = total.checked_add(len).filter(|&total| total <= MAX_TAKEN_BYTES).ok_or_else(wrong)?;
            if end > self.map.len() {
                self.map = map(&self.file)?;
            }
            if end > self.map.len() {
                return Err(wrong());
            }
        }
        Ok(parcels.into_iter().map(|parcel| self.take_one(parcel)).collect())
    }

    fn take_one(&self, parcel: Parcel) -> Tensor {
        let bytes = &self.map[parcel.offset..parcel.end().unwrap_or(parcel.offset)];
        let data = match parcel.element {
            Element::F32 => TensorData::F32(values(bytes)),
            Element::I64 => TensorData::I64(values(bytes)),
        };
        Tensor { name: parcel.name, shape: parcel.shape, data }
    }
}

impl Parcel {
    /// Bytes; `None` beyond what a number can hold.
    fn num_bytes(&self) -> Option<usize> {
        self.len.checked_mul(match self.element {
            Element::F32 => size_of::<f32>(),
            Element::I64 => size_of::<i64>(),
        })
    }

    /// The byte after the last; `None` for a place where no tensor can lie.
    fn end(&self) -> Option<usize> {
        self.offset.checked_add(self.num_bytes()?).filter(|_| self.offset.is_multiple_of(ALIGNMENT))
    }
}

fn bytes(data: &TensorData) -> &[u8] {
    match data {
        TensorData::F32(values) => bytemuck::cast_slice(values),
        TensorData::I64(values) => bytemuck::cast_slice(values),
    }
}

/// The values of bytes that are aligned for them.
fn values<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Arc<[T]> {
    bytemuck::cast_slice(bytes).into()
}

fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file cannot be shrunk under us (see `place`), only the writer writes, and it is silent while the other
    // side reads. A worker that breaks this gives wrong numbers, which it could do anyway.
    unsafe { MmapMut::map_mut(file) }
}

use place::Place;

/// A file without a name, handed over by its number.
#[cfg(target_os = "linux")]
mod place {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};

    #[derive(Debug)]
    pub(super) struct Place;

    impl Place {
        pub(super) fn create() -> io::Result<(File, Self)> {
            let file = memfd_create("moescope-tensors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
            Ok((file.into(), Self))
        }

        pub(super) fn open(address: &OsString) -> io::Result<(File, Self)> {
            let number = address.to_str().and_then(|text| text.parse::<RawFd>().ok()).filter(|&number| number > 2);
            let number = number.ok_or_else(|| io::Error::other("no shared memory was handed over"))?;
            // SAFETY: the program left this file open for us, and for nobody else in this process.
            Ok((unsafe { File::from_raw_fd(number) }, Self))
        }

        pub(super) fn address(&self, file: &File) -> OsString {
            file.as_raw_fd().to_string().into()
        }
    }

    pub(super) fn reserve(file: &File, bytes: usize) -> io::Result<()> {
        file.set_len(bytes as u64)
    }
}

/// A temporary file, handed over by its path.
#[cfg(not(target_os = "linux"))]
mod place {
    use std::ffi::OsString;
    use std::fs::{File, OpenOptions};
    use std::io::{self, Seek, SeekFrom, Write};
    use tempfile::TempPath;

    #[derive(Debug)]
    pub(super) struct Place(Option<TempPath>);

    impl Place {
        pub(super) fn create() -> io::Result<(File, Self)> {
            let (file, path) = tempfile::Builder::new().prefix("moescope-").tempfile()?.into_parts();
            Ok((file, Self(Some(path))))
        }

        pub(super) fn open(address: &OsString) -> io::Result<(File, Self)> {
            Ok((OpenOptions::new().read(true).write(true).open(address)?, Self(None)))
        }

        pub(super) fn address(&self, _: &File) -> OsString {
            self.0.as_ref().map(|path| path.as_os_str().to_owned()).unwrap_or_default()
        }
    }

    /// Writes what it reserves: room that is only promised ends the program when the disk is full.
    pub(super) fn reserve(mut file: &File, bytes: usize) -> io::Result<()> {
        let begin = file.seek(SeekFrom::End(0))?;
        io::copy(&mut io::Read::take(io::repeat(0), (bytes as u64).saturating_sub(begin)), &mut file)?;
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(name: &str, values: &[f32]) -> Tensor {
        Tensor { name: name.into(), shape: vec![values.len()], data: TensorData::F32(values.into()) }
    }

    /// The same memory, as a worker sees it.
    fn other_side(arena: &Arena) -> Arena {
        Arena {
            file: arena.file.try_clone().unwrap(),
            map: map(&arena.file).unwrap(),
            place: Place::create().unwrap().1,
        }
    }

    #[test]
    fn tensors_come_out_as_they_went_in() {
        let mut here = Arena::create().unwrap();
        let mut there = other_side(&here);
        let small = [
            f32s("a", &[1.0, f32::NAN, 3.0]),
            Tensor { name: "b".into(), shape: vec![2, 1], data: TensorData::I64([7, -1].into()) },
            f32s("empty", &[]),
            Tensor { name: "wrong shape".into(), shape: vec![3], data: TensorData::F32([1.0].into()) },
        ];
        let large = [f32s("large", &vec![0.5; FIRST_BYTES]), small[1].clone()];
        for tensors in [&small[..], &large, &small] {
            let parcels = here.put(tensors).unwrap();
            let found = there.take(parcels).unwrap();
            assert_eq!(format!("{found:?}"), format!("{tensors:?}"));
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut here = Arena::create().unwrap();
        let mut there = other_side(&here);
        for bytes in [vec![7; FIRST_BYTES + 1], vec![1, 2, 3], Vec::new()] {
            here.put_bytes(&bytes).unwrap();
            assert!(there.take_bytes(bytes.len()).unwrap() == bytes);
        }
        let end = here.map.len();
        assert!(there.take_bytes(end + 1).is_err());
    }

    #[test]
    fn places_outside_of_the_memory_are_refused() {
        let mut arena = Arena::create().unwrap();
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
