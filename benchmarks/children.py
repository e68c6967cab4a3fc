"""Child processes that a benchmark watches: what they say, and how much memory they hold."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread


@dataclass(frozen=True, slots=True)
class Watched:
    """lines: what the child printed. peak_gb: the most that it and its children held at a time."""

    lines: list[str]
    peak_gb: float


def watch(command: Sequence[str], hear: Callable[[str], None] | None = None) -> Watched:
    """Run a child to its end. hear: called with each line as it comes.

    Ends the program where the child fails; its complaints are on the same stderr.
    """
    peak, lines = 0, []

    def sample() -> None:
        nonlocal peak
        while child.poll() is None:
            peak = max(peak, memory_of(child.pid))
            time.sleep(0.1)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        sampler = Thread(target=sample)
        sampler.start()
        for line in child.stdout or ():
            lines.append(line.rstrip("\n"))
            if hear is not None:
                hear(lines[-1])
    sampler.join()
    if child.returncode:
        raise SystemExit(f"'{' '.join(command)}' ended with {child.returncode}.")
    return Watched(lines, peak / 2**30)


def memory_of(pid: int) -> int:
    """Bytes that a process and its children hold (resident; shared pages counted by share)."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:") or line.startswith("Pss_Shmem:"):
                total += int(line.split()[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(memory_of(int(child)) for child in children)
