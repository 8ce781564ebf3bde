"""A hub that holds one data set in memory, and speaks as much of the hub's HTTP interface as its own client needs here."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class FakeHub:
    """The data set.

    Attributes:
        name: of the data set.
        files: its files by path; None where there is no data set yet.
        sizes: what it says of their sizes, where that is not the truth.
        commits: how many commits there were.
        asked: method and path of every request.
        status: what commits are answered with.
    """

    def __init__(self, name: str):
        self.name, self.files = name, dict[str, bytes]()
        self.there, self.sizes, self.commits, self.asked, self.status = False, dict[str, int](), 0, list[str](), 200
        self.tokens = set[str | None]()

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve a data set, and yield the address of the hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, content: Any, status: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def missing(self) -> None:
            code = "RepoNotFound" if not hub.there else "EntryNotFound"
            self.answer({"error": code}, 404, X_Error_Code=code)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            hub.tokens.add(self.headers.get("Authorization"))
            api, resolved = f"/api/datasets/{hub.name}", f"/datasets/{hub.name}/resolve/"
            if not hub.there:
                self.missing()
            elif path in (api, f"{api}/revision/{hub.sha}", f"{api}/revision/main"):
                files = [{"rfilename": name} for name in hub.files]
                self.answer({"id": hub.name, "sha": hub.sha, "private": False, "siblings": files, "tags": []})
            elif path.startswith(f"{api}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": hub.sizes.get(name, len(content)), "oid": "0" * 40}
                    for name, content in hub.files.items()
                ]
                self.answer([{"type": "directory", "path": "mine", "oid": "0" * 40}, *entries])
            elif path.startswith(resolved) and (name := path.removeprefix(resolved).partition("/")[2]) in hub.files:
                self.answer(
                    hub.files[name], ETag=f'"{hashlib.sha1(hub.files[name]).hexdigest()}"', X_Repo_Commit=hub.sha
                )
            else:
                self.missing()

        do_HEAD = do_GET  # noqa: N815  # as the library calls them

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"POST {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api = f"/api/datasets/{hub.name}"
            if path == "/api/repos/create":
                hub.there = True
                self.answer(
                    {"url": f"http://{self.headers['Host']}/datasets/{hub.name}", "id": hub.name, "name": hub.name}
                )
            elif path == "/api/validate-yaml":  # of the card
                self.answer({"warnings": [], "errors": []})
            elif path.startswith(f"{api}/preupload/"):
                asked = [one["path"] for one in json.loads(body)["files"]]
                self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked]})
            elif path.startswith(f"{api}/commit/"):
                if hub.status != 200:
                    self.answer({"error": "no"}, hub.status)
                    return
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                    elif line["key"] == "deletedFile":
                        del hub.files[line["value"]["path"]]
                    elif line["key"] == "header" and line["value"].get("parentCommit") not in (None, hub.sha):
                        self.answer({"error": "parent"}, 412)
                        return
                hub.commits += 1
                self.answer(
                    {
                        "success": True,
                        "commitOid": hub.sha,
                        "commitUrl": f"http://{self.headers['Host']}/datasets/{hub.name}/commit/{hub.sha}",
                    }
                )
            else:
                self.missing()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
