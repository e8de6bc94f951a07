"""An asyncio client of Quorate, the distributed data grid."""

from .client import Client
from .counter import Counter
from .errors import (
    Closed,
    CodecMismatch,
    Conflict,
    Destroyed,
    Invalid,
    MemoryFull,
    NotHeld,
    NotInitialized,
    NotInteger,
    Overflow,
    Overloaded,
    QuorateError,
    ReadOnly,
    ReplyDropped,
    SessionLost,
    SettingsMismatch,
    TooLarge,
    TooMany,
    Unavailable,
    Unsupported,
    WrongGrid,
)
from .keys import CBOR, JSON, RAW, Codec, Unsigned
from .map import KEEP_TTL, NO_TTL, Entry, Map
from .queue import Queue
from .semaphore import Held, Semaphore

__all__ = [
    "CBOR", "JSON", "KEEP_TTL", "NO_TTL", "RAW", "Client", "Closed", "Codec", "CodecMismatch", "Conflict",
    "Counter", "Destroyed", "Entry", "Held", "Invalid", "Map", "MemoryFull", "NotHeld", "NotInitialized",
    "NotInteger", "Overflow", "Overloaded", "Queue", "QuorateError", "ReadOnly", "ReplyDropped", "Semaphore",
    "SessionLost", "SettingsMismatch", "TooLarge", "TooMany", "Unavailable", "Unsigned", "Unsupported",
    "WrongGrid",
]  # fmt: skip
