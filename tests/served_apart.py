"""app.py as a process of its own, with the fake pipeline: python tests/served_apart.py SECONDS_A_VERDICT"""

from __future__ import annotations

import sys
from pathlib import Path
from time import sleep

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes import FakePipeline  # noqa: E402

import app  # noqa: E402


class Slow(FakePipeline):
    """Answers as the fake does, and takes its time."""

    seconds = float(sys.argv[1])

    @classmethod
    def from_pretrained(cls) -> Slow:
        return cls()

    def verdict(self, *args, **options):
        sleep(self.seconds)
        return super().verdict(*args, **options)


app.Pipeline = Slow

if __name__ == "__main__":
    sys.exit(app.main())
