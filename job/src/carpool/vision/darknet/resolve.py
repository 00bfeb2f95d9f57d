"""Which files a Darknet model consists of, and what its parameters are.

A job names the .cfg; weights and names stand beside it. The driver finds out once, before the first
task: `darknet_files` says which files there are (text alone: they may lie on any storage), someone
else brings them here, and `complete_parameters` reads from the local copies what handlers must know
without reading files.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carpool.errors import ModelFormatError, ModelNotFound, SpecError
from carpool.vision.class_names import parse_names
from carpool.vision.darknet.cfg import read_network
from carpool.vision.detector_parameters import read_names, read_size, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = ("weights", "names")
"""The files besides the .cfg: parameter, key in `LoadContext.files` and extension in one word."""


def darknet_files(cfg_uri: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Where the other files of a model are.

    Each is named by the parameter of its role, relative to the folder of the .cfg, or as an
    absolute path or URI, which is passed on unchanged; by default it has the name of the .cfg with
    the extension .weights or .names. Where `classNames` is given no names file is needed.

    Args:
        cfg_uri: `spec.model.uri`, a path or a URI.
        parameters: `spec.model.parameters`.

    Returns:
        URI or path by role: "weights", and "names" unless `classNames` is given.

    Raises:
        SpecError: `weights` or `names` is no text.
    """
    scheme, separator, path = cfg_uri.rpartition("://")
    found = {}
    for role in ROLES:
        given = parameters.get(role)
        if role == "names" and given is None and parameters.get("classNames") is not None:
            continue
        if given is None:
            found[role] = f"{scheme}{separator}{posixpath.splitext(path)[0]}.{role}"
        elif not isinstance(given, str) or not given:
            raise wrong(role, given, "a path relative to the .cfg, or a URI")
        elif "://" in given or given.startswith("/"):
            found[role] = given
        else:
            joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), given))
            found[role] = f"{scheme}{separator}{joined}"
    return found


def complete_parameters(
    cfg: Path, names: Path | None, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters with all that the files say.

    `inputSize` comes from the .cfg and `classNames` from the names file unless they are given;
    `resize` becomes Letterbox where it is not given and the .cfg says `letter_box=1`.

    Args:
        cfg: local copy of the .cfg.
        names: local copy of the names file; None where `classNames` is given.
        parameters: `spec.model.parameters`.

    Raises:
        SpecError: a given parameter is wrong, or there are neither names nor `classNames`.
        ModelNotFound: a file is missing.
        ModelFormatError: a file is malformed, or the number of names is not that of the classes.
    """
    complete = {name: value for name, value in parameters.items() if value is not None}
    size = complete.get("inputSize")
    # With the size that will be used, so that one that does not fit the network is found here.
    network = read_network(cfg, None if size is None else read_size("inputSize", size))
    complete["inputSize"] = [network.input.height, network.input.width]
    if network.letterbox:
        complete.setdefault("resize", "Letterbox")
    expected = f"{network.classes} names for classes={network.classes} of {network.source}"
    if "classNames" in complete:
        given = read_names("classNames", complete["classNames"])
        if len(given) != network.classes:
            raise SpecError(
                f"spec.model.parameters.classNames: found {len(given)} names, expected {expected}"
            )
    elif names is None:
        raise SpecError("spec.model.parameters.classNames: is missing, and no names file is given")
    else:
        given = read_names_file(names)
        if len(given) != network.classes:
            raise ModelFormatError(f"{names.name}: found {len(given)} names, expected {expected}")
    complete["classNames"] = list(given)
    return complete


def read_names_file(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of their ids.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no text, or a line is empty, or repeats another.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ModelNotFound(
            f"names {path}: no such file; name it in spec.model.parameters.names, "
            "or give spec.model.parameters.classNames"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{path.name}: is no text, expected a class name a line") from error
    return parse_names(text, path.name)
