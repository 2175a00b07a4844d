//! The values of a tensor, wherever they lie: an image is made into a tensor and handed to a worker's session without
//! ever being copied for the sake of its type.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Values that are shared and not changed; a slice in all but its owner.
pub struct Values<T>(Arc<dyn AsRef<[T]> + Send + Sync>);

impl<T> Values<T> {
    /// Those of `owner`, which lives as long as they are used. It must give the same values every time.
    pub(super) fn of(owner: impl AsRef<[T]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        (*self.0).as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Send + Sync + 'static> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        Self::of(values)
    }
}

impl<T: Send + Sync + 'static> From<Arc<[T]>> for Values<T> {
    fn from(values: Arc<[T]>) -> Self {
        Self::of(values)
    }
}

impl<T: Clone + Send + Sync + 'static> From<&[T]> for Values<T> {
    fn from(values: &[T]) -> Self {
        Self::of(values.to_vec())
    }
}

impl<T: Send + Sync + 'static, const N: usize> From<[T; N]> for Values<T> {
    fn from(values: [T; N]) -> Self {
        Self::of(values)
    }
}

impl<T: Send + Sync + 'static> FromIterator<T> for Values<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::of(Vec::from_iter(values))
    }
}
