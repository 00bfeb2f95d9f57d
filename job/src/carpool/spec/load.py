"""From a file to a checked InferenceJob: read, override, validate, explain.

All that is wrong with a job is reported at once, a line each, every line beginning with the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from carpool.errors import SpecError
from carpool.spec.document import read_documents, write_document
from carpool.spec.explain import explain
from carpool.spec.job import KIND, InferenceJob
from carpool.spec.overrides import apply_overrides

__all__ = [
    "apply_overrides",
    "dump_job",
    "load_job",
    "parse_document",
    "parse_job",
    "validate_job",
]


def load_job(path: Path, overrides: Iterable[str] = ()) -> InferenceJob:
    """Read and check a job file.

    Args:
        path: YAML file with one InferenceJob; documents of other kinds beside it are passed over.
        overrides: changes to make before checking, see `apply_overrides`.

    Raises:
        SpecError: the file cannot be read, or the job is wrong; one line for each mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: no UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_job(text, str(path), overrides)


def parse_job(text: str, source: str, overrides: Iterable[str] = ()) -> InferenceJob:
    """As `load_job`, from text.

    Args:
        text: the YAML.
        source: what to call it in messages.
        overrides: changes to make before checking, see `apply_overrides`.

    Raises:
        SpecError: the job is wrong; one line for each mistake.
    """
    return validate_job(apply_overrides(parse_document(text, source), overrides), source)


def parse_document(text: str, source: str) -> dict[str, Any]:
    """The one InferenceJob of a YAML text, as plain data, not checked further.

    Raises:
        SpecError: the text is no YAML, or holds no InferenceJob, or several.
    """
    documents = read_documents(text, source)
    if len(documents) == 1 and isinstance(documents[0], dict):
        # Taken for a job whatever its kind: a wrong kind is then reported like any other field.
        return documents[0]
    jobs = [found for found in documents if isinstance(found, dict) and found.get("kind") == KIND]
    if len(jobs) == 1:
        return jobs[0]
    if not documents:
        raise SpecError(f"{source}: empty: expected one {KIND}")
    raise SpecError(
        f"{source}: expected one document of kind {KIND}, found {len(jobs) or 'none'}"
        + (": put each into a file of its own" if jobs else "")
    )


def validate_job(document: dict[str, Any], source: str) -> InferenceJob:
    """Check a job given as plain data with the names of YAML.

    Raises:
        SpecError: the job is wrong; one line for each mistake.
    """
    try:
        return InferenceJob.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise SpecError("\n".join(f"{source}: {line}" for line in explain(error))) from error


def dump_job(job: InferenceJob) -> str:
    """A job as YAML, defaults written out; `parse_job` reads the same job from it."""
    return write_document(job.model_dump(mode="json", by_alias=True, exclude_none=True))
