"""Weights and constants: that each named tensor lies within the bytes of its entry.

torch reads an entry as one flat array of the tensor's dtype and lays sizes and strides over it.
"""

from __future__ import annotations

from typing import Any

from carpool.vision.torch_export.archive import Archive
from carpool.vision.torch_export.place import Place
from carpool.vision.torch_export.program_schema import payload_config

ITEM_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 2,
    7: 4,
    8: 8,
    9: 4,
    10: 8,
    11: 16,
    12: 1,
    13: 2,
    28: 2,
    29: 1,
    30: 1,
    31: 1,
    32: 1,
    33: 1,
    34: 4,
    35: 8,
}
"""Bytes of an element by number of the dtype (`ScalarType` of torch's schema)."""

_STRIDED = 7


def check_payloads(document: Any, archive: Archive, config: str, folder: str, kind: str) -> Any:
    """The config of weights or constants, rebuilt.

    Args:
        document: the config's JSON value.
        archive: where the entries are.
        config: the config's entry.
        folder: folder of the entries that it names.
        kind: how their names begin, "weight" or "tensor".

    Raises:
        ModelUnsafe: a value is pickled, or something is not known to be safe.
        ModelFormatError: an entry is missing, has other bytes than its tensor, or no tensor.
    """
    place = archive.place.inside(config)
    found = payload_config(kind)(document, place)
    dtypes: dict[str, int] = {}
    for tensor, payload in found["config"].items():
        entry, meta = payload["path_name"], payload["tensor_meta"]
        at = place.field("config").element(tensor)
        if dtypes.setdefault(entry, meta["dtype"]) != meta["dtype"]:
            raise at.malformed(f"shares {entry} with a tensor of another dtype")
        if folder + entry not in archive:
            raise at.malformed(f"its entry {folder}{entry} is missing")
        _check_extent(meta, archive.size(folder + entry), at)
    spare = sorted(archive.names(folder) - set(dtypes) - {config.removeprefix(folder)})
    if spare:
        raise archive.place.inside(folder + spare[0]).unsafe("belongs to no tensor of the program")
    return found


def _check_extent(meta: Any, found: int, place: Place) -> None:
    item = ITEM_BYTES.get(meta["dtype"])
    if item is None or meta["layout"] != _STRIDED:
        raise place.malformed(
            f"has dtype {meta['dtype']} and layout {meta['layout']}, expected a dense tensor"
        )
    sizes, strides = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
    if len(sizes) != len(strides):
        raise place.malformed(f"has {len(sizes)} sizes and {len(strides)} strides")
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    elements = 0 if 0 in sizes else meta["storage_offset"]["as_int"] + last + 1
    if elements * item > found or found % item:
        raise place.malformed(
            f"needs {elements * item} bytes for shape {sizes}, and its entry has {found}",
            "the file is damaged; save the program again",
        )
