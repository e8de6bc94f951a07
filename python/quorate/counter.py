from __future__ import annotations

from .structure import Structure


class Counter(Structure):
    """One integer of 64 bits, 0 before it is written."""

    kind_name = "counter"

    async def get(self) -> int:
        return int((await self._result("get"))[0])

    async def set(self, value: int) -> None:
        await self._result("set", value)

    async def add(self, delta: int = 1) -> int:
        """Adds, and returns the sum. :class:`~quorate.Overflow` changes nothing."""
        return int((await self._result("add", delta))[0])

    async def compare_and_set(self, old: int, new: int) -> bool:
        answer, _ = await self._invoke(self._call("compare_and_set", [old, new]), "differs")
        return answer == ""
