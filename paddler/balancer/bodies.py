"""Request bodies on their way to llama-server, sent as often as it takes."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.web.client import FileBodyProducer
from twisted.web.iweb import IBodyProducer

__all__ = ["RequestBody"]


@attrs.frozen
class _KeptOpen:
    """A file that its reader does not get to close."""

    _file: IO[bytes]

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, *where: int) -> int:
        return self._file.seek(*where)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """Stay open: the request may be sent again."""


@attrs.define(eq=False)
class RequestBody:
    """A request body, in memory or, when it is large, in a file.

    :param content: the body; it belongs to the client's request, which closes it.
    :param size: its bytes.
    """

    content: IO[bytes]
    size: int

    def replaced(self, body: bytes) -> RequestBody:
        """Another body in its place."""
        return RequestBody(BytesIO(body), len(body))

    def read(self) -> bytes:
        """All of it."""
        self.content.seek(0)
        return self.content.read()

    def producer(self, clock: IReactorTime) -> IBodyProducer | None:
        """Writes the body once, from its start; None: there is none."""
        if not self.size:
            return None
        self.content.seek(0)
        # Its usual cooperator would take the global reactor's time.
        cooperator = Cooperator(scheduler=lambda step: clock.callLater(0, step))
        file: Any = _KeptOpen(self.content)
        return FileBodyProducer(file, cooperator)
