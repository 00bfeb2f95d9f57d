"""Whether a file that torch.save wrote holds tensors only: seen from outside, never opened.

Every .pt2 archive carries the inputs it was exported with as such a file. Nobody here needs them,
and the loader leaves them out; but a file in which something else was put there was made to attack,
and is refused. The pickle is read as a list of instructions (`pickletools`), of which those that
can import may name a handful of torch's constructors.
"""

from __future__ import annotations

import pickletools
import zipfile
from typing import IO

from carpool.vision.torch_export.place import Place, shown

_AGAIN = "save the program again after `program.example_inputs = None`"

_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch device",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        *(
            f"torch {name}Storage"
            for name in (
                *("Float", "Double", "Half", "BFloat16", "Bool"),
                *("Byte", "Char", "Short", "Int", "Long"),
            )
        ),
    }
)
_IMPORTS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_IMPORTS_BY_NUMBER = frozenset({"EXT1", "EXT2", "EXT4", "PERSID"})
_MAX_BYTES = 16 << 20
"""Of the instructions alone; tensors lie beside them."""


def check_tensors_only(stream: IO[bytes], place: Place) -> None:
    """Refuse a file of torch.save that would do anything but build tensors.

    Args:
        stream: the file, of which the tensors are not read.
        place: where it is.

    Raises:
        ModelUnsafe: it imports something else, or is no such file.
    """
    try:
        with zipfile.ZipFile(stream) as saved:
            names = saved.namelist()
            [pickled] = [info for info in saved.infolist() if info.filename.endswith("/data.pkl")]
            if len(set(names)) != len(names) or pickled.compress_type != zipfile.ZIP_STORED:
                raise place.unsafe("is a crafted file of torch.save", _AGAIN)
            if pickled.file_size > _MAX_BYTES:
                raise place.unsafe("holds more than tensors", _AGAIN)
            instructions = saved.read(pickled)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise place.unsafe("is a pickle and no file of torch.save", _AGAIN) from error
    _check_instructions(instructions, place)


def _check_instructions(instructions: bytes, place: Place) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(instructions):
            named = opcode.name == "GLOBAL" and argument in _GLOBALS
            if opcode.name in _IMPORTS_BY_NUMBER or (opcode.name in _IMPORTS and not named):
                what = shown(argument) if argument else opcode.name
                raise place.unsafe(f"is a pickle that calls {what}", _AGAIN)
    except ValueError as error:
        raise place.unsafe(f"is a malformed pickle: {error}", _AGAIN) from error
