"""Tiny proxies for tests: HTTP CONNECT (and plain forwarding) and SOCKS5, with counters and optional login.

`hosts` maps names to addresses, as the proxy's own DNS: a name that only the proxy knows proves that the
direct way was not taken.
"""

import asyncio
import base64
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

__all__ = ["HttpProxy", "SocksProxy"]


class _Proxy:
    """Accepts on a loopback port, serves each client in a task, and cleans up after itself."""

    scheme = ""

    def __init__(
        self, *, login: tuple[str, str] | None = None, hosts: Mapping[str, str] | None = None
    ) -> None:
        self.login = login
        self.hosts = dict(hosts or {})
        self.port = 0
        self.tunnels = 0
        """Tunnels that were opened so far."""
        self.refused = 0
        """Clients turned away: no or a wrong login, or a target that cannot be reached."""
        self.asked: list[str] = []
        """host:port of every tunnel that was asked for."""
        self.refuse_with = ""
        """HTTP: a status line such as "502 Bad Gateway" to answer every CONNECT with."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The proxy's URL, login included."""
        login = f"{self.login[0]}:{self.login[1]}@" if self.login else ""
        return f"{self.scheme}://{login}127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut every tunnel that is open."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError, ValueError):
            pass  # a client that left, or a test that is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self.asked.append(f"{host}:{port}")
        try:
            return await asyncio.open_connection(self.hosts.get(host, host), port)
        except OSError:
            self.refused += 1
            return None

    async def _pump(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.tunnels += 1

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

        tasks = [
            asyncio.create_task(copy(client[0], target[1])),
            asyncio.create_task(copy(target[0], client[1])),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            with suppress(OSError):
                await client[1].drain()
        finally:
            for task in tasks:
                task.cancel()
            target[1].transport.abort()


class HttpProxy(_Proxy):
    """CONNECT for tunnels; a plain "GET http://..." is forwarded."""

    scheme = "http"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        method, target, _ = request.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.refuse_with:
            self.refused += 1
            writer.write(f"HTTP/1.1 {self.refuse_with}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        if self.login is not None:
            wanted = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()
            if headers.get("proxy-authorization") != wanted:
                self.refused += 1
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
                await writer.drain()
                return
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            upstream = await self._open(host.strip("[]"), int(port))
            if upstream is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(target)
            upstream = await self._open(parts.hostname or "", parts.port or 80)
            if upstream is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            path = target.split("/", 3)[3] if target.count("/") >= 3 else ""
            kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection"))]
            upstream[1].write(f"{method} /{path} HTTP/1.1\r\nConnection: close\r\n".encode())
            upstream[1].write("\r\n".join(kept).encode("latin-1"))
        await self._pump((reader, writer), upstream)


class SocksProxy(_Proxy):
    """SOCKS5 (RFC 1928): CONNECT by name or address, no login or user name and password (RFC 1929)."""

    scheme = "socks5"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, n_methods = await reader.readexactly(2)
        methods = await reader.readexactly(n_methods)
        method = 2 if self.login is not None else 0
        if version != 5 or method not in methods:
            self.refused += 1
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes((5, method)))
        if self.login is not None:
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            good = (user.decode(), password.decode()) == self.login
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            await writer.drain()
            if not good:
                self.refused += 1
                return
        _, command, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(str(byte) for byte in await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        upstream = await self._open(host, port) if command == 1 else None
        writer.write(bytes((5, 0 if upstream else 5, 0, 1, 0, 0, 0, 0, 0, 0)))
        await writer.drain()
        if upstream is not None:
            await self._pump((reader, writer), upstream)
