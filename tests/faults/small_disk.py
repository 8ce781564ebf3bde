"""Run as a program where it may mount: makes a run on small file systems, gives them room, and prints what became of it.

    small_disk.py FOLDER SIZES WORDS...

SIZES is how many sizes are tried, up to half as much again as the run needs; 1 stands for half of what it needs.

The run of `harness WORDS` is made on a disk with room first, which tells how much it needs.
"""

import json
import subprocess
import sys
from pathlib import Path

from support import what_was_learned

from harness.errors import BadInput
from harness.store.store import Store


def harness(words: list[str], results: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "harness", *words, "--results", str(results)]
    return subprocess.run(command, capture_output=True, text=True)


def room(folder: Path, kilobytes: int, *, more: bool = False) -> None:
    options = f"size={kilobytes}k" + (",remount" if more else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


def main() -> None:
    folder, sizes, words = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    whole = harness(words, folder / "whole")
    assert whole.returncode == 0, whole.stderr
    expected = what_was_learned(Store(folder / "whole"), "runs")
    needed = sum(path.stat().st_size // 1024 + 8 for path in (folder / "whole").rglob("*") if path.is_file())
    found = []
    for number in range(sizes):
        disk = folder / f"disk-{number}"
        disk.mkdir()
        kilobytes = 4 + int(1.5 * needed * number / (sizes - 1)) if sizes > 1 else needed // 2
        room(disk, kilobytes)
        done = harness(words, disk / "results")
        store = Store(disk / "results")
        try:
            records = [run.read() for run in store.runs()]
            sound = done.returncode == 0 or all(record.status != "done" for record in records)
        except BadInput:
            sound = False
        lines = [line for line in done.stderr.splitlines() if line.startswith("harness: ")]  # others are of the marks
        clear = done.returncode == 0 or (
            done.returncode in (2, 3) and len(lines) == 1 and str(disk) in lines[0] and "No space left" in lines[0]
        )
        room(disk, 100_000, more=True)
        again = harness(words, disk / "results")
        same = again.returncode == 0 and what_was_learned(store, "runs") == expected
        one = {"kilobytes": kilobytes, "code": done.returncode, "survived": sound and clear and same}
        found.append({**one, "sound": sound, "clear": clear, "same": same, "said": done.stderr + again.stderr})
        subprocess.run(["umount", str(disk)], check=True)
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
