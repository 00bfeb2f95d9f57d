"""A detector's parameters, completed by the driver from the archive: before Spark, without torch.

`inputSize` and the number of classes are the program's; class names come from the job, or from the
archive itself where its author saved an extra file "names", one a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carpool.errors import ModelFormatError, SpecError
from carpool.vision.class_names import parse_names
from carpool.vision.detector_parameters import read_names, read_size
from carpool.vision.torch_export.archive import CLASS_NAMES
from carpool.vision.torch_export.contract import DetectorContract, detector_contract
from carpool.vision.torch_export.inspection import InspectedProgram, inspect

_FIELD = "spec.model.parameters"


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What the driver knows of an exported program.

    Attributes:
        parameters: complete.
        max_batch: images of a batch where the program takes but one number of them; else None.
    """

    parameters: dict[str, Any]
    max_batch: int | None


def check_program(path: Path) -> None:
    """Refuse a program that is not safe to load, before anyone loads it.

    Raises:
        ModelError: see `carpool.vision.torch_export.inspection.inspect`.
    """
    with inspect(path):
        pass


def complete_parameters(path: Path, parameters: Mapping[str, Any]) -> ExportedModel:
    """The parameters with all that the archive says.

    Raises:
        ModelError: the archive cannot be used, or is no detector.
        SpecError: a parameter is missing, or contradicts the archive.
    """
    complete = {name: value for name, value in parameters.items() if value is not None}
    with inspect(path) as program:
        contract = detector_contract(program.type, path.name)
        complete["inputSize"] = list(_input_size(complete.get("inputSize"), contract, path.name))
        complete["classNames"] = list(_class_names(complete.get("classNames"), program, path.name))
    check_classes(complete["classNames"], contract, path.name)
    # Other batches are padded to a fixed one: the best is of that size.
    return ExportedModel(complete, contract.batch.fixed)


def check_classes(
    names: tuple[str, ...] | list[str], contract: DetectorContract, file: str
) -> None:
    """Refuse class names that are not as many as the program scores.

    Raises:
        ModelFormatError: they are more or fewer.
    """
    if len(names) != contract.classes:
        raise ModelFormatError(
            f"{file}: scores {contract.classes} classes, and there are {len(names)} class names; "
            f"correct {_FIELD}.classNames, or check that the output is not transposed"
        )


def check_input_size(size: tuple[int, int], contract: DetectorContract, file: str) -> None:
    """Refuse a size that the program does not take.

    Raises:
        SpecError: it is one.
    """
    if size[0] not in contract.height or size[1] not in contract.width:
        raise SpecError(
            f"{_FIELD}.inputSize: found {list(size)}, and {file} takes height {contract.height} "
            f"and width {contract.width}; change it, or export the program for this size"
        )


def _input_size(given: object, contract: DetectorContract, file: str) -> tuple[int, int]:
    if given is not None:
        size = read_size("inputSize", given)
    elif contract.height.fixed is None or contract.width.fixed is None:
        raise SpecError(
            f"{_FIELD}.inputSize: is missing, and {file} takes images of height {contract.height} "
            f"and width {contract.width}; say which"
        )
    else:
        size = read_size("inputSize", [contract.height.fixed, contract.width.fixed])
    check_input_size(size, contract, file)
    return size


def _class_names(given: object, program: InspectedProgram, file: str) -> tuple[str, ...]:
    if given is not None:
        return read_names("classNames", given)
    if program.class_names is None:
        raise SpecError(
            f"{_FIELD}.classNames: is missing, and {file} has no extra file 'names'; list them, "
            "or save the program with extra_files={'names': ...}, one name a line"
        )
    return parse_names(program.class_names, f"{file}: {CLASS_NAMES}")
