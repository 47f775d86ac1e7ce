//! Where the kernel keeps what BPF programs read of a process: its BTF says so, in the format of
//! `Documentation/bpf/btf.rst`.

use std::{fs, io};

use gateway_common::TaskLayout;

use crate::sys;

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("{KERNEL} can't be read: {0}; the kernel has to be built with CONFIG_DEBUG_INFO_BTF")]
    Unreadable(io::ErrorKind),
    #[error("{KERNEL} is not in a format that is known")]
    Malformed,
    #[error("{KERNEL} knows no {0}.{1}")]
    Missing(&'static str, &'static str),
}

/// Of the kernel that runs.
pub(super) fn of_kernel() -> Result<TaskLayout, LayoutError> {
    let bytes = fs::read(KERNEL).map_err(|error| LayoutError::Unreadable(error.kind()))?;
    let layout = read(&bytes);
    // It is megabytes, and read once.
    drop(bytes);
    sys::give_back_memory();
    layout
}

fn read(bytes: &[u8]) -> Result<TaskLayout, LayoutError> {
    let btf = Btf::parse(bytes).ok_or(LayoutError::Malformed)?;
    let field =
        |structure, name| btf.field(structure, name).ok_or(LayoutError::Missing(structure, name));
    Ok(TaskLayout {
        tgid: field("task_struct", "tgid")?,
        mm: field("task_struct", "mm")?,
        signal: field("task_struct", "signal")?,
        live: field("signal_struct", "live")?,
        arg_start: field("mm_struct", "arg_start")?,
        arg_end: field("mm_struct", "arg_end")?,
    })
}

/// Types, and the strings that name them.
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins. The first one's number is 1.
    starts: Vec<usize>,
}

/// A type's head.
struct Type {
    name: u32,
    kind: u32,
    /// Set in a structure with bit fields: then offsets have a width in them.
    flag: bool,
    /// How many members it has, or whatever a kind has several of.
    count: usize,
}

impl<'a> Btf<'a> {
    /// `None` if it is not in the format, or of the other byte order.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(*bytes.first_chunk()?);
        if magic != MAGIC {
            return None;
        }
        let at = |offset| Some(usize::try_from(word(bytes, offset)?).unwrap_or(usize::MAX));
        let body = bytes.get(at(4)?..)?;
        let section = |offset: usize, len: usize| body.get(offset..)?.get(..len);
        let mut btf = Self {
            types: section(at(8)?, at(12)?)?,
            strings: section(at(16)?, at(20)?)?,
            starts: Vec::new(),
        };
        let mut start = 0;
        while start < btf.types.len() {
            let len = HEAD + btf.head(start)?.rest()?;
            btf.starts.push(start);
            start = start.checked_add(len)?;
        }
        Some(btf)
    }

    /// Where a field is in a structure, in bytes.
    fn field(&self, structure: &str, name: &str) -> Option<u32> {
        let mut starts = self.starts.iter();
        let start = starts.find(|start| {
            let head = self.head(**start);
            head.is_some_and(|head| head.kind == STRUCT && self.is_called(head.name, structure))
        })?;
        self.bits_to(*start, name, NESTED).map(|bits| bits / 8)
    }

    /// How far it is to a field, those of structures without a name included.
    fn bits_to(&self, start: usize, name: &str, depth: u32) -> Option<u32> {
        let head = self.head(start)?;
        (0..head.count).find_map(|number| {
            let member = start + HEAD + number * MEMBER;
            let [called, of, offset] = [0, 4, 8].map(|at| word(self.types, member + at));
            let offset = if head.flag { offset? & BIT_OFFSET } else { offset? };
            if self.is_called(called?, name) {
                return Some(offset);
            }
            if called? != 0 || depth == 0 {
                return None;
            }
            let of = usize::try_from(of?).ok()?.checked_sub(1)?;
            let inner = *self.starts.get(of)?;
            let is_structure = matches!(self.head(inner)?.kind, STRUCT | UNION);
            let inside = is_structure.then(|| self.bits_to(inner, name, depth - 1))??;
            offset.checked_add(inside)
        })
    }

    fn head(&self, start: usize) -> Option<Type> {
        let info = word(self.types, start.checked_add(4)?)?;
        Some(Type {
            name: word(self.types, start)?,
            kind: info >> 24 & 0x1f,
            flag: info >> 31 == 1,
            count: usize::try_from(info & 0xffff).ok()?,
        })
    }

    fn is_called(&self, at: u32, name: &str) -> bool {
        let found = usize::try_from(at).ok().and_then(|at| self.strings.get(at..));
        found
            .and_then(|found| found.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

impl Type {
    /// Bytes that follow the head.
    fn rest(&self) -> Option<usize> {
        Some(match self.kind {
            // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
            2 | 7..=12 | 16 | 18 => 0,
            // Integers, variables, declaration tags.
            1 | 14 | 17 => 4,
            // Arrays.
            3 => 12,
            // Sections, and enumerations of 64 bits.
            STRUCT | UNION | 15 | 19 => self.count * MEMBER,
            // Enumerations, and prototypes of functions.
            6 | 13 => self.count * 8,
            _ => return None,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Bytes of a type's head, and of a member.
const HEAD: usize = 12;
const MEMBER: usize = 12;
/// The kinds that have members.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// What of a member's offset is one, where it has a width in it too.
const BIT_OFFSET: u32 = 0x00ff_ffff;
/// How deep structures without a name are looked into, one in another.
const NESTED: u32 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Strings, then types: what the kernel's consist of, in small.
    fn btf() -> Vec<u8> {
        let mut strings = vec![0];
        let mut named = |name: &str| {
            let at = u32::try_from(strings.len()).expect("few");
            strings.extend(name.bytes().chain([0]));
            at
        };
        let structure = |name, kind: u32, flag: u32, members: &[[u32; 3]]| {
            let count = u32::try_from(members.len()).expect("few");
            let mut words = vec![name, flag << 31 | kind << 24 | count, 64];
            words.extend(members.as_flattened());
            words
        };
        let int = vec![named("int"), 1 << 24, 4, 32];
        let task =
            [[named("tgid"), 1, 0x0100_0020], [named("mm"), 1, 128], [named("signal"), 1, 192]];
        let task = structure(named("task_struct"), STRUCT, 1, &task);
        let signal = structure(named("signal_struct"), STRUCT, 0, &[[named("live"), 1, 96]]);
        let arguments = [[named("arg_start"), 1, 64], [named("arg_end"), 1, 128]];
        let arguments = structure(0, STRUCT, 0, &arguments);
        let union = structure(0, UNION, 0, &[[0, 4, 0]]);
        let memory = structure(named("mm_struct"), STRUCT, 0, &[[0, 5, 256]]);
        let words: Vec<u32> = [int, task, signal, arguments, union, memory].concat();
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let lens = [types.len(), strings.len()].map(|len| u32::try_from(len).expect("few"));
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, lens[0], lens[0], lens[1]] {
            bytes.extend(word.to_ne_bytes());
        }
        [bytes, types, strings].concat()
    }

    #[test]
    fn fields_are_found_by_name_also_in_structures_without_one() {
        let layout =
            TaskLayout { tgid: 4, mm: 16, signal: 24, live: 12, arg_start: 40, arg_end: 48 };
        assert_eq!(read(&btf()), Ok(layout));
    }

    #[test]
    fn this_kernel_s_is_read() {
        let layout = of_kernel().expect("it has BTF");
        assert!(layout.arg_end == layout.arg_start + 8 && layout.tgid > 0, "{layout:?}");
    }

    #[test]
    fn what_is_cut_or_of_another_format_is_refused() {
        let bytes = btf();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err());
        }
        assert_eq!(read(b"\x9f\xebnot BTF"), Err(LayoutError::Malformed));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(flips: Vec<(prop::sample::Index, u8)>) {
            let mut bytes = btf();
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            let _ = read(&bytes);
        }
    }
}
