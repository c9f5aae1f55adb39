"""Maps take hundreds of megabytes: what a server keeps of them once they are drawn."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from places import EXAMPLES, ROOT

MB = 2**20
MAPS = """
import sys
from threading import Thread
import psutil
from mri_models import Pipeline
from mri_models.page import memory
from mri_models.page.shown import Reader

memory.share_heaps()
reader, kept = Reader(Pipeline.from_pretrained()), []
seen = reader.look(sys.argv[1])
for _ in range(4):  # a server answers from one thread after the other
    thread = Thread(target=reader.explain, args=(seen, "integrated_gradients"))
    thread.start()
    thread.join()
    kept.append(psutil.Process().memory_info().rss)
print(*kept)
"""


@pytest.mark.weights
@pytest.mark.skipif(not psutil.LINUX, reason="glibc's heaps")
def test_memory_is_flat_over_maps():
    example = str(EXAMPLES / "01_brain_t1_axial.png")
    ended = subprocess.run(
        [sys.executable, "-c", MAPS, example], cwd=ROOT, capture_output=True, text=True, timeout=280, check=True
    )
    first, *later = (int(size) for size in ended.stdout.split())
    assert max(later) - first < 150 * MB  # without heaps in common and trimming: 500 to 2,000 MB
