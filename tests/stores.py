"""A real S3 server, and a proxy before it that answers as bad days do: 5xx, slowly, not at all, or late listings."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LISTED = re.compile(rb"<(Contents|CommonPrefixes)>.*?<(Key|Prefix)>(.*?)</\2>.*?</\1>", re.DOTALL)
WRITES = ("PUT", "POST", "DELETE")


@dataclass(frozen=True)
class Asked:
    """One request: its method, the key it is about ("bucket/key"; a listing's prefix), and whose credentials it has."""

    method: str
    key: str
    listing: bool = False
    copy: bool = False
    who: str = ""

    @property
    def write(self) -> bool:
        return self.method in WRITES

    @property
    def kind(self) -> str:
        return "LIST" if self.listing else "COPY" if self.copy else self.method


# What becomes of a request: a status instead of an answer, seconds to wait before it is handed on, or "drop".
Fate = int | float | str | None


@dataclass
class Proxy:
    """Hands requests on to a server, but for those that `fate` decides otherwise.

    Attributes:
        fate: what becomes of a request; None: it is handed on.
        asked: every request so far.
        late: whether what is written from now on is missing in listings, until this is False again.
    """

    host: str
    port: int
    fate: Callable[[Asked], Fate] = lambda _: None
    asked: list[Asked] = field(default_factory=list)
    old: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    late: bool = False
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def counts(self) -> Counter[str]:
        """How many requests of each kind there were."""
        return Counter(one.kind for one in self.asked)

    def anew(self) -> None:
        """No faults any more, and nothing asked yet."""
        self.fate, self.late, self.asked = lambda _: None, False, []
        self.fresh.clear()

    def note(self, asked: Asked) -> Fate:
        """Count a request, and say what becomes of it."""
        with self._lock:
            self.asked.append(asked)
            fate = self.fate(asked)
            if fate is None and asked.method == "PUT":
                (self.fresh if self.late else self.old).add(asked.key)
            return fate

    def unlisted(self, found: re.Match[bytes], bucket: str) -> bytes:
        """An entry of a listing, or nothing in its place."""
        name = f"{bucket}/{unquote(found[3].decode())}"
        if found[1] == b"Contents":
            gone = name in self.fresh - self.old
        else:
            gone = any(key.startswith(name) for key in self.fresh) and not any(k.startswith(name) for k in self.old)
        return b"" if self.late and gone else found[0]


@dataclass(frozen=True)
class Bucket:
    """A bucket behind a proxy."""

    name: str
    proxy: Proxy

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def contents(self, below: str = "") -> dict[str, bytes]:
        """What the store holds, whatever a proxy makes of listings."""
        fs = _direct(self.proxy.host, self.proxy.port)
        fs.invalidate_cache()
        root = f"{self.name}/{below}".rstrip("/")
        return {path.removeprefix(f"{root}/"): fs.cat_file(path) for path in fs.find(root)}

    def make(self) -> None:
        """Make it."""
        _direct(self.proxy.host, self.proxy.port).mkdir(self.name)

    def put(self, folder: Path, below: str = "") -> None:
        """Upload a folder of this machine."""
        fs = _direct(self.proxy.host, self.proxy.port)
        for path in folder.rglob("*"):
            if path.is_file():
                fs.pipe_file(f"{self.name}/{below}/{path.relative_to(folder)}", path.read_bytes())


def _direct(host: str, port: int) -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        key="a", secret="b", endpoint_url=f"http://{host}:{port}", config_kwargs={"retries": {"max_attempts": 5}}
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _handle(self) -> None:
        body, asked = self._body(), self._asked()
        fate = self.proxy.note(asked)
        if isinstance(fate, float):
            time.sleep(fate)
        elif fate == "drop":
            self.close_connection = True
            return
        elif isinstance(fate, int):
            self._answer(fate, {}, b"<Error><Code>InternalError</Code><Message>a bad day</Message></Error>")
            return
        server = http.client.HTTPConnection(self.proxy.host, self.proxy.port)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        headers = {name: value for name, value in headers.items() if name.lower() != "transfer-encoding"}
        headers["Content-Length"] = str(len(body))
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        if asked.listing:
            content = LISTED.sub(lambda found: self.proxy.unlisted(found, asked.key.split("/")[0]), content)
        self._answer(answer.status, dict(answer.getheaders()), content)
        server.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _asked(self) -> Asked:
        parts = urlsplit(self.path)
        query, key = parse_qs(parts.query, keep_blank_values=True), unquote(parts.path).strip("/")
        listing = self.command == "GET" and "list-type" in query
        if listing:
            key = f"{key}/{query.get('prefix', [''])[0]}"
        who = re.search("Credential=([^/]+)/", self.headers.get("Authorization", ""))
        return Asked(self.command, key, listing, "x-amz-copy-source" in self.headers, who[1] if who else "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that was killed, or gave up: what these tests are about."""


@contextlib.contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """A proxy before a server, on a free port of this machine."""
    proxy = Proxy(host, port)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield proxy
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Where a real S3 server listens."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield host, port
    server.stop()


KEYS = {
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "s3-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def environment(url: str) -> dict[str, str]:
    """What a process needs to find a server with its environment's credentials."""
    return {**KEYS, "AWS_ENDPOINT_URL": url}
