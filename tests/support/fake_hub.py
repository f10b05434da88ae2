"""A real server that speaks what `huggingface_hub` asks of the Hub when files are sent (read off its version 2.4).

    async with FakeHub() as hub: command(folder, ..., **hub.env(folder)); hub.repositories["model", "me/it"].files

Large files come by Git LFS: the protocol of Xet is not spoken, and `env` switches it off.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

TOKEN = "hf_0123456789abcdefghij"
LARGE = (".safetensors", ".gguf", ".parquet")
KINDS = {"models": "model", "datasets": "dataset"}


@dataclass
class Repository:
    """A repository: what its files hold, which of them by LFS, and what each commit has changed."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[list[str]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"

    def oid(self, name: str) -> str | None:
        """What the Hub calls the content of a file: SHA-256 of a large one, git's hash of another."""
        if name not in self.files:
            return None
        content = self.files[name]
        if name in self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FakeHub:
    """The server; it runs while its context is open.

    Args:
        failing: statuses that are answered with, by a part of the path that is asked for: `{"create": 403}`. A
            repository called `create-403` fails so by itself.
    """

    def __init__(self, **failing: int) -> None:
        self.failing = failing
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[str] = []
        self._objects: dict[str, bytes] = {}

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard], client_max_size=2**30)
        app.router.add_post("/api/validate-yaml", self._validate)
        app.router.add_post("/api/repos/create", self._create)
        app.router.add_put("/lfs/{oid}", self._put)
        app.router.add_post("/lfs/{oid}", self._verify)
        for prefix in KINDS:
            at = f"/api/{prefix}/{{owner}}/{{name}}"
            app.router.add_get(at, self._info)
            app.router.add_get(f"{at}/revision/main", self._info)
            app.router.add_post(f"{at}/preupload/main", self._preupload)
            app.router.add_post(f"{at}/commit/main", self._commit)
        for path in ("", "/datasets"):
            app.router.add_post(f"{path}/{{owner}}/{{name}}.git/info/lfs/objects/batch", self._batch)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def env(self, folder: Path, token: str = TOKEN) -> dict[str, str]:
        """Variables of a process that sends its files here; of no login of this machine."""
        own = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hf")}
        return own | ({"HF_TOKEN": token} if token else {})

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        status = await self._fail(request)
        if status is not None:
            said = f"said by the hub about {request.headers['Authorization']}"
            return web.json_response({"error": said}, status=status)
        if not request.path.startswith("/lfs/") and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            message = "Invalid credentials in Authorization header"
            return web.json_response({"error": message}, status=401, headers={"X-Error-Message": message})
        found: web.StreamResponse = await handler(request)
        return found

    async def _fail(self, request: web.Request) -> int | None:
        """The status that a request fails with, if it does."""
        text = await request.text() if request.path.startswith("/api/repos/") else request.path
        named = re.search(r"(create|commit)-(\d{3})", text)
        parts = self.failing | ({named[1]: int(named[2])} if named else {})
        return next((status for part, status in parts.items() if part in request.path.split("/")), None)

    def _key(self, request: web.Request) -> tuple[str, str]:
        kind = next((kind for prefix, kind in KINDS.items() if f"/{prefix}/" in request.path), "model")
        return kind, f"{request.match_info['owner']}/{request.match_info['name']}"

    async def _validate(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["repoType"] in KINDS.values()
        errors = [] if asked["content"].startswith("---\n") else [{"message": "no metadata"}]
        return web.json_response({"errors": errors, "warnings": []}, status=400 if errors else 200)

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        key = (asked.get("type", "model"), f"{asked['organization']}/{asked['name']}")
        if key in self.repositories:
            return web.json_response({"error": "You already created this repo"}, status=409)
        self.repositories[key] = Repository(asked["visibility"] == "private")
        return web.json_response({"url": f"{self.url}/{key[1]}", "name": key[1]})

    async def _info(self, request: web.Request) -> web.Response:
        kind, name = self._key(request)
        found = self.repositories.get((kind, name))
        if found is None:
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            return web.json_response({"error": "Repository not found"}, status=404, headers=headers)
        told = {"id": name, "sha": found.sha, "private": found.private, "tags": [], "downloads": 0, "likes": 0}
        return web.json_response(told | {"siblings": [{"rfilename": file} for file in found.files]})

    async def _preupload(self, request: web.Request) -> web.Response:
        repository, asked = self.repositories[self._key(request)], (await request.json())["files"]
        for file in asked:
            assert len(base64.b64decode(file["sample"])) == min(512, file["size"])
        return web.json_response(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                        "oid": repository.oid(file["path"]),
                    }
                    for file in asked
                ]
            }
        )

    async def _batch(self, request: web.Request) -> web.Response:
        objects = []
        for item in (await request.json())["objects"]:
            at = {"href": f"{self.url}/lfs/{item['oid']}"}
            new = {} if item["oid"] in self._objects else {"actions": {"upload": at, "verify": at}}
            objects.append(item | new)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def _put(self, request: web.Request) -> web.Response:
        content = await request.read()
        assert hashlib.sha256(content).hexdigest() == request.match_info["oid"]
        self._objects[request.match_info["oid"]] = content
        return web.Response()

    async def _verify(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert len(self._objects[asked["oid"]]) == asked["size"]
        return web.json_response({})

    async def _commit(self, request: web.Request) -> web.Response:
        kind, name = self._key(request)
        repository = self.repositories[kind, name]
        head, *lines = map(json.loads, (await request.text()).splitlines())
        assert head["key"] == "header"
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                repository.large.add(value["path"])
            content = self._objects[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            repository.files[value["path"]] = content
        repository.commits.append([line["value"]["path"] for line in lines])
        at = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}/commit/{repository.sha}"
        return web.json_response({"success": True, "commitOid": repository.sha, "commitUrl": at})
