"""The numbers of the protocol, as the project's JSON file has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Operation:
    op: int
    name: str
    read: bool
    waits: bool
    holds: bool


@dataclass(frozen=True)
class Kind:
    id: int
    name: str
    keyed: bool
    operations: dict[str, Operation]
    codes: dict[str, int]
    settings: dict[str, str]  # their types

    def __getitem__(self, name: str) -> Operation:
        return self.operations[name]


def _load() -> tuple[dict[str, Kind], dict[str, int]]:
    text = resources.files(__package__).joinpath("protocol.json").read_text()
    file = json.loads(text)

    def operations(*lists: list[dict[str, object]]) -> dict[str, Operation]:
        found = {}
        for o in (o for ops in lists for o in ops):
            name, op = str(o["name"]), int(str(o["op"]))
            found[name] = Operation(
                op, name, bool(o.get("read")), bool(o.get("waits")), bool(o.get("holds"))
            )
        return found

    kinds = {}
    for k in file["kinds"]:
        kinds[k["name"]] = Kind(
            k["kind"],
            k["name"],
            bool(k.get("keyed")),
            operations(k["operations"], file["generic"]),
            {c["name"]: c["code"] for c in k.get("codes") or []},
            {s["name"]: s["type"] for s in k.get("settings") or []},
        )
    return kinds, {c["name"]: c["code"] for c in file["codes"]}


KINDS, CODES = _load()
