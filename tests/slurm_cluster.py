"""A SLURM cluster of two nodes on this machine, by Debian's packages `slurm-wlm` and `munge`; only root can start one.

`python tests/slurm_cluster.py` starts one, prints what to set so that SLURM's commands reach it, and takes it down at Ctrl-C.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support import free_port, kill, processes

NODES = ("one", "two")

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")

LEAST_MEMORY = 2 << 30  # bytes that are free: several workers import PyTorch at a time

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=300
SchedulerParameters=bf_interval=1,sched_min_interval=100000,batch_sched_delay=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Return why no cluster can be started here; None if one can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    where = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=where) is None]
    if missing:
        return f"there is no {', '.join(missing)}: apt-get install slurm-wlm munge"
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{free >> 20} MiB of memory are free, and workers need some" if free < LEAST_MEMORY else None


class Cluster:
    """A controller, and a daemon for each node.

    Args:
        folder: of its state and logs, which every user can enter.
        cpus: of each node.

    Attributes:
        env: what SLURM's commands need in their environment to reach it.
    """

    def __init__(self, folder: Path, cpus: int = 1):
        self.folder, self.env = folder, {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        folder.chmod(0o755)
        (folder / "state").mkdir()
        ports = [free_port() for _ in range(1 + len(NODES))]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={platform.node()} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000"
            for name, port in zip(NODES, ports[1:], strict=True)
        )
        text = CONFIGURATION.format(host=platform.node(), folder=folder, controller_port=ports[0], nodes=nodes)
        (folder / "slurm.conf").write_text(text)

    def start(self) -> None:
        """Start all daemons, and wait until the nodes are idle."""
        self._start_munge()
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        self.wait_for(lambda: self._states() == dict.fromkeys(NODES, "idle"), 30)

    def stop(self) -> None:
        """Cancel all jobs, and end all daemons."""
        with contextlib.suppress(subprocess.SubprocessError, TimeoutError):
            self.call("scancel", "--user=root")
            self.wait_for(lambda: not self.call("squeue", "--noheader"), 30)
        for name in (*NODES, "slurmctld", "munged"):
            self.kill(name, signal.SIGTERM)
        kill(pid for pid in processes(f"SLURM_CONF={self.env['SLURM_CONF']}".encode()) if is_of_a_job(pid))

    def start_controller(self) -> None:
        """Start the controller, which goes on from its stored state."""
        self._daemons["slurmctld"] = self._daemon("slurmctld", "-D")

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self._daemons[name] = self._daemon("slurmd", "-D", "-N", name)

    def kill(self, name: str, signum: int = signal.SIGKILL) -> None:
        """End a daemon by a signal, and wait for its end; nothing if it has none."""
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(signum)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def call(self, *words: str) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | self.env, timeout=60)
        if done.returncode:
            raise subprocess.SubprocessError(f"{' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def wait_for(self, met: "object", seconds: float) -> None:
        """Wait until a condition is met; TimeoutError with the controller's last words if it is not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.SubprocessError):
                if met():  # type: ignore[operator]
                    return
            time.sleep(0.3)
        raise TimeoutError((self.folder / "slurmctld.log").read_text()[-3000:])

    def _states(self) -> dict[str, str]:
        lines = self.call("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=main").splitlines()
        return dict(line.split() for line in lines)  # type: ignore[misc]

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        folder.mkdir()
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        for path in (folder, folder / "key"):
            shutil.chown(path, "munge", "munge")
        options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={folder / name}" for option, name in options.items()]
        self._daemons["munged"] = self._daemon(
            "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", shutil.which("munged") or "/usr/sbin/munged",
            "--foreground", *words,
        )  # fmt: skip
        self.wait_for((folder / "socket").exists, 10)

    def _daemon(self, *words: str) -> "subprocess.Popen[bytes]":
        env = os.environ | self.env | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"}
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
            )


def is_of_a_job(pid: int) -> bool:
    """Say whether a process is a job's, or that of SLURM beside it, which waits for ever for a controller that has gone."""
    try:
        in_job = b"SLURM_JOB_ID=" in Path(f"/proc/{pid}/environ").read_bytes()
        return in_job or Path(f"/proc/{pid}/comm").read_text().strip() == "slurmstepd"
    except OSError:
        return False


@contextlib.contextmanager
def cluster(cpus: int = 1) -> Iterator[Cluster]:
    """Start a cluster, and take it down at the end."""
    folder = Path(tempfile.mkdtemp(prefix="harness-slurm-"))
    one = Cluster(folder, cpus)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    reason = why_not()
    if reason is not None:
        raise SystemExit(reason)
    with cluster(cpus=2) as running, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={running.env['SLURM_CONF']}", flush=True)
        signal.pause()
