"""Ceph's S3 gateway on one machine: a monitor, an object store daemon that keeps objects in memory, and RGW.

In: a `Machine`.  Out: its endpoint, a client, and the keys that it accepts.
It checks signatures, policies and conditions as a cluster does; only durability is missing.
"""

import base64
import json
import secrets
import struct
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from aesthetics_ops.testing.loopback import free_port
from tests.stack.services import PATIENCE_SECONDS, Machine, Service, wait_for

__all__ = ["Ceph", "start_ceph"]

_MEMORY_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class Ceph:
    """A running gateway.

    Attributes:
        endpoint_url: of its S3.
        key, secret: what it accepts.
        services: its processes.
        machine: that runs them.
        administration: the command that makes users.
    """

    endpoint_url: str
    key: str
    secret: str
    services: tuple[Service, ...]
    machine: Machine
    administration: tuple[str, ...]

    def client(self) -> Any:
        """Return a boto3 client of it."""
        return boto3.Session(self.key, self.secret, region_name="us-east-1").client(
            "s3", endpoint_url=self.endpoint_url, config=Config(s3={"addressing_style": "path"})
        )

    def add_user(self, name: str, policy: dict[str, Any]) -> tuple[str, str]:
        """Make a user who may do what a policy says, and nothing else; return the keys."""
        user, key, secret = f"{name}-{secrets.token_hex(4)}", secrets.token_hex(10), secrets.token_hex(20)
        self.machine.run(
            f"user-{user}", *self.administration, "user", "create", f"--uid={user}", f"--display-name={user}",
            f"--access-key={key}", f"--secret-key={secret}",
        )  # fmt: skip
        iam = boto3.Session(self.key, self.secret, region_name="us-east-1").client(
            "iam", endpoint_url=self.endpoint_url
        )
        iam.put_user_policy(UserName=user, PolicyName="role", PolicyDocument=json.dumps(policy))
        return key, secret


def start_ceph(machine: Machine, *, key: str, secret: str) -> Ceph:
    """Start a one-node cluster and its gateway, with one user; return when it takes objects (about 15 s)."""
    directory = machine.directory / "ceph"
    for name in ("mon", "osd", "rgw"):
        (directory / name).mkdir(parents=True)
    identity, monitor, port = str(uuid.uuid4()), f"[v2:127.0.0.1:{free_port()}]", free_port()
    configuration, monmap = directory / "ceph.conf", str(directory / "monmap")
    configuration.write_text(_configuration(identity, port, directory))
    keyring = directory / "keyring"
    keyring.write_text(_keyring())
    with_configuration = ("--conf", str(configuration), "--keyring", str(keyring))

    machine.run("monmaptool", "monmaptool", "--create", "--fsid", identity, "--addv", "a", monitor, monmap)
    machine.run("ceph-mon-mkfs", "ceph-mon", *with_configuration, "--mkfs", "-i", "a", "--monmap", monmap)
    mon = machine.start("ceph-mon", "ceph-mon", *with_configuration, "-i", "a", "-f")
    osd_id = str(uuid.uuid4())
    machine.run("ceph-osd-new", "ceph", *with_configuration, "--connect-timeout", "30", "osd", "new", osd_id)
    machine.run("ceph-osd-mkfs", "ceph-osd", *with_configuration, "-i", "0", "--mkfs", "--osd-uuid", osd_id)
    osd = machine.start("ceph-osd", "ceph-osd", *with_configuration, "-i", "0", "-f")
    rgw = machine.start("radosgw", "radosgw", *with_configuration, "-n", "client.rgw", "-f")
    administration = ("radosgw-admin", *with_configuration, "-n", "client.rgw")
    machine.run(
        "radosgw-admin", *administration, "user", "create", "--uid=stack", "--display-name=stack", f"--access-key={key}",
        f"--secret-key={secret}", "--caps=user-policy=*",
    )  # fmt: skip
    ceph = Ceph(f"http://127.0.0.1:{port}", key, secret, (mon, osd, rgw), machine, administration)
    wait_for("RGW to answer", lambda: _answers(ceph), within_seconds=PATIENCE_SECONDS, of=ceph.services)
    return ceph


def _answers(ceph: Ceph) -> bool:
    try:
        ceph.client().list_buckets()
    except Exception as error:
        raise OSError(str(error)) from error
    return True


def _keyring() -> str:
    """Return one key under each name that a process has here; its form is what `ceph-authtool --gen-key` makes."""
    key = base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()
    granted = "".join(f'caps {whom} = "allow *"\n' for whom in ("mon", "osd", "mgr"))
    return "".join(f"[{name}]\nkey = {key}\n{granted}" for name in ("mon.", "client.admin", "osd.0", "client.rgw"))


def _configuration(identity: str, port: int, directory: Path) -> str:
    # cephx and msgr2, though all is local: without them an OSD sometimes asks before it has learned the cluster's fsid, and
    # gives up.  One index shard a bucket: making eleven takes seconds.
    return f"""
[global]
fsid = {identity}
monmap = {directory}/monmap
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
ms bind msgr1 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = {_MEMORY_BYTES}
paxos propose interval = 0.1
mon data = {directory}/mon
osd data = {directory}/osd
rgw data = {directory}/rgw
run dir = {directory}
admin socket =
pid file =
log file =
log to stderr = true
err to stderr = true
mon cluster log file = {directory}/cluster.log
crash dir = {directory}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw override bucket index max shards = 1
rgw enable usage log = false
rgw gc max objs = 1
rgw lc max objs = 1
"""
