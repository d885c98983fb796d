//! [`Parts`]: pieces of a body in order. Most bodies have one piece or none, which takes no memory of its own.
use crate::Part;
use std::{
    ops::{Deref, DerefMut},
    option, vec,
};

/// Pieces in order.
#[derive(Default)]
pub enum Parts {
    #[default]
    None,
    One(Part),
    Several(Vec<Part>),
}

/// See [`Parts::into_iter`].
pub enum IntoIter {
    One(option::IntoIter<Part>),
    Several(vec::IntoIter<Part>),
}

// === impl Parts ===

impl Deref for Parts {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        match self {
            Self::None => &[],
            Self::One(part) => std::slice::from_ref(part),
            Self::Several(parts) => parts,
        }
    }
}

impl DerefMut for Parts {
    fn deref_mut(&mut self) -> &mut [Part] {
        match self {
            Self::None => &mut [],
            Self::One(part) => std::slice::from_mut(part),
            Self::Several(parts) => parts,
        }
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self::One(part)
    }
}

impl From<Vec<Part>> for Parts {
    fn from(parts: Vec<Part>) -> Self {
        Self::Several(parts)
    }
}

impl IntoIterator for Parts {
    type Item = Part;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        match self {
            Self::None => IntoIter::One(None.into_iter()),
            Self::One(part) => IntoIter::One(Some(part).into_iter()),
            Self::Several(parts) => IntoIter::Several(parts.into_iter()),
        }
    }
}

impl Iterator for IntoIter {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        match self {
            Self::One(part) => part.next(),
            Self::Several(parts) => parts.next(),
        }
    }
}
