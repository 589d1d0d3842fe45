"""A real SLURM on this machine, for tests: slurmctld and four nodes, two of them with two pretended GPUs each.

Needs root on Debian, whose packages it installs. It listens on loopback alone, on ports that were free; its state lies
in one folder. Every node is a process-id namespace, so that killing it is a power loss: nothing of its jobs is left.

    python tests/helpers/slurm_cluster.py COMMAND...     # runs a command, such as bash, with a cluster around it
"""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server")
PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "slurmdbd", "mariadbd")
NODES = ("n1", "n2", "n3", "n4")
GPU_NODES = "n[1-2]"

# Partitions and the GPU model are those that profiles/slurm gives as examples. No node is as large as it claims.
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
# Loopback alone: the address that the host's name has.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
# The node with the least to do comes first, so that a few jobs need several.
SelectTypeParameters=CR_Core_Memory,CR_LLN
GresTypes=gpu
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
# Without cgroups SLURM looks at the memory of a job every two seconds.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
# A node that says nothing for so long is down; it is up again as soon as it says something.
SlurmdTimeout=10
ReturnToService=2
KillWait=10
# What `list_jobs` asks for: SLURM forgets ended jobs after five minutes otherwise, which a slow machine takes.
MinJobAge=7200
# Where jobs are looked for while slurmctld does not answer.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[1]}
AccountingStoragePass={folder}/munge.socket
PartitionName=cpu Nodes=ALL Default=YES MaxTime=240 State=UP
PartitionName=gpu Nodes={gpu_nodes} MaxTime=240 State=UP
"""
ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[1]}
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
CommitDelay=0
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=256000 {gpus}\n"


class Cluster:
    """The running cluster. Processes find it by the variables in `environment`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "MYSQL_UNIX_PORT": str(folder / "mariadb.socket"),  # where slurmdbd finds the database
        }
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, daemon: str) -> None:
        """Start a daemon: munged, mariadbd, slurmdbd, slurmctld, or a node."""
        commands = {
            "munged": f"munged --foreground --force --key-file munge.key --socket {self.folder}/munge.socket"
            " --pid-file munged.pid --seed-file munged.seed --log-file munged.log",
            "mariadbd": f"mariadbd --no-defaults --user=root --datadir={self.folder}/mysql --skip-networking"
            f" --socket={self.folder}/mariadb.socket --pid-file={self.folder}/mariadbd.pid"
            " --innodb-buffer-pool-size=64M --innodb-log-file-size=16M",
            "slurmdbd": "slurmdbd -D",
            "slurmctld": "slurmctld -D",
        }
        command = commands.get(daemon, f"slurmd -D -N {daemon}")
        # The shell is the first process of the namespace: it reaps what the jobs leave.
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", f"{command} & wait"]
        with (self.folder / f"{daemon}.out").open("ab") as output:
            self.daemons[daemon] = subprocess.Popen(
                words,
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,
            )

    def kill(self, daemon: str) -> None:
        """Kill a daemon, and with a node all that runs on it."""
        process = self.daemons.pop(daemon)
        process.kill()
        process.wait()

    def ask(self, *command: str) -> str:
        """What a client of SLURM prints."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def list_jobs(self, folder: Path) -> list[dict[str, str]]:
        """Jobs begun from a folder, oldest first: id, rule (with wildcards), state, node, memory."""
        fields = {"id": "%i", "rule": "%k", "state": "%T", "node": "%N", "memory": "%m", "folder": "%Z"}
        lines = self.ask("squeue", "--states=all", "--noheader", f"--format={'|'.join(fields.values())}").splitlines()
        jobs = [dict(zip(fields, line.strip().split("|"), strict=True)) for line in lines]
        return sorted((job for job in jobs if job["folder"] == str(folder)), key=lambda job: int(job["id"]))

    def heal(self) -> None:
        """Start what is not running, end all jobs, and wait until every node is idle."""
        for daemon in ("munged", "slurmctld", *NODES):
            if daemon not in self.daemons:
                self.start(daemon)
        wait_for(lambda: "is UP" in self.ask("scontrol", "ping"), "slurmctld")
        self.ask("scancel", "--user=root")
        self.set_partitions("up")
        wait_for(lambda: self.ask("sinfo", "-h", "-N", "-p", "cpu", "-o", "%T").split() == ["idle"] * 4, "idle nodes")

    def set_partitions(self, state: str) -> None:
        """Let all partitions start jobs (up), or have them wait in the queue (down)."""
        for partition in ("cpu", "gpu"):
            self.ask("scontrol", "update", f"PartitionName={partition}", f"State={state}")

    def stop(self) -> None:
        """Kill everything."""
        for daemon in list(self.daemons):
            self.kill(daemon)


def why_not() -> str | None:
    """Why there can be no cluster on this machine."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        return "a cluster for tests needs root on Debian"
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        return "a cluster for tests needs the right to make process-id namespaces"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        return f"a cluster for tests needs the host name {socket.gethostname()} to mean 127.x, not {address}"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "the extra `slurm` of this project is not installed"
    return None


def start_cluster(folder: Path) -> Cluster:
    """Install what is missing and start a cluster whose state lies in a folder."""
    install()
    configure(folder)
    cluster = Cluster(folder)
    cluster.start("munged")
    wait_for(lambda: (folder / "munge.socket").exists(), "munged")
    start_accounting(cluster)
    cluster.heal()
    return cluster


def start_accounting(cluster: Cluster) -> None:
    """Make the database of jobs, with the account that profiles/slurm names; slurmctld starts only with its cluster."""
    command = [
        "mariadb-install-db",
        "--no-defaults",
        "--user=root",
        "--skip-test-db",
        f"--datadir={cluster.folder}/mysql",
    ]
    subprocess.run([*command, "--auth-root-authentication-method=socket"], check=True, stdout=subprocess.DEVNULL)
    cluster.start("mariadbd")
    wait_for(lambda: (cluster.folder / "mariadb.socket").exists(), "mariadbd")
    cluster.start("slurmdbd")
    wait_for(lambda: bool(cluster.ask("sacctmgr", "--noheader", "list", "user")), "slurmdbd")
    for words in ("cluster tests", "account default", "user root Account=default"):
        cluster.ask("sacctmgr", "--immediate", "add", *words.split())


def install() -> None:
    """Install SLURM from Debian's packages, without starting their services."""
    if all(shutil.which(name) for name in PROGRAMS):
        return
    guard = Path("/usr/sbin/policy-rc.d")
    made = not guard.exists()
    if made:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "--quiet", *words]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    finally:
        if made:
            guard.unlink()


def configure(folder: Path) -> None:
    """Write all that the daemons read."""
    for name in ("state", "dev", "bin"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    host = socket.gethostname()
    ports = free_ports(2 + len(NODES))
    lines = CONFIGURATION.format(folder=folder, host=host, ports=ports, gpu_nodes=GPU_NODES)
    for node, port in zip(NODES, ports[2:], strict=True):
        gpus = "Gres=gpu:a100:2" if node in ("n1", "n2") else ""
        lines += NODE.format(node=node, host=host, port=port, gpus=gpus)
    (folder / "slurm.conf").write_text(lines)
    accounting = folder / "slurmdbd.conf"
    accounting.touch(mode=0o600)
    accounting.write_text(ACCOUNTING.format(folder=folder, host=host, ports=ports))
    # SLURM names GPUs to jobs only where it finds character devices.
    for number in range(2):
        (folder / f"dev/nvidia{number}").symlink_to("/dev/null")
    gres = f"AutoDetect=off\nNodeName={GPU_NODES} Name=gpu Type=a100 File={folder}/dev/nvidia[0-1]\n"
    (folder / "gres.conf").write_text(gres)
    # snakemake-executor-plugin-slurm-jobstep 0.6.1 takes SLURM_CONF away from its srun.
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec /usr/bin/srun "$@"\n')
    srun.chmod(0o755)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except subprocess.CalledProcessError:
            pass  # slurmctld does not answer yet
        assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.2)


def _die_with_parent() -> None:
    """Let the kernel kill this process when the tests end, however they end (Linux, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run_in_cluster(command: list[str]) -> int:
    """Run a command with a cluster around it, and return its exit status."""
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        cluster = start_cluster(Path(folder))
        status = subprocess.run(command, env=os.environ | cluster.environment).returncode
        cluster.stop()
    return status


if __name__ == "__main__":
    sys.exit(run_in_cluster(sys.argv[1:]))
