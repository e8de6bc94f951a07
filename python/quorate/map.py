from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .client import Client
from .keys import CBOR, Codec, decode_key, decode_value
from .structure import Structure

K = TypeVar("K")
V = TypeVar("V")

KEEP_TTL, NO_TTL = -1.0, float("inf")
MANY = 1000  # keys of one request


@dataclass(frozen=True)
class Entry(Generic[K, V]):
    key: K
    value: V
    version: int
    left: float | None  # seconds until it expires


def _ttl(seconds: float | None) -> int:
    match seconds:
        case None:
            return 0
        case -1.0:
            return -1
        case float() if seconds == NO_TTL:
            return -2
    return int(seconds * 1000)


class Map(Structure, Generic[K, V]):
    """A map of keys to values. Keys are text, integers, bytes or tuples of these.

    A ``ttl`` is in seconds: none is the map's default, ``KEEP_TTL`` what the entry
    has, ``NO_TTL`` never.
    """

    kind_name = "map"

    def __init__(self, client: Client, name: str, codec: Codec = CBOR) -> None:
        super().__init__(client, name)
        self._codec = codec

    def _value(self, value: Any) -> bytes:
        return self._encode_value(self._codec, value)

    def _read(self, data: bytes) -> Any:
        return decode_value(self._codec, data)

    def _optional(self, result: list[Any]) -> V | None:
        return self._read(result[0]) if result else None

    async def get(self, key: K, default: V | None = None) -> V | None:
        entry = await self.entry(key)
        return default if entry is None else entry.value

    async def entry(self, key: K) -> Entry[K, V] | None:
        k = self._encode_key(key)
        result = await self._result("get", k, key=k)
        if not result:
            return None
        value, version, left, *_ = result  # an owner may follow
        return Entry(key, self._read(value), version, left / 1000 if left else None)

    async def put(self, key: K, value: V, ttl: float | None = None) -> None:
        k = self._encode_key(key)
        await self._result("put", k, self._value(value), _ttl(ttl), key=k)

    async def swap(self, key: K, value: V, ttl: float | None = None) -> V | None:
        """Puts, and returns the value before."""
        k = self._encode_key(key)
        return self._optional(await self._result("swap", k, self._value(value), _ttl(ttl), key=k))

    async def put_if_absent(self, key: K, value: V, ttl: float | None = None) -> V | None:
        """Puts if there is no entry, else returns the value that there is."""
        k = self._encode_key(key)
        return self._optional(
            await self._result("put_if_absent", k, self._value(value), _ttl(ttl), key=k)
        )

    async def replace(self, key: K, version: int, value: V, ttl: float | None = KEEP_TTL) -> int:
        """Puts if the entry has this version, and returns the new one. Else
        :class:`~quorate.Conflict`."""
        k = self._encode_key(key)
        return int((await self._result("replace", k, self._value(value), _ttl(ttl), version, key=k))[0])

    async def delete(self, key: K) -> bool:
        k = self._encode_key(key)
        return bool((await self._result("delete", k, key=k))[0])

    async def remove(self, key: K) -> V | None:
        """Deletes, and returns the value that there was."""
        k = self._encode_key(key)
        return self._optional(await self._result("remove", k, key=k))

    async def delete_version(self, key: K, version: int) -> None:
        k = self._encode_key(key)
        await self._result("delete_version", k, version, key=k)

    async def set_ttl(self, key: K, ttl: float | None) -> bool:
        k = self._encode_key(key)
        return bool((await self._result("set_ttl", k, _ttl(ttl), key=k))[0])

    async def add(self, key: K, delta: int = 1, bits: int = 64) -> int:
        """Adds to an integer at the grid, 0 if there is no entry."""
        k = self._encode_key(key)
        return int((await self._result("add", k, delta, bits, key=k))[0])

    def _by_partition(self, keys: Iterable[K]) -> dict[int, list[tuple[bytes, K]]]:
        parts: dict[int, list[tuple[bytes, K]]] = {}
        for key in keys:
            k = self._encode_key(key)
            # A client whose member routes sends each key by itself: it cannot know
            # which are of one partition.
            at = len(parts) if self._client.routed else self._client.partition(self.name, k)
            parts.setdefault(at, []).append((k, key))
        for part in parts.values():
            part.sort(key=lambda pair: pair[0])
        return parts

    async def get_all(self, keys: Iterable[K]) -> dict[K, V]:
        found: dict[K, V] = {}
        for part in self._by_partition(dict.fromkeys(keys)).values():
            while part:
                some = part[:MANY]
                next_, *rest = await self._result("get_all", *(k for k, _ in some), key=some[0][0])
                for index, value in zip(rest[::4], rest[1::4], strict=True):
                    found[some[index][1]] = self._read(value)
                part = part[next_:]
        return found

    async def put_all(self, entries: Mapping[K, V], ttl: float | None = None) -> None:
        """Puts many entries: those of one partition and request at once, all of them
        not."""
        limit = self._client.body_limit // 2
        for part in self._by_partition(entries).values():
            body: list[Any] = [_ttl(ttl)]
            size, first = 0, part[0][0]
            for k, key in part:
                value = self._value(entries[key])
                if len(body) > 2 * MANY or size and size + len(k) + len(value) > limit:
                    await self._result("put_all", *body, key=first)
                    body, size, first = [_ttl(ttl)], 0, k
                body += [k, value]
                size += len(k) + len(value) + 16
            await self._result("put_all", *body, key=first)

    async def delete_all(self, keys: Iterable[K]) -> int:
        """Deletes, and returns how many there were."""
        deleted = 0
        for part in self._by_partition(dict.fromkeys(keys)).values():
            for i in range(0, len(part), MANY):
                some = [k for k, _ in part[i : i + MANY]]
                deleted += (await self._result("delete_all", *some, key=some[0]))[0]
        return deleted

    async def items(self, start: bytes = b"", end: bytes = b"") -> AsyncIterator[Entry[K, V]]:
        """The entries, in the order of their keys inside each partition. The bounds
        are encoded keys."""
        for partition in self._everywhere():
            at: bytes = start
            while True:
                call = self._call("scan", [at, end, 1 << 20], b"\x01")
                call.partition = partition
                next_, *rest = (await self._invoke(call))[1].result()
                for k, value, version, left in zip(*[iter(rest)] * 4, strict=True):
                    yield Entry(decode_key(k), self._read(value), version, left / 1000 if left else None)
                if not next_:
                    break
                at = next_

    async def keys(self, start: bytes = b"", end: bytes = b"") -> AsyncIterator[K]:
        for partition in self._everywhere():
            at: bytes = start
            while True:
                call = self._call("scan_keys", [at, end, 1 << 20], b"\x01")
                call.partition = partition
                next_, *rest = (await self._invoke(call))[1].result()
                for k in rest:
                    yield decode_key(k)
                if not next_:
                    break
                at = next_

    async def clear(self) -> None:
        """Removes all entries, a piece at a time."""
        for partition in self._everywhere():
            at: bytes = b""
            while True:
                call = self._call("clear", [at], b"\x01")
                call.partition = partition
                [at] = (await self._invoke(call))[1].result()
                if not at:
                    break
