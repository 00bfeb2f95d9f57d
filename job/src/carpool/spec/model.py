"""`spec.model`: which network, in which format, and whose code may run for it.

A model file is untrusted. Two rules follow from that and must stay: what comes from elsewhere is
pinned by its hash, and files that run code when they are loaded are refused unless the author of
the job says `allowCode`. A handler that the image (or, locally, the environment) already holds is
no such file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carpool.spec.rules import Rule
from carpool.spec.strict import StrictModel
from carpool.spec.text import FreeForm, HandlerName, Sha256, Uri

ModelFormat = Literal["TorchExport", "Python", "Darknet"]
Precision = Literal["Auto", "Float32", "Float16", "BFloat16"]

# Python source and packages, and the usual names of pickles: all of them run code when loaded. So
# does a .pt2 in other hands than Carpool's, which inspects one for format TorchExport alone.
CODE_SUFFIXES = (
    *(".py", ".pyc", ".zip", ".whl", ".egg"),
    *(".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".pt2"),
)


def is_remote(uri: str) -> bool:
    """Whether a URI leads away from the machine's own file system."""
    scheme, separator, _ = uri.partition("://")
    return bool(separator) and scheme.lower() != "file"


class ModelSpec(StrictModel):
    """The network that is run, and the code around it."""

    format: ModelFormat = Field(
        description=(
            "What the model is. TorchExport: a .pt2 archive of torch.export.save, refused if it "
            "holds anything that could run code. Python: a handler class builds the "
            "network and loads its weights, if any, from a .safetensors file. Darknet: a YOLO "
            ".cfg with its .weights and .names."
        ),
        examples=["Darknet"],
    )
    uri: Uri | None = Field(
        default=None,
        description=(
            "Path or URI of the model's file: the .pt2 (TorchExport), the .cfg (Darknet), the "
            ".safetensors (Python; may be absent if the handler needs no file)."
        ),
        examples=["models/yolov3.cfg", "s3://models/yolov3.cfg"],
    )
    sha256: Sha256 | None = Field(
        default=None,
        description=(
            "SHA-256 of the file at uri; checked before the model is loaded. Required for models "
            "that are not local files."
        ),
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    allow_code: bool = Field(
        default=False,
        description=(
            "Allow model files that are code, or run code when they are loaded (Python packages, "
            "pickles). Not needed for a handler that is already installed where the job runs; of "
            "no effect on a TorchExport archive, which never runs code of its own."
        ),
    )
    handler: HandlerName | None = Field(
        default=None,
        description=(
            "Class that prepares frames and reads the network's output, as package.module:Class. "
            "Required for Python, refused for Darknet, which has its own. Optional for "
            "TorchExport: without it the program must be a detector (see the README)."
        ),
        examples=["carpool.vision.oracle:ColourOracle"],
    )
    parameters: FreeForm = Field(
        default={},
        description=(
            "Parameters of the handler, which checks them. Detectors share inputSize ([height, "
            "width] or one number), resize (Stretch or Letterbox), scoreThreshold, iouThreshold, "
            "classNames and classes (the names to keep); Darknet adds weights and names, paths "
            "relative to the .cfg or URIs."
        ),
        examples=[{"inputSize": [320, 320], "resize": "Stretch", "scoreThreshold": 0.25}],
    )
    precision: Precision = Field(
        default="Auto",
        description="Number format of the computation. Auto: what is fast and safe on the device.",
    )

    @classmethod
    def rules(cls) -> tuple[Rule[ModelSpec], ...]:
        """What must hold between the fields of this model."""
        return _RULES


def _is_code(model: ModelSpec) -> bool:
    return model.uri is not None and model.uri.lower().endswith(CODE_SUFFIXES)


# `is_remote` and `CODE_SUFFIXES` as CEL.
_IS_LOCAL = "!self.uri.contains('://') || self.uri.lowerAscii().startsWith('file://')"
_CODE_FILE = f"[.]({'|'.join(suffix.removeprefix('.') for suffix in CODE_SUFFIXES)})$"

_RULES: tuple[Rule[ModelSpec], ...] = (
    Rule(
        field="uri",
        holds=lambda model: model.format != "Darknet" or model.uri is not None,
        message="missing; format Darknet needs the path or URI of the .cfg file",
        cel="self.format != 'Darknet' || has(self.uri)",
        reason="FieldValueRequired",
    ),
    Rule(
        field="uri",
        holds=lambda model: model.format != "TorchExport" or model.uri is not None,
        message="missing; format TorchExport needs the path or URI of the .pt2 file",
        cel="self.format != 'TorchExport' || has(self.uri)",
        reason="FieldValueRequired",
    ),
    Rule(
        field="handler",
        holds=lambda model: model.format != "Python" or model.handler is not None,
        message="missing; format Python needs the handler class, as package.module:Class",
        cel="self.format != 'Python' || has(self.handler)",
        reason="FieldValueRequired",
    ),
    Rule(
        field="handler",
        holds=lambda model: model.format != "Darknet" or model.handler is None,
        message="format Darknet has its own handler; remove this field, or use format Python",
        cel="self.format != 'Darknet' || !has(self.handler)",
        reason="FieldValueForbidden",
    ),
    Rule(
        field="sha256",
        holds=lambda model: (
            model.uri is None or not is_remote(model.uri) or model.sha256 is not None
        ),
        message=(
            "missing; a model that is not a local file must be pinned: add the output of "
            "`sha256sum` for the file at spec.model.uri"
        ),
        cel=f"!has(self.uri) || {_IS_LOCAL} || has(self.sha256)",
        reason="FieldValueRequired",
    ),
    Rule(
        field="allowCode",
        holds=lambda model: model.format != "Python" or model.allow_code or not _is_code(model),
        message=(
            "spec.model.uri names a file that can run code when it is loaded; convert it to "
            ".safetensors, use format TorchExport for a .pt2, or set allowCode: true if you "
            "trust it"
        ),
        cel=(
            "self.format != 'Python' || self.allowCode || !has(self.uri) || "
            f"!self.uri.lowerAscii().matches('{_CODE_FILE}')"
        ),
    ),
)
