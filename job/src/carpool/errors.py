"""Every error Carpool raises, in one tree.

An error's type, not its text, decides what happens next: `retryable` says whether Spark should run
the task again (it could pass) or the job should end (it cannot), and `reason` is the CamelCase word
that appears in conditions, events, the quarantine table and on the terminal. Each error is built
from one message, so that it survives pickling between Spark's processes.

    CarpoolError
    ├── SpecError                 the job is written wrongly
    ├── ModelError                the model cannot be used
    │   ├── ModelNotFound
    │   ├── ModelChecksumMismatch
    │   ├── ModelFormatError      a file of the model is malformed, or uses what is not supported
    │   ├── ModelUnsafe           a file of the model could run code when it is loaded
    │   └── HandlerError          the handler class cannot be imported or breaks its contract
    ├── InputError
    │   ├── NoInput               a pattern of spec.input.uris matches nothing
    │   ├── InputUnavailable      could pass: network, storage, permissions  (retryable)
    │   └── BadInput              proven by the content; quarantined, never retried
    │       ├── Undecodable       no frame can be had from the file
    │       ├── FramesMissing     fewer frames than the index promised
    │       └── InferenceFailed   the model raised for this very item
    ├── OutputError
    │   ├── OutputExists          mode Error, and something is there
    │   ├── OutputNotOurs         the folder holds what Carpool did not write
    │   ├── OutputMismatch        Resume over results of another model or other parameters
    │   ├── OutputSuperseded      another job has taken the folder over meanwhile
    │   └── OutputUnavailable     could pass  (retryable)
    ├── HostError
    │   ├── HostStartFailed       the model host says that it cannot start, and why
    │   ├── HostTimeout           no host became ready in time  (retryable)
    │   ├── HostOutOfMemory       the device's memory did not hold one item now  (retryable)
    │   ├── ProtocolError         the two ends do not speak the same protocol
    │   └── RequestPoisoned       a request was in flight at three deaths of the host
    └── JobFailed
        ├── SparkFailed           Spark did not start, or ended, or gave a task up  (retryable)
        └── TooManyBadInputs      more bad input than failurePolicy allows
"""

from __future__ import annotations

from typing import ClassVar


class CarpoolError(Exception):
    """Root of the tree; catch it to catch everything Carpool raises on purpose."""

    retryable: ClassVar[bool] = False

    @property
    def reason(self) -> str:
        """The CamelCase reason shown to the user: the name of the type."""
        return type(self).__name__


class SpecError(CarpoolError):
    """The job file is wrong; the message names each field, what was found, what is expected."""

    @property
    def reason(self) -> str:
        """The reason used in the Accepted condition."""
        return "InvalidSpec"


class ModelError(CarpoolError):
    """The model cannot be used."""


class ModelNotFound(ModelError):
    """A file of the model does not exist."""


class ModelChecksumMismatch(ModelError):
    """The model file is not the one whose sha256 the spec names."""


class ModelFormatError(ModelError):
    """A model file is malformed or uses something that is not supported."""


class ModelUnsafe(ModelError):
    """A model file holds something that could run code when loaded; none of it has been run."""


class HandlerError(ModelError):
    """The handler cannot be imported, or does not keep the handler contract."""


class InputError(CarpoolError):
    """Something about the input."""


class NoInput(InputError):
    """A pattern matches no file."""


class InputUnavailable(InputError):
    """The input could not be read now; reading it again may succeed."""

    retryable = True


class BadInput(InputError):
    """The input was read completely and its content is bad.

    Attributes:
        frames_given: frames that could be had before it failed.
        frames_expected: frames the index promised; None where no index could be made.
    """

    def __init__(
        self, message: str, frames_given: int = 0, frames_expected: int | None = None
    ) -> None:
        super().__init__(message, frames_given, frames_expected)
        self.frames_given = frames_given
        self.frames_expected = frames_expected

    def __str__(self) -> str:
        return str(self.args[0])


class Undecodable(BadInput):
    """No frame can be had from the file."""


class FramesMissing(BadInput):
    """The file gave fewer frames than its index promised."""


class InferenceFailed(BadInput):
    """The model raised for this very item, alone in its batch."""


class OutputError(CarpoolError):
    """Something about the output folder."""


class OutputExists(OutputError):
    """`mode: Error`, and the folder already holds something."""


class OutputNotOurs(OutputError):
    """The folder holds files that Carpool did not write; it will not touch them."""


class OutputMismatch(OutputError):
    """Resume over the results of another model, handler or parameters."""


class OutputSuperseded(OutputError):
    """Another job has taken the output folder over while this one ran."""


class OutputUnavailable(OutputError):
    """The output could not be written now; writing again may succeed."""

    retryable = True


class HostError(CarpoolError):
    """Something about the model host."""


class HostStartFailed(HostError):
    """The model host cannot start; the message is the host's own reason."""


class HostTimeout(HostError):
    """No model host became ready within the time given."""

    retryable = True


class HostOutOfMemory(HostError):
    """The device's memory did not hold a single item, though it did when the model was loaded."""

    retryable = True


class ProtocolError(HostError):
    """Host and client do not speak the same protocol."""


class RequestPoisoned(HostError):
    """A request was in flight at three deaths of the host."""


class JobFailed(CarpoolError):
    """The job ended without its result."""


class SparkFailed(JobFailed):
    """Spark did not start, has ended, or gave a task up for a reason that is none of ours."""

    retryable = True


class TooManyBadInputs(JobFailed):
    """More bad input than `failurePolicy` allows."""


def error_of_reason(reason: str, message: str) -> CarpoolError:
    """The error whose reason is `reason`; how an error crosses a process as two words of text."""
    pending: list[type[CarpoolError]] = [CarpoolError]
    while pending:
        kind = pending.pop()
        if kind.__name__ == reason:
            return kind(message)
        pending += kind.__subclasses__()
    return JobFailed(f"{reason}: {message}")
