"""The errors of a client, and what they say of an operation's outcome."""

from __future__ import annotations


class QuorateError(Exception):
    """An operation failed.

    ``outcome_unknown`` says whether a mutation may have been applied, or may
    yet be. ``code`` is the member's answer, 0 if none is the reason.
    """

    def __init__(
        self,
        message: str = "",
        *,
        operation: str = "",
        code: int = 0,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.code = code
        self.outcome_unknown = outcome_unknown

    @property
    def safe_to_retry(self) -> bool:
        """Whether nothing has changed, so that the caller may try again."""
        return not self.outcome_unknown

    def __str__(self) -> str:
        text = self.message or (self.__doc__ or "").splitlines()[0].rstrip(".")
        if self.operation:
            text = f"{self.operation}: {text}"
        if self.outcome_unknown:
            text += " (the outcome is unknown)"
        return text


class Unavailable(QuorateError):
    """No member could answer in time."""


class Overloaded(QuorateError):
    """The grid, or the client, has more to do than it takes on."""


class Unsupported(QuorateError):
    """The member does not know the operation, or speaks another version."""


class Invalid(QuorateError):
    """An argument is out of range or malformed."""


class TooLarge(QuorateError):
    """A limit of the grid is exceeded."""


class Conflict(QuorateError):
    """The entry has another version, or is gone."""


class NotInteger(QuorateError):
    """The value is not an integer."""


class Overflow(QuorateError):
    """The sum does not fit."""


class NotInitialized(QuorateError):
    """The semaphore has not been initialized."""


class TooMany(QuorateError):
    """More permits than the semaphore has."""


class NotHeld(QuorateError):
    """The session does not hold it."""


class SettingsMismatch(QuorateError):
    """Other settings are in force."""


class Destroyed(QuorateError):
    """The structure was destroyed while the call waited."""


class MemoryFull(QuorateError):
    """A member is short of memory."""


class ReadOnly(QuorateError):
    """A member is short of disk."""


class SessionLost(QuorateError):
    """The session has ended, and with it what it held."""


class WrongGrid(QuorateError):
    """The member belongs to another cluster."""


class CodecMismatch(QuorateError):
    """The value was written with another codec, or cannot be encoded."""


class Closed(QuorateError):
    """The client is closed."""


class ReplyDropped(QuorateError):
    """It was applied; its reply is no longer kept."""


BY_CODE: dict[int, type[QuorateError]] = {
    7: Unavailable,
    4: Overloaded,
    8: MemoryFull,
    9: ReadOnly,
    6: SessionLost,
    20: Unavailable,
    21: ReplyDropped,
    40: Invalid,
    41: TooLarge,
    42: Unsupported,
    43: QuorateError,
    46: Destroyed,
    47: SettingsMismatch,
    48: Overloaded,
    49: QuorateError,
    50: WrongGrid,
    51: Unsupported,
    55: Invalid,  # it holds, and members keep the session
}
