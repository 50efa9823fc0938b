"""Object storage that fails as networks do: a moto server, and a proxy in front of any S3 server, both on loopback."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCESS_KEY, SECRET_KEY = "test", "testsecret"


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_until_listening(port: int, process: subprocess.Popen[Any], seconds: float) -> None:
    """Wait until the process listens on a port of loopback.

    Raises:
        RuntimeError: the process has ended, or does not listen in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto in a separate process for the length of a block, and yield its URL; it accepts any credentials."""
    port = free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_listening(port, process, 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class FaultyProxy:
    """An HTTP proxy in front of a server that fails on demand.

    Attributes:
        mode: ``up`` forwards requests; ``reset`` closes connections without an answer; ``hang`` gives no answer until the
            mode changes; ``503`` answers every request with that status; ``deny PUT`` refuses requests of that method
            with 403.
        refusal: Error code in the body of refused requests.
        share_503: Share of requests that are answered with 503 in mode ``up``.
        seen: Methods of all requests, in order.
        failed: Number of requests that were cut or answered with 503.
    """

    def __init__(self, target: str, listener: socket.socket | None = None) -> None:
        """Start the proxy in a background thread.

        Args:
            target: URL of the server, without TLS.
            listener: Listening socket of the proxy. None means a free port of loopback.
        """
        self.mode = "up"
        self.share_503 = 0.0
        self.refusal = "AccessDenied"
        self.seen: list[str] = []
        self.failed = 0
        self._random = random.Random(0)
        proxy = self
        host, _, port = target.removeprefix("http://").partition(":")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
                """Log nothing."""

            def relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.seen.append(self.command)
                while proxy.mode == "hang":
                    time.sleep(0.05)
                if proxy.mode == "reset":
                    proxy.failed += 1
                    self.close_connection = True
                    return
                if proxy.mode == f"deny {self.command}":
                    self.answer(403, f"<Error><Code>{proxy.refusal}</Code><Message>no</Message></Error>".encode())
                elif proxy.mode == "503" or proxy._random.random() < proxy.share_503:
                    proxy.failed += 1
                    self.answer(503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
                else:
                    self.forward(body)

            def forward(self, body: bytes) -> None:
                upstream = HTTPConnection(host, int(port), timeout=60)
                try:
                    upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in {"expect", "connection"}:
                            upstream.putheader(name, value)
                    upstream.endheaders(body)
                    answer = upstream.getresponse()
                    content = answer.read()
                    self.answer(answer.status, content, dict(answer.getheaders()))
                except (OSError, HTTPException):
                    self.close_connection = True
                finally:
                    upstream.close()

            def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response_only(status)
                for name, value in (headers or {"Content-Type": "application/xml"}).items():
                    if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                        self.send_header(name, value)
                length = (headers or {}).get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay  # noqa: N815 (the base class's names)

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client gave up
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener or socket.create_server(("127.0.0.1", 0))
        self._server.daemon_threads = True
        self.url = "http://{}:{}".format(*self._server.socket.getsockname())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.mode = "up"
        self._server.shutdown()
        self._server.server_close()

    def fail_for(self, seconds: float, mode: str) -> threading.Timer:
        """Set a failing mode now, and return to ``up`` after a number of seconds, in the background."""
        self.mode = mode

        def mend() -> None:
            self.mode = "up"

        timer = threading.Timer(seconds, mend)
        timer.daemon = True
        timer.start()
        return timer
