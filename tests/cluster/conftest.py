"""A real SLURM on this machine: controller, one node of two cores and two make-believe GPUs, for as long as tests run."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# jobs do not inherit SLURM_CONF, so that the configuration must lie where Debian's SLURM looks by itself
ETC = Path("/etc/slurm")
NAME = "sevenfold-test"
CONFIG = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
# a requeued job waits until its old credential has expired
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
# seconds between the SIGTERM of a time limit and the SIGKILL
KillWait=2
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
# two cores and 8 GB, whatever the machine has
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 Gres=gpu:2
PartitionName=work Nodes={host} Default=YES MaxTime=1-0 PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=1-0 PriorityTier=2 PreemptMode=OFF
"""


class Cluster:
    """What the tests ask SLURM for."""

    def call(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job since the start, as scontrol knows it: JobId, JobState, Comment, TimeLimit, Restarts, ..."""
        lines = self.call("scontrol", "--oneliner", "show", "job").splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]

    def of_rule(self, rule: str) -> list[dict[str, str]]:
        """Jobs of a rule, oldest first."""
        return [job for job in self.jobs() if job.get("Comment", "").startswith(f"rule_{rule}")]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("a SLURM of its own needs root: it is configured below /etc/slurm")
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{missing[0]} is missing: apt-get install slurm-wlm munge (envs/debian.txt)")
    ETC.mkdir(exist_ok=True)
    with open(Path(tempfile.gettempdir()) / f"{NAME}.lock", "w") as lock:
        # two test runs on one machine take turns
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = [ETC / "slurm.conf", ETC / "gres.conf"]
        for file in files:
            if file.exists() and NAME not in file.read_text():
                pytest.skip(f"{file} belongs to another SLURM, which the tests leave alone")
        folder = tmp_path_factory.mktemp("slurm")
        try:
            configure(folder, *files)
            start(folder)
            yield Cluster()
        finally:
            stop(folder)
            for file in files:
                file.unlink(missing_ok=True)


def configure(folder: Path, slurm: Path, gres: Path) -> None:
    host = socket.gethostname().split(".")[0]
    for name in ("gpu0", "gpu1"):
        (folder / name).touch()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = [first.getsockname()[1], second.getsockname()[1]]
    slurm.write_text(CONFIG.format(name=NAME, host=host, folder=folder, ports=ports))
    gres.write_text(f"# {NAME}\nName=gpu File={folder}/gpu[0-1]\n")


def start(folder: Path) -> None:
    munged = ["munged", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    for command in (munged, ["slurmctld"], ["slurmd"]):
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def is_idle() -> bool:
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True)
        return done.returncode == 0 and "idle" in done.stdout

    wait_for(is_idle, f"a node that is idle (see {folder}/slurmctld.log)", seconds=60)


def stop(folder: Path) -> None:
    """End the daemons that were started here, and no others, jobs first."""
    if (folder / "slurmctld.pid").exists():
        subprocess.run(["scancel", "--user=root"], capture_output=True)
    for daemon in ("slurmd", "slurmctld", "munged"):
        file = folder / f"{daemon}.pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGTERM)
            wait_for(lambda file=file: not file.exists(), f"the end of {daemon}", seconds=30)
