"""Damaged files of every kind that is read, many of them: only a Scan, a Volume or an InputError may come out.

    python tests/fuzz_intake.py --inputs 100000 --seed 0 --workers 2
    python tests/fuzz_intake.py --seed 0 --only 4711 --save bad.bin

Input number n follows from the seed alone. Status 1 when anything else was raised, a process died, an input took longer
than SLOW seconds, or a process kept GROWTH bytes more than after its first WARM inputs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT.parent)]

from fuzz_seeds import Seed, seeds  # noqa: E402

from mri_models.errors import InputError  # noqa: E402
from mri_models.intake import read_scan  # noqa: E402
from mri_models.quality import check_quality  # noqa: E402
from mri_models.volumes.intake import read_volume  # noqa: E402

SLOW = 5.0  # seconds of processor time, which neighbours on the machine do not lengthen
HANGS = 120.0  # seconds of the clock after which a process is ended, so that a hang is found too
GROWTH = 100 * 2**20
WARM = 1000  # inputs after which allocators have what they need
_EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Result:
    """number: of the input. outcome: "read", a refusal's code, or "!" and what should not have happened."""

    number: int
    name: str
    outcome: str
    seconds: float
    resident: int


def damage(data: bytes, random: Random) -> bytes:
    """Up to six blows: most of them near the start, where headers are; some of whole fields, some of structure."""
    broken = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        near = min(len(broken), 400) if random.random() < 0.6 else len(broken)
        at, span = random.randrange(max(near, 1)), random.randint(1, 40)
        match random.randrange(9):
            case 0:
                broken[at : at + 1] = bytes([random.randrange(256)])
            case 1 if at < len(broken):
                broken[at] ^= 1 << random.randrange(8)
            case 2:
                broken[at : at + 4] = struct.pack(random.choice("<>") + "I", random.choice(_EDGES))
            case 3:
                broken[at : at + 2] = struct.pack(random.choice("<>") + "H", random.choice(_EDGES) & 0xFFFF)
            case 4:
                del broken[at : at + span]
            case 5:
                broken[at:at] = random.randbytes(span)
            case 6:
                broken[at:at] = broken[at : at + span] * random.choice((1, 2, 50))
            case 7:
                broken[at : at + span] = bytes(min(span, len(broken) - at))
            case _ if random.random() < 0.3:
                del broken[random.randrange(len(broken) + 1) :]
    return bytes(broken)


def input_of(kinds: Sequence[Seed], seed: int, number: int) -> tuple[Seed, bytes]:
    """The damaged file of this number: from outside, from inside its wrapping, or two files in one."""
    random = Random(f"{seed}/{number}")
    kind = kinds[number % len(kinds)]
    way = random.random()
    if kind.inside and way < 0.6:
        return kind, kind.inside(kind.data, random, damage)
    if way > 0.95:
        other = random.choice(kinds).data
        cut = random.randrange(len(kind.data))
        return kind, kind.data[:cut] + other[random.randrange(len(other)) :]
    return kind, damage(kind.data, random)


def outcome_of(kind: Seed, data: bytes) -> str:
    try:
        if kind.volume:
            read_volume(data)
        else:
            check_quality(read_scan(data))
    except InputError as refusal:
        return refusal.code
    except Exception as error:  # exactly what is searched for
        return f"! {type(error).__name__}: {error}"
    return "read"


def fuzz(seed: int, numbers: Sequence[int]) -> Iterator[Result]:
    kinds = seeds()
    warnings.simplefilter("ignore")  # as in serving: decoders' warnings pass
    for number in numbers:
        kind, data = input_of(kinds, seed, number)
        start = time.process_time()
        outcome = outcome_of(kind, data)
        yield Result(number, kind.name, outcome, time.process_time() - start, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _work(pipe: Connection, seed: int, numbers: Sequence[int]) -> None:
    for result in fuzz(seed, numbers):
        pipe.send(result)
    pipe.close()


class Workers:
    """Processes of their own, so that one that dies or hangs is found, named, and replaced behind its input."""

    def __init__(self, seed: int, total: int, count: int):
        self.seed = seed
        self.running: dict[Connection, tuple[multiprocessing.Process, Sequence[int], float]] = {}
        for first in range(count):
            self._start(range(first, total, count))

    def _start(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        mine, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, self.seed, numbers))
        process.start()
        theirs.close()
        self.running[mine] = process, numbers, time.monotonic() + HANGS

    def results(self) -> Iterator[tuple[int, Result]]:
        """(process, result) as they come."""
        while self.running:
            for pipe in wait([*self.running], timeout=1):
                process, numbers, _ = self.running.pop(pipe)
                try:
                    result = pipe.recv()
                except EOFError:
                    yield from self._ended(process, numbers, "died")
                    continue
                self.running[pipe] = process, numbers[1:], time.monotonic() + HANGS
                yield process.pid, result
            for pipe, (process, numbers, until) in [*self.running.items()]:
                if time.monotonic() > until:
                    del self.running[pipe]
                    process.kill()
                    yield from self._ended(process, numbers, "hangs")

    def _ended(
        self, process: multiprocessing.Process, numbers: Sequence[int], how: str
    ) -> Iterator[tuple[int, Result]]:
        process.join()
        if numbers:
            yield process.pid, Result(numbers[0], "?", f"! {how}, status {process.exitcode}", HANGS, 0)
            self._start(numbers[1:])


class Summary:
    """Counts by format and outcome, the slowest input, and each process's growth."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.bad: list[Result] = []
        self.slowest = Result(-1, "", "", 0.0, 0)
        self.warm: dict[int, int] = {}
        self.most: dict[int, int] = {}
        self.seen: Counter[int] = Counter()

    def add(self, pid: int, result: Result) -> None:
        self.counts.setdefault(result.name, Counter())[result.outcome.split(":")[0]] += 1
        self.slowest = max(self.slowest, result, key=lambda r: r.seconds)
        if result.outcome.startswith("!") or result.seconds > SLOW:
            self.bad.append(result)
            print(f"number {result.number} ({result.name}, {result.seconds:.2f} s): {result.outcome}", flush=True)
        self.seen[pid] += 1
        if self.seen[pid] == WARM:
            self.warm[pid] = result.resident
        self.most[pid] = max(self.most.get(pid, 0), result.resident)

    @property
    def growth(self) -> int:
        """Bytes that the process grew most after it was warm, at its highest point between two inputs."""
        return max((self.most[pid] - start for pid, start in self.warm.items()), default=0)

    def __str__(self) -> str:
        lines = [
            f"{name:18} {sum(found.values()):7}  " + ", ".join(f"{k} {n}" for k, n in found.most_common())
            for name, found in sorted(self.counts.items())
        ]
        slow, total = self.slowest, sum(self.seen.values())
        lines += [
            f"{total} inputs, {len(self.bad)} findings; slowest {slow.seconds:.2f} s ({slow.name}, {slow.number}); "
            f"resident at most {max(self.most.values(), default=0) >> 20} MB, grown by {self.growth >> 20} MB"
        ]
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="one input by its number, in this process, with a traceback")
    parser.add_argument("--save", type=Path, help="where to write the input of --only")
    options = parser.parse_args()
    if options.only is not None:
        kind, data = input_of(seeds(), options.seed, options.only)
        if options.save:
            options.save.write_bytes(data)
        print(kind.name, len(data), "bytes")
        print((read_volume if kind.volume else read_scan)(data).shape)
        return 0
    summary, start = Summary(), time.monotonic()
    try:
        for pid, result in Workers(options.seed, options.inputs, options.workers).results():
            summary.add(pid, result)
    except KeyboardInterrupt:
        print("stopped early; so far:")
    print(summary, f"{time.monotonic() - start:.0f} s", sep="\n")
    return int(bool(summary.bad) or summary.growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
