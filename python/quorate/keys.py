"""Keys, values and where they live."""

from __future__ import annotations

import json
from typing import Any, Protocol

import cbor2
import xxhash

from .errors import CodecMismatch, Invalid


class Unsigned(int):
    """An unsigned integer as a key: another key than the signed one of the same
    value."""


def encode_key(key: Any) -> bytes:
    """Encodes a key so that the order of the bytes is that of the keys of one type."""
    if isinstance(key, str):
        return b"\x01" + key.encode()
    if isinstance(key, Unsigned):
        if not 0 <= key < 1 << 64:
            raise Invalid(f"the key {key} does not fit into 64 bits")
        return b"\x03" + int(key).to_bytes(8, "big")
    if isinstance(key, bool):
        return b"\x05" + cbor2.dumps(key, canonical=True)
    if isinstance(key, int):
        if not -(1 << 63) <= key < 1 << 63:
            raise Invalid(f"the key {key} does not fit into 64 bits")
        return b"\x02" + (key + (1 << 63)).to_bytes(8, "big")
    if isinstance(key, bytes):
        return b"\x04" + key
    if isinstance(key, tuple):
        return b"\x05" + cbor2.dumps(key, canonical=True)
    raise Invalid(f"a {type(key).__name__} cannot be a key")


def decode_key(data: bytes) -> Any:
    tag, rest = data[:1], data[1:]
    if tag == b"\x01":
        return rest.decode()
    if tag == b"\x02" and len(rest) == 8:
        return int.from_bytes(rest, "big") - (1 << 63)
    if tag == b"\x03" and len(rest) == 8:
        return Unsigned(int.from_bytes(rest, "big"))
    if tag == b"\x04":
        return rest
    if tag == b"\x05":
        key = cbor2.loads(rest)
        return tuple(key) if isinstance(key, list) else key
    raise CodecMismatch(f"a key with the tag {tag.hex() or 'nothing'}")


def tag_of(text: bytes) -> bytes | None:
    """What stands between the first ``{`` with something behind it and its ``}``."""
    at = 0
    while (start := text.find(b"{", at)) >= 0:
        end = text.find(b"}", start + 1)
        if end < 0:
            return None
        if end > start + 1:
            return text[start + 1 : end]
        at = end + 1
    return None


def partition_of(partitions: int, name: str, key: bytes | None) -> int:
    """The partition of an encoded key; ``None`` for a structure without keys."""
    hashed = tag_of(name.encode())
    if hashed is None:
        if key is None:
            hashed = name.encode()
        elif key[:1] == b"\x01":
            hashed = tag_of(key[1:])
    if hashed is None:
        assert key is not None
        hashed = key[1:]
    return xxhash.xxh64_intdigest(hashed) % partitions


class Codec(Protocol):
    """How values are written. ``number`` is the first byte of every value."""

    @property
    def number(self) -> int: ...

    def dumps(self, value: Any) -> bytes: ...

    def loads(self, data: bytes) -> Any: ...


class _CBOR:
    number = 1

    def dumps(self, value: Any) -> bytes:
        return cbor2.dumps(value, canonical=True)

    def loads(self, data: bytes) -> Any:
        return cbor2.loads(data)


class _JSON:
    number = 2

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class _Raw:
    number = 3

    def dumps(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise TypeError("a raw value is of type bytes")
        return value

    def loads(self, data: bytes) -> Any:
        return data


CBOR: Codec = _CBOR()
JSON: Codec = _JSON()
RAW: Codec = _Raw()


def encode_value(codec: Codec, value: Any) -> bytes:
    try:
        return bytes([codec.number]) + codec.dumps(value)
    except Exception as e:
        raise CodecMismatch(f"the value cannot be encoded: {e}") from e


def decode_value(codec: Codec, data: bytes) -> Any:
    if data[:1] != bytes([codec.number]):
        raise CodecMismatch(
            f"the value was written with codec {data[0] if data else 'nothing'}, "
            f"this handle reads codec {codec.number}"
        )
    try:
        return codec.loads(data[1:])
    except Exception as e:
        raise CodecMismatch(f"the value cannot be decoded: {e}") from e
