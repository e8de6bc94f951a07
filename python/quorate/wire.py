"""Frames, messages and CBOR in the one form that the protocol allows."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import cbor2

PREFACE = b"QUORATEC"
HANDSHAKE_LIMIT = 64 << 10


class Malformed(Exception):
    """Bytes that are not what the protocol says."""


def encode(item: Any) -> bytes:
    """Encodes integers, byte strings, text, booleans and lists of these."""
    return cbor2.dumps(item)


def decode(data: bytes) -> Any:
    """Decodes exactly one item."""
    stream = io.BytesIO(data)
    try:
        item = cbor2.CBORDecoder(stream).decode()
    except Exception as e:
        raise Malformed(f"not CBOR: {e}") from e
    if stream.tell() != len(data):
        raise Malformed("bytes follow the item")
    return item


def frame(message: list[Any]) -> bytes:
    body = encode(message)
    return struct.pack(">I", len(body)) + body


def items(message: Any, count: int) -> list[Any]:
    """Returns the first elements of an array, ``None`` for those that an older
    member does not send. Those beyond are of a later version, and skipped."""
    if not isinstance(message, list):
        raise Malformed("not an array")
    return (message + [None] * count)[:count]


@dataclass(frozen=True)
class Limits:
    name: int
    key: int
    value: int
    frame: int
    page_entries: int
    page_bytes: int
    in_flight: int
    slots: int
    waiters: int

    @staticmethod
    def of(array: Any) -> Limits:
        return Limits(*(int(n or 0) for n in items(array, 9)))


@dataclass(frozen=True)
class Group:
    id: int
    term: int
    leader: int
    replicas: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """Which group has a partition, who leads a group, and where members are."""

    epoch: int = 0
    partitions: tuple[int, ...] = ()
    groups: dict[int, Group] = field(default_factory=dict)
    members: dict[int, str] = field(default_factory=dict)
    cluster: bytes = b""
    id: int = 0

    @staticmethod
    def of(array: Any) -> Table:
        _, epoch, partitions, groups, members, cluster, number = items(array, 7)
        found = {}
        for g in groups or []:
            id, term, leader, replicas = items(g, 4)
            found[id] = Group(id, term or 0, leader or 0, tuple(replicas or ()))
        addresses = {}
        for m in members or []:
            id, _, address = items(m, 3)
            addresses[id] = address or ""
        return Table(
            epoch or 0, tuple(partitions or ()), found, addresses, cluster or b"", number or 0
        )


@dataclass(frozen=True)
class Welcome:
    version: int
    cluster: bytes
    name: str
    member: int
    durability: str
    limits: Limits
    body: int
    partitions: int
    table: Table
    session: int
    session_ttl: int

    @staticmethod
    def of(array: Any) -> Welcome:
        w = items(array, 15)
        return Welcome(
            version=w[1] or 0,
            cluster=w[5] or b"",
            name=w[6] or "",
            member=w[7] or 0,
            durability=w[8] or "",
            limits=Limits.of(w[9] or []),
            body=w[10] or 0,
            partitions=w[11] or 0,
            table=Table.of(w[12] or [6]),
            session=w[13] or 0,
            session_ttl=w[14] or 0,
        )


@dataclass(frozen=True)
class Reply:
    id: int
    code: int
    epoch: int
    version: int
    body: bytes

    @staticmethod
    def of(array: Any) -> Reply:
        _, id, code, epoch, version, body = items(array, 6)
        return Reply(id or 0, code or 0, epoch or 0, version or 0, body or b"")

    def problem(self) -> tuple[str, float, int]:
        """Why, how long to wait in seconds, and who leads."""
        if not self.body:
            return "", 0.0, 0
        try:
            detail, wait, leader = items(decode(self.body), 3)
        except Malformed:
            return "", 0.0, 0
        if not isinstance(detail, str):
            return "", 0.0, 0
        return detail, (wait or 0) / 1000, leader or 0

    def result(self) -> list[Any]:
        body = decode(self.body)
        if not isinstance(body, list):
            raise Malformed("a result is an array")
        return body
