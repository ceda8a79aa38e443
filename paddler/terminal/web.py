"""HTTP as the dashboard needs it, on asyncio, which Textual runs on: one request a connection."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import msgspec

from paddler.values import Address

__all__ = ["Answer", "Broken", "Refused", "Web", "problem_of"]

_CONNECT_WITHIN, _ANSWER_WITHIN = 5.0, 10.0
_MOST_HEADERS = 100
_CHUNK = 65536


@attrs.define(eq=False, str=False)
class Refused(Exception):
    """The server answered something else than was asked for.

    :param status: its HTTP status.
    :param message: what it said.
    """

    status: int
    message: str

    def __str__(self) -> str:
        return f"{self.status} {self.message}".strip()


class Broken(Exception):
    """What came was no HTTP, or it ended too early."""


@attrs.frozen(eq=False)
class Answer:
    """An answer whose body is still to be read."""

    status: int
    headers: dict[str, str]
    _reader: asyncio.StreamReader

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        :raises Broken: it ended before its end.
        """
        reader = self._reader
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while size := _chunk_size(await reader.readline()):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            return
        left = self.headers.get("content-length")
        missing = int(left) if left is not None and left.isdigit() else None
        while missing != 0:
            data = await reader.read(_CHUNK if missing is None else min(_CHUNK, missing))
            if not data:
                if missing:
                    raise Broken("the answer was cut off")
                return
            missing = None if missing is None else missing - len(data)
            yield data

    async def whole(self) -> bytes:
        """All of the body."""
        return b"".join([piece async for piece in self.body()])


def _chunk_size(line: bytes) -> int:
    found = re.match(rb"([0-9A-Fa-f]{1,8})\s*(?:;.*)?\r?\n", line)
    if found is None:
        raise Broken("the answer was cut off")
    return int(found[1], 16)


@attrs.frozen(eq=False)
class Web:
    """A server, and the token that it is shown.

    :param server: where it is.
    :param token: its bearer token, if there is one.
    """

    server: Address
    _token: str | None = attrs.field(default=None, repr=False)

    @asynccontextmanager
    async def asked(self, method: str, path: str) -> AsyncIterator[Answer]:
        """Send a request; inside, the answer's body can be read.

        :raises Refused: its status is none of the good ones.
        :raises Broken: what came was no HTTP.
        :raises OSError: no connection, or it was lost.
        :raises asyncio.TimeoutError: no answer in time.
        """
        secure = ssl.create_default_context() if self.server.scheme == "https" else None
        opening = asyncio.open_connection(self.server.host, self.server.port, ssl=secure)
        reader, writer = await asyncio.wait_for(opening, _CONNECT_WITHIN)
        try:
            writer.write(self._head(method, path))
            answer = await asyncio.wait_for(_answered(reader), _ANSWER_WITHIN)
            if answer.status >= 300:
                said = await asyncio.wait_for(answer.whole(), _ANSWER_WITHIN)
                raise Refused(answer.status, _message(said))
            yield answer
        except asyncio.IncompleteReadError:
            raise Broken("the connection was closed") from None
        finally:
            writer.close()

    async def get(self, path: str) -> bytes:
        """The body of what is at a path."""
        async with self.asked("GET", path) as answer:
            return await asyncio.wait_for(answer.whole(), _ANSWER_WITHIN)

    async def post(self, path: str) -> None:
        """Have something done."""
        async with self.asked("POST", path) as answer:
            await asyncio.wait_for(answer.whole(), _ANSWER_WITHIN)

    def _head(self, method: str, path: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.server}", "Connection: close"]
        lines.append("Accept: application/json, text/event-stream")
        if method == "POST":
            lines.append("Content-Length: 0")
        if self._token is not None:
            lines.append(f"Authorization: Bearer {self._token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


async def _answered(reader: asyncio.StreamReader) -> Answer:
    status = re.match(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]", await _line(reader))
    if status is None:
        raise Broken("what answers there speaks no HTTP")
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        line = (await _line(reader)).rstrip(b"\r\n")
        if not line:
            return Answer(int(status[1]), headers, reader)
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise Broken("the answer's headers do not end")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readline()
    except ValueError:  # asyncio's word for a line over its limit
        raise Broken("what answers there speaks no HTTP") from None
    if not line.endswith(b"\n"):
        raise Broken("the connection was closed")
    return line


class _Error(msgspec.Struct):
    message: str = ""


class _Errors(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Errors).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def problem_of(error: BaseException) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "it speaks no TLS"
    if isinstance(error, (msgspec.DecodeError, UnicodeError)):
        return "what answers there is no balancer that this version understands"
    if isinstance(error, OSError):
        # asyncio tells the same thing once for each of a name's addresses.
        codes = {int(code) for code in re.findall(r"\[Errno (\d+)\]", str(error))}
        return os.strerror(codes.pop()).lower() if codes else str(error)
    return str(error) or type(error).__name__
