"""A cloud's metadata service on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Service(BaseHTTPRequestHandler):
    """Metadata services of both clouds, as far as they concern spot machines."""

    notice = False
    broken = False
    garbled = False

    def do_PUT(self) -> None:
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self._answer(200, "a-token")

    def do_GET(self) -> None:
        if self.broken:
            self._answer(500, "no")
        elif self.path == "/latest/meta-data/spot/instance-action":
            if self.headers["X-aws-ec2-metadata-token"] != "a-token":
                self._answer(401, "IMDSv2 wants a token")
            elif self.garbled:
                self._answer(200, "<html>busy</html>")
            elif self.notice:
                self._answer(200, '{"action": "terminate", "time": "2026-01-02T03:04:05Z"}')
            else:
                self._answer(404, "nothing")
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            self._answer(200, "TRUE" if self.notice else "FALSE")
        else:
            self._answer(403, "no")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def metadata_service() -> Iterator[str]:
    """The address of one; it gives no notice until told to."""
    Service.notice, Service.broken, Service.garbled = False, False, False
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
