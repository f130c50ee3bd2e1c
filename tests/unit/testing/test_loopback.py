"""A port for a program that is started later is free, and stays so."""

import socket
from pathlib import Path

from aesthetics_ops.testing.loopback import free_port


def test_no_port_is_returned_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_no_connection_and_no_other_server_is_given_such_a_port_meanwhile() -> None:
    least = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < least for port in (free_port() for _ in range(200)))


def test_the_wanted_port_is_returned_only_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken
