"""The client keeps the rules of the protocol, as ``quorate conform`` sees it."""

from __future__ import annotations

import subprocess
import sys
import unittest

from tests.grid import ROOT, command


class Conformance(unittest.TestCase):
    def test_levels(self) -> None:
        # Most of the time is spent waiting, so both levels are tried at once.
        tests = {
            level: subprocess.Popen(
                [
                    command(), "conform", "--level", level, "--listen", "127.0.0.1:0",
                    "--exec", f"{sys.executable} -B -m tests.conformance {level}",
                ],
                cwd=ROOT / "python", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for level in ("simple", "full")
        }  # fmt: skip
        for level, process in tests.items():
            with self.subTest(level=level):
                out, _ = process.communicate(timeout=600)
                self.assertEqual(process.returncode, 0, out)


if __name__ == "__main__":
    unittest.main()
