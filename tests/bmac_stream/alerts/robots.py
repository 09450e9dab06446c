"""Robots of DingTalk, WeCom, Feishu, Telegram, and a webhook, on loopback, as their documents have them.

Signatures are worked out here a second time, from the documents' words, not by the code under test.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from types import TracebackType
from typing import Any, Self

from aiohttp import web

__all__ = ["KEY", "SECRET", "TOKEN", "Robots"]

TOKEN = "f00dcafe0123456789abcdef"
SECRET = "SEC5c0ffee5c0ffee5c0ffee"
KEY = "693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa"


class Robots:
    """One server for all of them.

    taken   (type, text) of every message that was taken, in order
    asked   how many requests came
    behave  "" as documented; "hang", "500", "html", "cut", "list", "429", "redirect": as the world is
    fail    so many requests fail as `behave` says, then all is well; None: for ever
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.asked = 0
        self.behave = ""
        self.fail: int | None = None
        self.times: list[float] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/robot/send", self._dingding)
        app.router.add_post("/cgi-bin/webhook/send", self._wechat)
        app.router.add_post("/open-apis/bot/v2/hook/{token}", self._feishu)
        app.router.add_post("/bot{token}/sendMessage", self._telegram)
        app.router.add_post("/hook/{token}", self._webhook)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def texts(self) -> str:
        """All that was taken."""
        return "\n".join(text for _, text in self.taken)

    async def until(self, n: int, timeout_s: float = 10.0) -> None:
        """Wait until n messages were taken."""
        async with asyncio.timeout(timeout_s):
            while len(self.taken) < n:
                await asyncio.sleep(0.01)

    # ------------------------------------------------------------------------------------------- robots

    async def _dingding(self, request: web.Request) -> web.StreamResponse:
        if (odd := await self._odd(request)) is not None:
            return odd
        body = await request.json()
        query = request.query
        if query.get("access_token") != TOKEN:
            return self._say({"errcode": 300005, "errmsg": "token is not exist"}, refused=True)
        at = query.get("timestamp", "")
        key = SECRET.encode()
        wanted = base64.b64encode(hmac.new(key, f"{at}\n{SECRET}".encode(), hashlib.sha256).digest()).decode()
        if not at.isdigit() or abs(int(at) / 1e3 - time.time()) > 3600 or query.get("sign") != wanted:
            return self._say({"errcode": 310000, "errmsg": "sign not match"}, refused=True)
        if body.get("msgtype") != "text" or set(body) != {"msgtype", "text"}:
            return self._say({"errcode": 400105, "errmsg": "unsupported msgtype"}, refused=True)
        return self._take("dingding", body["text"]["content"], body, {"errcode": 0, "errmsg": "ok"})

    async def _wechat(self, request: web.Request) -> web.StreamResponse:
        if (odd := await self._odd(request)) is not None:
            return odd
        body = await request.json()
        if request.query.get("key") != KEY:
            return self._say({"errcode": 93000, "errmsg": "invalid webhook url"}, refused=True)
        content = body["text"]["content"]
        if body.get("msgtype") != "text" or len(content.encode()) > 2048:
            return self._say(
                {"errcode": 40058, "errmsg": "text.content exceed max length 2048"}, refused=True
            )
        return self._take("wechat_work", content, body, {"errcode": 0, "errmsg": "ok"})

    async def _feishu(self, request: web.Request) -> web.StreamResponse:
        if (odd := await self._odd(request)) is not None:
            return odd
        body = await request.json()
        if request.match_info["token"] != TOKEN:
            return self._say({"code": 19001, "msg": "param invalid: incoming webhook access token invalid"})
        at = body.get("timestamp", "")
        digest = hmac.new(f"{at}\n{SECRET}".encode(), b"", digestmod=hashlib.sha256).digest()
        fresh = isinstance(at, str) and at.isdigit() and abs(int(at) - time.time()) < 3600
        if not fresh or body.get("sign") != base64.b64encode(digest).decode():
            return self._say({"code": 19021, "msg": "sign match fail or timestamp is not within one hour"})
        assert body["msg_type"] == "text"
        answer = {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}
        return self._take("feishu", body["content"]["text"], body, answer)

    async def _telegram(self, request: web.Request) -> web.StreamResponse:
        if (odd := await self._odd(request)) is not None:
            return odd
        body = await request.json()
        if request.match_info["token"] != f"123456:{TOKEN}":
            self.refused.append("telegram")
            answer = {"ok": False, "error_code": 404, "description": "Not Found"}
            return web.json_response(answer, status=404)
        if body["chat_id"] != "-100200300":
            answer = {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"}
            return web.json_response(answer, status=400)
        answer = {"ok": True, "result": {"message_id": 1}}
        return self._take("telegram", body["text"], body, answer)

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        if (odd := await self._odd(request)) is not None:
            return odd
        self.headers.append(dict(request.headers))
        body = await request.json()
        self.taken.append(("webhook", body["text"]))
        self.bodies.append(body)
        return web.Response(status=204)

    # ------------------------------------------------------------------------------------------ helpers

    async def _odd(self, request: web.Request) -> web.StreamResponse | None:
        self.asked += 1
        self.times.append(time.monotonic())
        if self.fail is not None:
            if self.fail <= 0:
                return None
            self.fail -= 1
        if self.behave == "hang":
            await asyncio.sleep(60)
        if self.behave == "500":
            return web.Response(status=500, text="oops")
        if self.behave == "html":
            return web.Response(text="<html>Log in to the wifi</html>", content_type="text/html")
        if self.behave == "list":
            return web.json_response([1, 2])
        if self.behave == "cut":
            return web.Response(body=b'{"errcode": 0, "err', content_type="application/json")
        if self.behave == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        if self.behave == "redirect":
            return web.Response(status=302, headers={"Location": str(request.url)})
        if self.behave == "huge":
            return web.Response(body=b" " * (1 << 22))
        assert not self.behave, self.behave
        return None

    def _take(self, kind: str, text: str, body: Any, answer: Any) -> web.Response:
        self.taken.append((kind, text))
        self.bodies.append(body)
        return web.json_response(answer)

    def _say(self, answer: Any, refused: bool = True) -> web.Response:
        self.refused.append(str(answer))
        return web.json_response(answer)
