//! Handles to maps by their names, and what is done with entries.

use std::io;

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, RingBuf},
};

use super::EbpfFailure;

/// A handle of its own to a map, so that connections don't wait for whoever attaches an agent.
pub(super) fn second_handle<K: Pod, V: Pod>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, EbpfFailure> {
    let Some(Map::HashMap(data)) = ebpf.map(name) else {
        return Err(EbpfFailure::Missing(name));
    };
    let own = MapData::from_id(data.info()?.id())?;
    Ok(Map::from_map_data(own)?.try_into()?)
}

pub(super) fn second_array<V: Pod>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<Array<MapData, V>, EbpfFailure> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(EbpfFailure::Missing(name));
    };
    let own = MapData::from_id(data.info()?.id())?;
    Ok(Map::from_map_data(own)?.try_into()?)
}

pub(super) fn ring(ebpf: &Ebpf, name: &'static str) -> Result<RingBuf<MapData>, EbpfFailure> {
    let Some(Map::RingBuf(data)) = ebpf.map(name) else {
        return Err(EbpfFailure::Missing(name));
    };
    Ok(Map::from_map_data(MapData::from_id(data.info()?.id())?)?.try_into()?)
}

pub(super) fn view<'a, K: Pod, V: Pod>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<HashMap<&'a MapData, K, V>, EbpfFailure> {
    Ok(ebpf.map(name).ok_or(EbpfFailure::Missing(name))?.try_into()?)
}

pub(super) fn view_mut<'a, K: Pod, V: Pod>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<HashMap<&'a mut MapData, K, V>, EbpfFailure> {
    Ok(ebpf.map_mut(name).ok_or(EbpfFailure::Missing(name))?.try_into()?)
}

/// Removes an entry; one that is not there is as good as removed.
pub(super) fn remove<T: std::borrow::BorrowMut<MapData>, K: Pod, V: Pod>(
    map: &mut HashMap<T, K, V>,
    key: &K,
) -> Result<(), EbpfFailure> {
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn purge<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    unwanted: impl Fn(&V) -> bool,
) -> Result<(), EbpfFailure> {
    let found: Vec<K> =
        map.iter().flatten().filter(|(_, value)| unwanted(value)).map(|(key, _)| key).collect();
    found.iter().try_for_each(|key| remove(map, key))
}
