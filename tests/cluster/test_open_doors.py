"""What a sweep opens and leaves behind on its machine, started as users start it: a new process, without what conftest sets.

Where this may be made (root, with ``ip`` and ``unshare``), it runs in a network of its own that has a second address, and is
looked at from a machine beside it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.tiny import tiny_settings

pytestmark = [pytest.mark.ray, pytest.mark.own_processes, pytest.mark.slow, pytest.mark.timeout(700)]

INSIDE, BESIDE = "192.0.2.1", "192.0.2.2"
"""Addresses that are nobody's (RFC 5737)."""

LISTENS = "0A"
"""State of a socket in ``/proc/net/tcp``."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Where a sweep runs, and where one stands who looks at it from outside."""

    enter: list[str]
    """What a command line begins with that is to run beside the sweep."""

    leave: list[str]
    """What one begins with that is to run on the machine beside it."""

    address: str | None
    """Under which the sweep's machine is known there; None where it has no address but loopback."""

    holder: int | None = None
    """Process that holds the sweep's network; None where that is this machine's."""


@dataclass(frozen=True, kw_only=True)
class Doors:
    """A sweep that trains, on a machine with a home, a temporary folder and a storage of its own."""

    folder: Path
    network: Network
    secrets: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def temporary(self) -> Path:
        return self.folder / "t"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "h"),
            "TMPDIR": str(self.temporary),
            "AWS_ACCESS_KEY_ID": "planted",
            "AWS_SECRET_ACCESS_KEY": self.secrets["key"],
            "ZSKT_NOTIFY": f"http://127.0.0.1:9/{self.secrets['webhook']}",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "h" / "token of another cluster"),
            "RAY_worker_niceness": "0",  # else trials wait for all other tests; it opens and closes nothing
        }

    def start(self) -> subprocess.Popen[str]:
        """Begin the sweep, or go on with it."""
        command = [sys.executable, str(ROOT / "run_sweep.py"), str(self.folder / "sweep.yaml")]
        process = subprocess.Popen(
            [*self.network.enter, *command, "--storage", str(self.folder / "runs"), "--sweep-id", "doors"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def processes(self) -> list[int]:
        """All that it has started. (Their environment does not tell: Ray's workers write their names over it.)"""
        there = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        holder = self.network.holder
        if holder is None:
            return [pid for pid in there if os.getpid() in list(ancestors(pid))[1:]]
        return [pid for pid in there if pid != holder and network_of(pid) == network_of(holder)]

    def listeners(self) -> dict[int, str]:
        """Address by port on which they listen."""
        mine = self.processes()
        sockets = {target for pid in mine for target in links(Path(f"/proc/{pid}/fd"))}
        found = {}
        for table in ("tcp", "tcp6"):
            for line in contents(Path(f"/proc/{mine[0]}/net/{table}")).decode().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS and f"socket:[{fields[9]}]" in sockets:
                    address, port = fields[1].split(":")
                    found[int(port, 16)] = ip_of(address)
        return found

    def leaks(self) -> list[tuple[str, str]]:
        """Files and command lines with a secret in them."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        said = {str(path): contents(path) for path in files}
        said |= {f"process {pid}": contents(Path(f"/proc/{pid}/cmdline")) for pid in self.processes()}
        return [
            (what, where)
            for where, text in said.items()
            for what, secret in self.secrets.items()
            if secret.encode() in text
        ]


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has gone, or is none of ours
        return b""


def links(folder: Path) -> list[str]:
    try:
        return [str(entry.readlink()) for entry in folder.iterdir()]
    except OSError:
        return []


def network_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        parent = contents(Path(f"/proc/{pid}/status")).partition(b"PPid:")[2].split()
        pid = int(parent[0]) if parent else 0


def ip_of(digits: str) -> str:
    """An address in ``/proc/net/tcp``: words of 32 bits, each in this machine's byte order."""
    words = [int(digits[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(digits), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "too slow"
        time.sleep(0.1)


@contextmanager
def network() -> Iterator[Network]:
    """Two machines with a cable between them; else this one."""
    if os.getuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((INSIDE, 9))  # sends nothing, and tells by which address this machine would send
            own = probe.getsockname()[0]
        yield Network(enter=[], leave=[], address=None if own.startswith("127.") else own)
        return
    with ExitStack() as stack:
        spaces = [stack.enter_context(own_network()) for _ in range(2)]
        call("ip", "link", "add", "zskt0", "netns", spaces[0], "type", "veth", "peer", "zskt0", "netns", spaces[1])
        enter, leave = ([*("nsenter", f"--net=/proc/{pid}/ns/net", "--")] for pid in spaces)
        for prefix, address in ((enter, INSIDE), (leave, BESIDE)):
            call(*prefix, "ip", "link", "set", "lo", "up")
            call(*prefix, "ip", "address", "add", f"{address}/24", "dev", "zskt0")
            call(*prefix, "ip", "link", "set", "zskt0", "up")
        # Ray finds out by it under which address others reach this machine.
        call(*enter, "ip", "route", "add", "default", "via", BESIDE)
        yield Network(enter=enter, leave=leave, address=INSIDE, holder=int(spaces[0]))


@contextmanager
def own_network() -> Iterator[str]:
    """A network without anything in it; the number of the process that holds it."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; read _ || true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == "ready\n"
        yield str(holder.pid)
        holder.stdin.close()


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    # A short path, as sockets want it.
    with network() as ours, tempfile.TemporaryDirectory(prefix="d-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        there = Doors(folder=Path(folder), network=ours, secrets={what: uuid4().hex for what in ("key", "webhook")})
        for name in ("h", "t"):
            (there.folder / name).mkdir()
        (there.folder / "h" / "token of another cluster").write_text("0" * 64)
        sweep = {
            "name": "doors",
            "trial": tiny_settings(total_pseudo_batches=1_000_000, evaluation_interval=20, validation_fraction=0.1),
            "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
            "num_trials": 2,
            "checkpoint_seconds": 1,
            "teacher_recipe": {"full_data_epochs": 1, "learning_rate": 0.05, "batch_size": 32},
        }
        (there.folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
        yield there
        for pid in there.processes():
            os.kill(pid, signal.SIGKILL)
        for process in there.started:
            with process:
                process.kill()


def reports(doors: Doors) -> int:
    return len(list(doors.folder.glob("runs/results/v1/reports/*/*.parquet")))


def test_only_the_sweep_itself_comes_in_and_no_secret_is_left_behind(doors: Doors) -> None:
    process = doors.start()
    wait_for(lambda: reports(doors), process)
    raylet = next(
        pid for pid in doors.processes() if b"raylet" in contents(Path(f"/proc/{pid}/cmdline")).split(b"\0")[0]
    )
    settings = dict(
        line.split(b"=", 1) for line in contents(Path(f"/proc/{raylet}/environ")).split(b"\0") if b"=" in line
    )
    doors.secrets["token"] = settings[b"RAY_AUTH_TOKEN"].decode()
    assert len(doors.secrets["token"]) == 64

    commands = [contents(Path(f"/proc/{pid}/cmdline")) for pid in doors.processes()]
    assert any(command.startswith(b"ray::") for command in commands), "workers are looked at too"
    listeners = doors.listeners()
    assert len(listeners) >= 6, "gcs_server, two of the raylet, runtime environments, the driver and a worker"
    assert {address.removeprefix("::ffff:") for address in listeners.values()} == {"127.0.0.1"}
    if doors.network.address:
        assert reached(doors.network.leave, doors.network.address, listeners) == []
    assert sorted(reached(doors.network.enter, "127.0.0.1", listeners)) == sorted(listeners), "this test can see ports"
    refuses(doors, listeners)

    assert [path.name.partition("-")[0] for path in doors.temporary.iterdir()] == ["zskt"]
    (private,) = doors.temporary.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.rglob("alive-*")), "heartbeats lie in there"
    assert doors.leaks() == []
    process.kill()
    process.communicate()
    assert doors.leaks() == []

    # The next session clears what the killed one has left, and leaves nothing itself.
    before = reports(doors)
    process = doors.start()
    wait_for(lambda: reports(doors) > before, process)
    assert not private.exists()
    assert doors.leaks() == []
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 130, printed
    assert not any(secret in printed for secret in doors.secrets.values())
    assert list(doors.temporary.iterdir()) == []
    assert not (doors.folder / "h" / ".ray").exists(), "a later `ray start` would pick up a token from there"
    assert doors.leaks() == []


def reached(prefix: list[str], address: str, ports: dict[int, str]) -> list[int]:
    """Ports at which somebody answers."""
    look = (
        "import socket, sys\n"
        "for port in map(int, sys.argv[2:]):\n"
        "    try: socket.create_connection((sys.argv[1], port), timeout=2).close()\n"
        "    except OSError: continue\n"
        "    print(port)"
    )
    command = [*prefix, sys.executable, "-c", look, address, *map(str, ports)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def refuses(doors: Doors, ports: dict[int, str]) -> None:
    """Another user of the machine knows every port and has no token."""
    call_each = (
        "import sys, grpc\n"
        "from ray.core.generated import gcs_service_pb2 as messages, gcs_service_pb2_grpc as services\n"
        "for port in map(int, sys.argv[1:]):\n"
        "    stub = services.InternalKVGcsServiceStub(grpc.insecure_channel(f'127.0.0.1:{port}'))\n"
        "    try: answer = stub.InternalKVKeys(messages.InternalKVKeysRequest(namespace=b'', prefix=b''), timeout=5)\n"
        "    except grpc.RpcError as error: print(port, error.code().name)\n"
        "    else: print(port, 'OPEN')"
    )
    command = [*doors.network.enter, sys.executable, "-c", call_each, *map(str, ports)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(doors.folder)}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    answers = dict(line.split() for line in said.splitlines())
    assert len(answers) == len(ports)
    assert "OPEN" not in answers.values(), answers
    assert "UNAUTHENTICATED" in answers.values(), answers
