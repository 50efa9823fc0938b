"""Object storage for tests beside moto: Ceph's gateway, and a stand-in for Google's. All on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY, free_port, wait_until_listening

_CEPH_CONFIG = """
[global]
fsid = {fsid}
mon initial members = a
mon host = v1:127.0.0.1:{mon_port}
ms bind ipv4 = true
ms bind ipv6 = false
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
mon data avail warn = 3
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
auth allow insecure global id reclaim = true
mon data = {folder}/mon
mgr data = {folder}/mgr
osd data = {folder}/osd
osd journal = {folder}/osd/journal
osd objectstore = memstore
memstore device bytes = 2147483648
log file = {folder}/out/$name.log
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
run dir = {folder}/run
crash dir = {folder}/out
mgr initial modules =
mgr disabled modules = *
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {folder}/rgw
rgw dns name =
rgw s3 auth use keystone = false
rgw crypt require ssl = false
"""

CEPH_PROGRAMS = ("ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")


@contextmanager
def ceph_gateway(folder: Path) -> Iterator[str]:
    """A whole Ceph on loopback, everything in memory: one monitor, manager, store and S3 gateway; the gateway's URL.

    Unlike moto it checks signatures, checksums and rights. ``CEPH_PROGRAMS`` must be installed.
    """
    daemons: list[subprocess.Popen[Any]] = []
    try:
        yield _start_ceph(folder, daemons)
    finally:
        for daemon in reversed(daemons):
            daemon.kill()
            daemon.wait()


def _start_ceph(folder: Path, daemons: list[subprocess.Popen[Any]]) -> str:
    for name in ("mon", "mgr", "osd", "rgw", "out", "run"):
        (folder / name).mkdir(parents=True)
    config, keyring, port = folder / "ceph.conf", folder / "keyring", free_port()
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    config.write_text(_CEPH_CONFIG.format(fsid=fsid, mon_port=free_port(), folder=folder, port=port))
    mon_port = config.read_text().partition("v1:127.0.0.1:")[2].split()[0]

    def call(*command: str, given: str | None = None) -> str:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def start(*command: str) -> subprocess.Popen[Any]:
        daemons.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return daemons[-1]

    def key(*arguments: str) -> None:
        call("ceph-authtool", str(keyring), "--gen-key", *arguments)

    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
    key("--create-keyring", "-n", "mon.", "--cap", "mon", "allow *")
    key("-n", "client.admin", *everything)
    key("-n", "client.rgw.a", *everything)
    key("-n", "mgr.x", "--cap", "mon", "allow profile mgr", "--cap", "osd", "allow *")
    key(
        "-n",
        "osd.0",
        "--cap",
        "mon",
        "allow profile osd",
        "--cap",
        "mgr",
        "allow profile osd",
        "--cap",
        "osd",
        "allow *",
    )
    monmap = str(folder / "monmap")
    call("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", monmap)
    ceph = ("-c", str(config))
    call("ceph-mon", *ceph, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(keyring))
    start("ceph-mon", *ceph, "-i", "a", "-f")
    call("ceph", *ceph, "--connect-timeout", "30", "mon", "stat")
    start("ceph-mgr", *ceph, "-i", "x", "-f")
    secret = call("ceph-authtool", str(keyring), "-n", "osd.0", "-p").strip()
    call("ceph", *ceph, "osd", "new", osd, "0", "-i", "-", given=json.dumps({"cephx_secret": secret}))
    call("ceph-osd", *ceph, "-i", "0", "--mkfs", "--osd-uuid", osd)
    start("ceph-osd", *ceph, "-i", "0", "-f")
    deadline = time.monotonic() + 30
    while "1 up" not in call("ceph", *ceph, "osd", "stat"):
        if time.monotonic() > deadline:
            raise RuntimeError("its store does not come up")
        time.sleep(0.5)
    gateway = start("radosgw", *ceph, "-n", "client.rgw.a", "-f")
    user = ("--uid=test", "--display-name=test", f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}")
    call("radosgw-admin", *ceph, "user", "create", *user)
    wait_until_listening(port, gateway, 60)
    return f"http://127.0.0.1:{port}"


@contextmanager
def google_storage(folder: Path) -> Iterator[str]:
    """A stand-in for Google Cloud Storage in a process of its own, since pyarrow waits for answers with the interpreter's
    lock held; its URL. Applications find it, and credentials, by the environment that is set meanwhile.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.google_storage"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    credentials = folder / "credentials.json"
    names = ("client_id", "client_secret", "refresh_token")
    credentials.write_text(
        json.dumps({"type": "authorized_user", "token_uri": f"{url}/token"} | dict.fromkeys(names, SECRET_KEY))
    )
    found = {"GOOGLE_APPLICATION_CREDENTIALS": str(credentials), "CLOUD_STORAGE_EMULATOR_ENDPOINT": url}
    os.environ.update(found)
    try:
        yield url
    finally:
        for name in found:
            del os.environ[name]
        process.kill()
        process.communicate()


def tell(url: str, what: str) -> None:
    """What ``tests.support.google_storage`` is to do."""
    with urlopen(Request(f"{url}/{what}", method="POST")):
        pass
