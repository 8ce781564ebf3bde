"""SLURM: workers that are jobs of a cluster, each of which is the same command on the shared store.

Nothing but SLURM's own commands is needed. A library that sends a function to a job, such as submitit, would pickle it, limit how
often it may queue again, and start it by a launcher of its own; here a worker is a command that can be started at any time by
anybody, so a script of twenty lines, which can be read, does.

A worker whose time limit is near is sent SIGUSR1: it writes its checkpoints, and its job queues again. One that is preempted, or
whose node dies, is queued again by SLURM. One that is cancelled is not; the same command submits those that are missing.
"""

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import BadInput, HarnessError
from harness.specs.slurm import Slurm
from harness.store.store import Store

FOLDER = "slurm"
"""Where in the store workers write what they print."""

SECONDS = 60.0  # that a command of SLURM may take

LOCAL = ("tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs")
"""File systems that other machines do not see, unless they are exported."""

SCRIPT = """\
#!/bin/bash
{directives}

{command} &
worker=$!
# The time limit is near (USR1), or SLURM wants the processors (TERM): the worker writes its checkpoints and ends.
trap 'kill -USR1 $worker 2> /dev/null' USR1
trap 'kill -TERM $worker 2> /dev/null' TERM
while :; do
  wait $worker
  code=$?
  kill -0 $worker 2> /dev/null || break
done
case $code in
  {requeue})  # ended by USR1: go on in another job of the same number, until nothing is left
    for try in {{1..30}}; do  # a controller that is being restarted answers later; Incomplete: not one that was cancelled
      if scontrol requeue Incomplete "$SLURM_JOB_ID"; then sleep 600; break; fi
      sleep 10
    done ;;
  {preempted})  # ended by TERM: SLURM queues a preempted job again as long as it is there, and ends a cancelled one
    sleep 600 ;;
esac
exit $code
"""


class Worker(NamedTuple):
    """A worker in SLURM's queue: its job's id, its state in SLURM's word, how long it has run, and where, or why it waits."""

    job: str
    state: str
    time: str
    where: str


def name_of(store: Store, subject: str) -> str:
    """Return what the workers of an experiment or the like are called in SLURM's queue: this store's alone have that name."""
    plain = re.sub(r"[^a-zA-Z0-9._-]+", "-", subject)
    return f"harness-{plain}-{hashlib.sha256(os.fsencode(store.root)).hexdigest()[:8]}"


def script(asked: Slurm, name: str, store: Store, words: Sequence[str], workers: int) -> str:
    """Return the script of workers.

    Args:
        asked: what each asks for.
        name: see `name_of`.
        store: where they work.
        words: the command that each is, without `harness`.
        workers: how many there are.
    """
    if not str(store.root).isprintable() or set('"\\') & set(str(store.root)):
        raise BadInput(f"the store {str(store.root)!r} has a name that no script of SLURM can have: give a simpler one")
    log = str(store.root / FOLDER / f"{name}-%A_%a.log")
    log = log.replace("%", "%%").replace("%%A_%%a.log", "%A_%a.log")
    limit = f"%{asked.array_limit}" if asked.array_limit else ""
    directives = {
        "job-name": name, "array": f"1-{workers}{limit}", "time": asked.minutes, "partition": asked.partition,
        "account": asked.account, "nodes": 1, "ntasks": 1, "cpus-per-task": asked.cpus,
        "gres": f"gpu:{asked.gpus}" if asked.gpus else None, "signal": f"B:USR1@{asked.lead}",
        "open-mode": "append", "output": f'"{log}"',
    }  # fmt: skip
    lines = [f"#SBATCH --{option}={value}" for option, value in directives.items() if value is not None]
    return SCRIPT.format(
        directives="\n".join([*lines, "#SBATCH --requeue"]),
        command=shlex.join([sys.executable, "-P", "-m", "harness", *words]),
        requeue=128 + signal.SIGUSR1,
        preempted=128 + signal.SIGTERM,
    )


def submit(asked: Slurm, name: str, store: Store, words: Sequence[str]) -> str | None:
    """Submit the workers that are missing, and return the id of the array of jobs; None if none is missing.

    Raises:
        BadInput: there is no SLURM, it refuses what is asked for, or the store cannot be written.
    """
    store.require_writable()
    missing = asked.workers - len(queue(name))
    if missing <= 0:
        return None
    text = script(asked, name, store, words, missing)
    try:
        (store.root / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"the store {str(store.root)!r} cannot be written ({error.strerror}): name another with --results"
        ) from error
    return _call("sbatch", "--parsable", given=text).split(";")[0].strip()


def is_here() -> bool:
    """Say whether SLURM's commands are on the path."""
    return shutil.which("squeue") is not None


def queue(name: str) -> list[Worker]:
    """Return the workers of this name that wait or run; BadInput if there is no SLURM, or it does not answer."""
    lines = _call("squeue", "--me", "--noheader", "--array", f"--name={name}", "--format=%i|%T|%M|%R").splitlines()
    return [Worker(*line.split("|", 3)) for line in lines if line.count("|") >= 3]


def cancel(name: str) -> list[Worker]:
    """Cancel the workers of this name, which write their checkpoints, and return those that were there."""
    there = queue(name)
    if there:
        _call("scancel", "--me", f"--name={name}")
    return there


def local_file_system(store: Store) -> str | None:
    """Return the file system of the store if other machines see it only where it is exported; None if not, or if unknown."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except (OSError, IndexError):
        return None
    over = [(len(where), kind) for where, kind in mounts if store.root.is_relative_to(where)]
    return max(over)[1] if over and max(over)[1] in LOCAL else None


def _call(*words: str, given: str | None = None) -> str:
    """Return what a command of SLURM prints; BadInput with its own words if it fails."""
    if shutil.which(words[0]) is None:
        raise BadInput(
            f"there is no {words[0]} on the path, so there is no SLURM here: log in to a cluster, or leave out --on slurm"
        )
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise BadInput(f"SLURM does not answer: {words[0]} took more than {SECONDS:.0f} s; see `sinfo`") from None
    except OSError as error:
        raise HarnessError(f"{words[0]} cannot be started ({error.strerror})") from error
    if done.returncode:
        said = " ".join(line.partition("error: ")[2] or line for line in done.stderr.splitlines())
        raise BadInput(f"SLURM says: {said or f'{words[0]} ended with exit code {done.returncode}'}; see `sinfo`")
    return done.stdout
