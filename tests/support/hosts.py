"""Hosts made of namespaces on this machine, for Ray's own cluster commands.

Each has a network, processes, a home, a Ray folder and an sshd of its own; the rest of the disk is this machine's. They hang
at one switch, and whoever gives the commands sits at it too. Nothing of it can be reached from outside, and all of it ends
with the process that made it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from ray._common.utils import get_default_ray_temp_dir

from tests.support.missing import HOSTS, run_or_skip, skip_without
from tests.support.paths import ROOT

NETWORK = "10.99.0"
OUTSIDE = f"{NETWORK}.1"
"""Address of the switch, where the hosts find this machine's servers."""

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
_PROGRAMS = ("hostname", "ip", "mount", "nsenter", "rsync", "ssh", "ssh-keygen", "sshd", "unshare")
_SPACES = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child")
_CLONE_NEWNET = 0x40000000

_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
MaxSessions 50
MaxStartups 50
"""

_BOOT = """
set -e
name=$1 folder=$2 home=$3 ray_folder=$4; shift 4
mount --make-rprivate /
hostname "$name"
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount --bind "$folder/ray" "$ray_folder"
sed "s/^$(id -un):[^:]*:/$(id -un):*:/" /etc/shadow > "$folder/shadow"  # sshd lets in nobody whose password is locked
mount --bind "$folder/shadow" /etc/shadow
for path; do
    mkdir -p "$folder/home/${path#"$home"/}"
    mount --bind "$path" "$folder/home/${path#"$home"/}"
done
mount --rbind "$folder/home" "$home"
"$(command -v sshd)" -f "$folder/../sshd_config"
echo ready
read -r _ || true
"""


@dataclass(kw_only=True)
class Host:
    """One of them. Its first process waits for the end of its input, and takes all others with it."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def home(self) -> Path:
        """What is ``~`` there."""
        return self.folder / "home"

    def commands(self) -> list[str]:
        """Command lines of the processes that run there."""
        ours = [path for path in Path("/proc").glob("[0-9]*") if _link(path / "ns/net") == self._network]
        lines = [_read(path / "cmdline").replace("\0", " ").strip() for path in ours]
        return [line for line in lines if line]

    @property
    def _network(self) -> str:
        return _link(Path(f"/proc/{self.process.pid}/ns/net"))


@dataclass(kw_only=True)
class Lan:
    """The switch, what hangs at it, and what the person who gives the commands needs."""

    folder: Path
    switch: subprocess.Popen[str]
    hosts: list[Host] = field(default_factory=list)

    def command(self, *command: str) -> list[str]:
        """The same command, given at the switch."""
        return ["nsenter", f"--net=/proc/{self.switch.pid}/ns/net", "--", *command]

    def ray(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``ray`` to its end; what it printed is all in ``stdout``."""
        return subprocess.run(
            self.command(*self.ray_command(*arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=ROOT,
            timeout=timeout,
            text=True,
            check=False,
        )

    def ray_command(self, *arguments: str) -> list[str]:
        """``ray`` with the cluster's file after the name of the command."""
        command, *rest = arguments
        return [str(Path(sys.executable).parent / "ray"), command, str(self.cluster_file), *rest]

    @property
    def cluster_file(self) -> Path:
        """The cluster's description."""
        return self.folder / "cluster.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """That of the person: a home of its own, and a place for what Ray notes about clusters."""
        mine = dict.fromkeys(("HOME", "TMPDIR", "RAY_TMPDIR"), str(self.folder / "client"))
        return {**os.environ, **mine, "RAY_UP_enable_autoscaler_v2": "0"}

    def describe(self, *, cpus: int) -> None:
        """Write the cluster's description: ``cluster/local.yaml`` for these hosts.

        Nothing is installed on them, since there is nowhere to take it from: they have this machine's Python, and use the
        copy of the project that Ray puts into their homes.

        Args:
            cpus: Of each host, for trials.
        """
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        head, *workers = self.hosts
        config["cluster_name"] = self.folder.name
        config["provider"] |= {"head_ip": head.address, "worker_ips": [host.address for host in workers]}
        config["auth"] = {"ssh_user": pwd.getpwuid(os.getuid()).pw_name, "ssh_private_key": str(self.folder / "key")}
        authentication = [line for line in config["setup_commands"] if "auth_token" in line or "RAY_AUTH_MODE" in line]
        project = "grep -q zskt ~/.bashrc || echo 'export PYTHONPATH=$HOME/zskt' >> ~/.bashrc"
        config["setup_commands"] = [*authentication, project]
        small = f"ray start --num-cpus={cpus} --object-store-memory=100000000 "
        for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
            config[commands] = [line.replace("ray start ", small) for line in config[commands]]
        self.cluster_file.write_text(yaml.safe_dump(config))

    def unplug(self, host: Host) -> None:
        """Pull a host's cable: no packet comes or goes, and nobody is told."""
        self._at_switch("ip", "link", "set", f"to-{host.name}", "down")

    def plug(self, host: Host) -> None:
        """Put it back."""
        self._at_switch("ip", "link", "set", f"to-{host.name}", "up")

    def listener(self) -> socket.socket:
        """A socket that listens at the switch, for a server in this process."""
        libc = ctypes.CDLL(None, use_errno=True)
        there = Path(f"/proc/{self.switch.pid}/ns/net")
        # A socket stays in the network that its thread was in when it was made.
        with Path("/proc/thread-self/ns/net").open() as home, there.open() as away:
            if libc.setns(away.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return socket.create_server((OUTSIDE, 0))
            finally:
                libc.setns(home.fileno(), _CLONE_NEWNET)

    def _at_switch(self, *command: str) -> None:
        _call(*self.command(*command))


@contextmanager
def make_lan(names: Sequence[str], *, environment: dict[str, str]) -> Iterator[Lan]:
    """Start hosts and plug them in.

    Args:
        names: Of the hosts.
        environment: What every shell there has set.

    The test is skipped where programs are missing, or this machine allows no namespaces.
    """
    skip_without(_PROGRAMS, HOSTS)
    run_or_skip([*_SPACES, "true"], HOSTS)
    # Not pytest's folder: sockets of ssh have paths of 100 characters at most.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zskt-lan-", ignore_cleanup_errors=True)))
        stack.callback(_forget_connections, folder.name)
        yield _build(folder, names, environment, stack)


def _build(folder: Path, names: Sequence[str], environment: dict[str, str], stack: ExitStack) -> Lan:
    for key in ("key", "host_key"):
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
    (folder / "sshd_config").write_text(_SSHD.format(folder=folder))
    token = folder / "client" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(secrets.token_hex(32))  # as `ray get-auth-token --generate` does
    lan = Lan(folder=folder, switch=_start(stack, ["unshare", "--net", "sh", "-c", "echo ready; read _ || true"]))
    at_switch = [
        "ip link set lo up",
        "ip link add switch type bridge",
        f"ip address add {OUTSIDE}/24 dev switch",
        "ip link set switch up",
    ]
    for line in at_switch:
        _call(*lan.command(*line.split()))
    for number, name in enumerate(names):
        host = _boot(folder / name, f"{NETWORK}.{10 + number}", environment, stack)
        lan.hosts.append(host)
        _call(*lan.command(*f"ip link add to-{name} type veth peer name eth0 netns {host.process.pid}".split()))
        _call(*lan.command(*f"ip link set to-{name} master switch up".split()))
        for line in (
            "ip link set lo up",
            f"ip address add {host.address}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {OUTSIDE}",  # Ray finds its own address by it
        ):
            _call("nsenter", f"--net=/proc/{host.process.pid}/ns/net", "--", *line.split())
    return lan


def _boot(folder: Path, address: str, environment: dict[str, str], stack: ExitStack) -> Host:
    for name in ("home", "ray"):
        (folder / name).mkdir(parents=True)
    ray_folder = Path(get_default_ray_temp_dir())
    ray_folder.mkdir(exist_ok=True)
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    programs["RAY_TMPDIR"] = str(ray_folder.parent)  # where each has a folder of its own, as below
    exports = [f"export {name}={shlex.quote(value)}" for name, value in {**programs, **environment}.items()]
    (folder / "home" / ".bashrc").write_text("\n".join(exports) + "\n")
    # What lies in this machine's home and must be there all the same.
    kept = [str(path) for path in {Path(sys.prefix), Path(sys.base_prefix)} if path.is_relative_to(HOME)]
    command = [*_SPACES, "bash", "-c", _BOOT, "boot", folder.name, str(folder), str(HOME), str(ray_folder), *kept]
    return Host(name=folder.name, address=address, folder=folder, process=_start(stack, command))


def _start(stack: ExitStack, command: list[str]) -> subprocess.Popen[str]:
    """A process that says when it is ready, and ends when its input does."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    stack.callback(process.wait, timeout=30)
    assert process.stdin and process.stdout
    stack.callback(process.stdout.close)
    stack.callback(process.stdin.close)
    said = []
    for line in process.stdout:
        if line == "ready\n":
            return process
        said.append(line)
    raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}: {''.join(said)}")


def _forget_connections(cluster_name: str) -> None:
    """Remove what Ray leaves of its connections by ssh to a cluster, in a place that no variable changes."""
    ours = [
        hashlib.sha256(name.encode()).hexdigest()[:10] for name in (pwd.getpwuid(os.getuid()).pw_name, cluster_name)
    ]
    of_user = Path("/tmp", f"ray_ssh_{ours[0]}")
    shutil.rmtree(of_user / ours[1], ignore_errors=True)
    with suppress(OSError):  # other clusters' are kept
        of_user.rmdir()


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has ended
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
