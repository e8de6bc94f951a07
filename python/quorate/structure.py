"""What all structures have in common."""

from __future__ import annotations

from typing import Any

from . import errors, keys, wire
from .client import Call, Client
from .protocol import KINDS

OWN_CODES: dict[tuple[str, str], type[errors.QuorateError]] = {
    ("map", "conflict"): errors.Conflict,
    ("map", "not_integer"): errors.NotInteger,
    ("map", "overflow"): errors.Overflow,
    ("counter", "overflow"): errors.Overflow,
    ("semaphore", "not_initialized"): errors.NotInitialized,
    ("semaphore", "too_many"): errors.TooMany,
    ("semaphore", "not_held"): errors.NotHeld,
    ("queue", "codec"): errors.CodecMismatch,
}


def milliseconds(seconds: float | None) -> int:
    """A wait on the wire: at least one millisecond, 0 has no end."""
    return 0 if seconds is None else max(int(seconds * 1000), 1)


class Structure:
    """A handle: making it costs nothing."""

    kind_name = ""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name
        self._kind = KINDS[self.kind_name]
        self._codes = {number: name for name, number in self._kind.codes.items()}

    def _call(self, operation: str, body: list[Any], key: bytes | None = None) -> Call:
        op = self._kind[operation]
        return Call(
            self._kind.id,
            op.op,
            self.name,
            f"{operation} {self.kind_name}",
            wire.encode(body),
            self._client.partition(self.name, key),
            read=op.read,
            waits=op.waits,
        )

    def _bounded(self, data: bytes, what: str, most: int, beside: int) -> bytes:
        """Refuses what is over a limit before it is sent."""
        if len(data) - beside > most:
            raise errors.TooLarge(
                f"the {what} has {len(data) - beside} bytes, limit {what}: {most}",
                operation=f"{self.kind_name} {self.name}",
            )
        return data

    def _encode_key(self, key: Any) -> bytes:
        return self._bounded(keys.encode_key(key), "key", self._client.limits.key, 1)

    def _encode_value(self, codec: keys.Codec, value: Any) -> bytes:
        data = keys.encode_value(codec, value)
        return self._bounded(data, "value", self._client.limits.value, 0)

    async def _invoke(self, call: Call, *answers: str) -> tuple[str, wire.Reply]:
        """Carries out a call. A code of the structure's own is an error, unless it
        is among the answers; then its name comes first, else an empty text."""
        reply = await self._client.invoke(call)
        if reply.code == 0:
            return "", reply
        name = "timed_out" if reply.code == 45 else self._codes.get(reply.code, "")
        if name in answers:
            return name, reply
        kind = OWN_CODES.get((self.kind_name, name), errors.Unsupported)
        raise kind(
            reply.problem()[0], operation=f"{call.verb} {self.name}", code=reply.code
        )

    async def _result(self, operation: str, *body: Any, key: bytes | None = None) -> list[Any]:
        _, reply = await self._invoke(self._call(operation, list(body), key))
        return reply.result()

    def _everywhere(self) -> range:
        """The partitions that have a part of the structure."""
        if not self._kind.keyed:
            return range(self._client.partition(self.name), self._client.partition(self.name) + 1)
        return range(self._client.partitions)

    async def _each(self, operation: str, *body: Any) -> list[list[Any]]:
        results = []
        for partition in self._everywhere():
            call = self._call(operation, list(body), b"\x01")
            call.partition = partition
            results.append((await self._invoke(call))[1].result())
        return results

    async def destroy(self) -> None:
        """Removes it with all that it has. The name can be used again at once."""
        await self._each("destroy")

    async def length(self) -> int:
        """How many things it has. Parts of a map are counted one after the other."""
        return sum(n for [n] in await self._each("length"))

    async def configure(self, **settings: int | float | str) -> None:
        """Agrees the settings, once; those not given are at their defaults. The same
        again changes nothing, others are :class:`~quorate.SettingsMismatch`. Times
        are in seconds. After another error it may be called again."""
        body: list[Any] = []
        for name, value in sorted(settings.items()):
            kind = self._kind.settings.get(name)
            if kind is None:
                raise errors.Invalid(
                    f"a {self.kind_name} has no setting {name!r}",
                    operation=f"configure {self.kind_name} {self.name}",
                )
            body += [name, int(value * 1000) if kind == "duration" and not isinstance(value, str) else value]
        [version] = await self._result("configure", *body)
        if self._kind.keyed:
            await self._each("adopt", version, *body)

    async def settings(self) -> dict[str, int | float | str]:
        """The settings in force."""
        _, *rest = await self._result("settings")
        return {
            name: value / 1000 if self._kind.settings.get(name) == "duration" else value
            for name, value in zip(rest[::2], rest[1::2], strict=True)
        }
