"""Every error that the operator raises on purpose, in one tree below `carpool.errors`.

The type decides what happens next: `retryable` says whether the same attempt may succeed later, and
then the queue tries again with growing delays. What is not retried waits until something changes.
Errors of other libraries are converted where they come from, with their cause chained.

    CarpoolError
    └── OperatorError
        ├── SettingsError             the operator was started wrongly; the process ends with 2
        ├── LeadershipLost            another replica may write now; the process ends at once
        └── ApiError                  the API server's answer to a request
            ├── Unreachable           no answer in time  (retryable)
            ├── TooManyRequests       429, after waiting as it asked  (retryable)
            ├── ServerFailed          5xx  (retryable)
            ├── Forbidden             401, 403: permissions, quotas, policies  (retryable)
            ├── NotFound              404
            ├── AlreadyExists         409, on creating
            ├── Conflict              409, the object has changed meanwhile  (retryable)
            ├── Expired               410, the resource version is too old
            └── Invalid               400, 422: the object is refused as it is
"""

from __future__ import annotations

from typing import ClassVar

from carpool.errors import CarpoolError


class OperatorError(CarpoolError):
    """Root of the operator's own errors."""


class SettingsError(OperatorError):
    """A setting is wrong; the message names each, what was found and what is expected."""


class LeadershipLost(OperatorError):
    """The Lease was not renewed in time, or another replica holds it."""


class ApiError(OperatorError):
    """The API server did not do what was asked.

    Attributes:
        code: HTTP status; 0 where there was no answer.
        retry_after: seconds that the server asks to wait; None where it does not say.
    """

    codes: ClassVar[tuple[int, ...]] = ()

    def __init__(self, message: str, code: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class Unreachable(ApiError):
    """The API server did not answer in time, or the connection broke."""

    retryable = True


class TooManyRequests(ApiError):
    """The API server asks to come back later."""

    retryable = True
    codes = (429,)


class ServerFailed(ApiError):
    """The API server failed by itself."""

    retryable = True


class Forbidden(ApiError):
    """The operator may not do this now: permissions, a quota, or an admission policy."""

    retryable = True
    codes = (401, 403)


class NotFound(ApiError):
    """There is no such object."""

    codes = (404,)


class Conflict(ApiError):
    """The object is not the one that was read any more."""

    retryable = True
    codes = (409,)


class AlreadyExists(ApiError):
    """There is an object of this name."""


class Expired(ApiError):
    """The resource version, or the page of a list, is too old; list again."""

    codes = (410,)


class Invalid(ApiError):
    """The object or the patch is refused as it is."""

    codes = (400, 405, 413, 415, 422)


def api_error(code: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """The error of an answer of the API server.

    Args:
        code: HTTP status, 400 or more.
        reason: of the answer's metav1.Status; "" where there is none.
        message: what was asked and what the server said.
        retry_after: seconds, of the header Retry-After.
    """
    if reason == "AlreadyExists":
        return AlreadyExists(message, code, retry_after)
    for kind in (TooManyRequests, Forbidden, NotFound, Conflict, Expired, Invalid):
        if code in kind.codes:
            return kind(message, code, retry_after)
    return ServerFailed(message, code, retry_after)
