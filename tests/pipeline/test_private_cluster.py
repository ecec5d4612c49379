"""The processes of ``--workers`` listen to nobody but each other: TLS with the run's own certificate."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed.comm import connect
from distributed.comm.core import CommClosedError

from wsinuc.pipeline.cluster import ClusterExecutor
from wsinuc.pipeline.credentials import private_security
from wsinuc.pipeline.executor import open_executor
from wsinuc.pipeline.executor_config import ExecutorConfig

KEY = "PRIVATE KEY"


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterExecutor]:
    with open_executor(ExecutorConfig(kind="processes", workers=1)) as executor:
        assert isinstance(executor, ClusterExecutor)
        yield executor


def family() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def listening() -> list[tuple[str, int]]:
    """Addresses at which this process and its children listen."""
    found = (each for process in family() for each in process.net_connections("inet"))
    return sorted((each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN)


def test_all_that_listens_is_on_the_loopback_interface_and_asks_for_the_certificate(executor: ClusterExecutor) -> None:
    addresses = listening()
    facts = executor._client.scheduler_info()
    (worker,) = facts["workers"].values()
    names = [facts["address"], *facts["workers"], worker["nanny"]]
    assert {name.partition("://")[0] for name in names} == {"tls"}
    assert sorted(int(name.rpartition(":")[2]) for name in names) == sorted(port for _, port in addresses)
    for host, port in addresses:
        assert host == "127.0.0.1"
        refuses_plain_text(port)
        assert heard(port, anonymous()) == b""
        assert heard(port, private_security().get_connection_args("client")["ssl_context"]) == b""
        ours = executor._cluster.security.get_connection_args("client")["ssl_context"]
        assert heard(port, ours) != b""  # so silence does mean refusal


def refuses_plain_text(port: int) -> None:
    """Neither HTTP nor Dask's own protocol is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
        assert b"HTTP/1" not in received(plain)

    async def ask() -> None:
        comm = await connect(f"tcp://127.0.0.1:{port}", timeout=5)
        await comm.write({"op": "identity", "reply": True})
        await comm.read()

    with pytest.raises((CommClosedError, OSError)):
        asyncio.run(ask())


def anonymous() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def heard(port: int, context: ssl.SSLContext) -> bytes:
    """What a TLS client hears that does not mind whom it speaks to; both ends of Dask begin by saying who they are."""
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain) as tls:
            return tls.recv(64)  # TLS 1.3 tells a client that it is refused with the first answer only
    except OSError:
        return b""


def received(plain: socket.socket) -> bytes:
    try:
        return plain.recv(1024)
    except OSError:
        return b""


def test_nothing_secret_is_on_a_command_line_or_in_an_environment(executor: ClusterExecutor) -> None:
    secret = executor._cluster.security.tls_client_key
    assert KEY in secret
    line = secret.splitlines()[1]
    for process in family()[1:]:
        told = json.dumps([process.cmdline(), process.environ()])
        assert line not in told
        assert KEY not in told


def test_the_scratch_folder_is_the_owners_alone_and_goes_with_the_run() -> None:
    with open_executor(ExecutorConfig(kind="processes", workers=1)) as executor:
        (scratch,) = {Path(name).parents[1] for name in executor.everywhere(_working_folder).values()}
        if os.name == "posix":
            assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
        assert executor.dashboard is None
    assert not scratch.exists()


def _working_folder() -> str:
    from distributed import get_worker

    return get_worker().local_directory


def test_each_run_has_a_key_of_its_own_that_no_clock_ends() -> None:
    from cryptography import x509

    one, two = private_security(), private_security()
    assert one.tls_worker_key != two.tls_worker_key
    certificate = x509.load_pem_x509_certificate(one.tls_ca_file.encode())
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.year == 2999


@pytest.mark.parametrize("strict", [False, True])
def test_the_certificate_convinces_openssl(strict: bool) -> None:
    """Also as strictly as Python 3.13 asks by default."""
    security = private_security()
    server = security.get_listen_args("scheduler")["ssl_context"]
    client = security.get_connection_args("client")["ssl_context"]
    if strict:
        for context in (server, client):
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = set(ends)
    for _ in range(10):
        for end in list(left):
            try:
                end.do_handshake()
                left.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not left
    assert ends[1].getpeercert()
