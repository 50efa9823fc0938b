"""What of Google Cloud Storage's JSON interface its C++ client uses for single objects, as a server on loopback."""

from __future__ import annotations

import itertools
import json
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote


class GoogleStorage:
    """Objects in memory. ``POST /buckets/NAME`` makes a bucket; ``POST /answer/STATUS`` lets every request be answered so,
    and ``POST /answer/0`` as it should be.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, bytes]] = {}
        self.answer = 0
        self._uploads: dict[str, tuple[str, str, bytearray]] = {}
        self._generation = itertools.count(1)
        self._generations: dict[tuple[str, str], int] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
                """Nothing."""

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("?")
                what, _, told = path.removeprefix("/").partition("/")
                if what == "buckets":
                    service.objects[told] = {}
                    self.reply(200)
                    return
                if what == "answer":
                    service.answer = int(told)
                    self.reply(200)
                    return
                if what == "token":
                    self.reply(200, {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"})
                    return
                if service.answer:
                    self.reply(service.answer, {"error": {"code": service.answer, "message": "as told"}})
                    return
                asked = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
                parts = [unquote(part) for part in path.partition("/storage/v1/b/")[2].split("/")]
                bucket, name = parts[0], parts[2] if len(parts) > 2 else asked.get("name", "")
                if self.headers.get("Authorization") != "Bearer token":
                    self.reply(401)
                elif bucket not in service.objects:
                    self.reply(404)
                elif path.startswith("/upload/"):
                    self.upload(bucket, name, asked, body)
                elif len(parts) == 2:
                    self.listing(bucket, asked)
                elif name not in service.objects[bucket]:
                    self.reply(404)
                elif self.command == "DELETE":
                    del service.objects[bucket][name]
                    self.reply(204)
                elif asked.get("alt") == "media":
                    self.media(service.objects[bucket][name])
                else:
                    self.reply(200, service.metadata(bucket, name))

            do_GET = do_PUT = do_POST = do_DELETE = serve  # noqa: N815 (the base class's names)

            def upload(self, bucket: str, name: str, asked: dict[str, str], body: bytes) -> None:
                """In one or several requests; the object is there when its last byte is."""
                if self.command == "POST":
                    session = uuid.uuid4().hex
                    service._uploads[session] = (bucket, name, bytearray())
                    self.reply(200, headers={"Location": f"{service.url}{self.path}&upload_id={session}"})
                    return
                bucket, name, received = service._uploads[asked["upload_id"]]
                received += body
                if self.headers["Content-Range"].endswith("/*"):
                    self.reply(308, headers={"Range": f"bytes=0-{len(received) - 1}"})
                    return
                service.objects[bucket][name] = bytes(received)
                service._generations[bucket, name] = next(service._generation)
                self.reply(200, service.metadata(bucket, name))

            def listing(self, bucket: str, asked: dict[str, str]) -> None:
                names = sorted(name for name in service.objects[bucket] if name.startswith(asked.get("prefix", "")))
                start = int(asked.get("pageToken") or 0)
                more = {"nextPageToken": str(start + 1000)} if len(names) > start + 1000 else {}
                items = [service.metadata(bucket, name) for name in names[start : start + 1000]]
                self.reply(200, {"kind": "storage#objects", "items": items, **more})

            def media(self, data: bytes) -> None:
                first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                part = data[int(first) : int(last) + 1 if last else None]
                shown = {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"}
                self.send(206 if "Range" in self.headers else 200, part, shown)

            def reply(self, status: int, content: object = None, headers: dict[str, str] | None = None) -> None:
                self.send(status, b"" if content is None else json.dumps(content).encode(), headers or {})

            def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response_only(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def metadata(self, bucket: str, name: str) -> dict[str, str]:
        generation = self._generations[bucket, name]
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "generation": str(generation),
            "size": str(len(self.objects[bucket][name])),
            "timeCreated": f"2026-01-01T00:00:00.{generation:06d}Z",
            "updated": f"2026-01-01T00:00:00.{generation:06d}Z",
        }


if __name__ == "__main__":
    service = GoogleStorage()
    sys.stdout.write(f"{service.url}\n")
    sys.stdout.flush()
    service.server.serve_forever()
