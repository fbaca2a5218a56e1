"""The error tree.

ResponderError
├── TemporaryError            trying again may help; retry reads `retry_after`
│   ├── UnreachableError      nothing was sent, or the peer could not be reached
│   ├── OutcomeUnknownError   the request was sent, the answer never came: ask the world before trying again
│   ├── ConflictError         somebody else changed the object meanwhile (Kubernetes 409, or a failed JSON patch `test`, 422)
│   └── JournalUnavailableError   the journal can't be written or can't keep up
└── PermanentError            trying again will not help
    ├── NotFoundError
    ├── ForbiddenError        a right is missing; the message names the right
    ├── RefusedError          a guard or a precondition said no
    ├── DeniedError           whoever asks may not do this
    ├── StoppedError          a person stopped the run; the step ended at a safe point
    ├── InvalidInputError     a body or a parameter is wrong; carries the field
    ├── RulebookError         a rulebook is wrong; carries every problem found
    └── SettingsError         the environment is wrong
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class ResponderError(Exception):
    """Root of every error raised on purpose by Responder."""


class TemporaryError(ResponderError):
    """Trying again may help.

    retry_after: how long the peer asked us to wait, None when it did not say.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(TemporaryError):
    """The peer could not be reached; nothing took effect."""


class OutcomeUnknownError(TemporaryError):
    """The request went out but no answer came back; it may have taken effect."""


class ConflictError(TemporaryError):
    """The object changed between our read and our write."""


class JournalUnavailableError(TemporaryError):
    """The journal can't be written or can't keep up."""


class PermanentError(ResponderError):
    """Trying again will not help."""


class NotFoundError(PermanentError):
    """The object does not exist. field: what part of a body named it, None when none did."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ForbiddenError(PermanentError):
    """A right is missing; the message names it."""


class RefusedError(PermanentError):
    """A guard or a precondition said no; nothing was changed."""


class DeniedError(PermanentError):
    """Whoever asks may not do this; the message says who may."""


class StoppedError(PermanentError):
    """A person stopped the run. Raised where a step may end safely: by `StepContext.sleep`, never inside an effect."""


class InvalidInputError(PermanentError):
    """A body or a parameter is wrong.

    field: where, as a path such as `alerts[0].labels`; None when the body as a whole is wrong.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class RulebookError(PermanentError):
    """A rulebook is wrong. `problems` holds one line per problem: `file:line:column: what, hint`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SettingsError(PermanentError):
    """The environment is wrong; the message names the variable, never its value."""
