"""Request bodies on their way to llama-server, sent as often as it takes."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import IO, Any

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.web.client import FileBodyProducer
from zope.interface import implementer

from paddler.interfaces import IBody

__all__ = [
    "BOM",
    "FileBody",
    "MemoryBody",
    "Sending",
    "content_file",
    "no_folder_for_files",
    "sending",
]


#: Some writers begin UTF-8 with it, and llama-server passes over it.
BOM = b"\xef\xbb\xbf"
#: Bytes that are read at a time to see how a body begins.
BLOCK = 4096
#: Bytes of a body that are not worth a file.
SMALL = 100_000


def content_file(length: int | None) -> IO[bytes]:
    """Something to keep a request's body in.

    It is a file where the body is, or may be, large. There need not be a folder to put one in:
    in containers everything may be read-only, and below a root folder of one's own all is missing.

    :param length: its bytes, where they are known.
    """
    if length is None or length >= SMALL:
        try:
            return tempfile.TemporaryFile()
        except OSError:
            pass  # those that wait are counted, wherever they are
    return BytesIO()


def no_folder_for_files() -> str | None:
    """Why bodies can't be kept in files; None: they can."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        return error.strerror or str(error)
    return None


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


class Sending(FileBodyProducer):
    """One sending of a body."""

    _sending: Deferred[None] | None = None

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Begin."""
        sending: Deferred[None] = super().startProducing(consumer)
        self._sending = sending
        return sending

    def give_up(self) -> bool:
        """Send no more; tells whether something was left to send."""
        if self._sending is None or self._sending.called:
            return False
        self.stopProducing()
        return True


@implementer(IBody)
class MemoryBody(msgspec.Struct, eq=False):
    """A body in memory."""

    _data: bytes

    @property
    def size(self) -> int:
        """See `IBody`."""
        return len(self._data)

    @property
    def fingerprint(self) -> int:
        """See `IBody`."""
        return hash(self._data)

    def read(self) -> bytes:
        """See `IBody`."""
        return self._data

    def may_be_json_object(self) -> bool:
        """See `IBody`."""
        data = self._data
        return data[:1] == b"{" or data.removeprefix(BOM).lstrip()[:1] == b"{"

    def replaced(self, body: bytes) -> MemoryBody:
        """See `IBody`."""
        return MemoryBody(body)

    def file(self) -> IO[bytes]:
        """A file that reads it."""
        return BytesIO(self._data)


@implementer(IBody)
@attrs.define(eq=False)
class FileBody:
    """A body in memory or, when it is large, in a file.

    :param content: the body; it belongs to the client's request, which closes it.
    :param size: its bytes.
    """

    content: IO[bytes]
    size: int
    _fingerprint: int | None = attrs.field(default=None, init=False)

    @property
    def fingerprint(self) -> int:
        """See `IBody`; a large one is read for it, once."""
        if self._fingerprint is None:
            self._fingerprint = hash(self.read())
        return self._fingerprint

    def replaced(self, body: bytes) -> MemoryBody:
        """See `IBody`."""
        return MemoryBody(body)

    def read(self) -> bytes:
        """See `IBody`."""
        self.content.seek(0)
        return self.content.read()

    def may_be_json_object(self) -> bool:
        """See `IBody`."""
        self.content.seek(0)
        block = self.content.read(BLOCK).removeprefix(BOM)
        while block and not block.lstrip():
            block = self.content.read(BLOCK)
        return block.lstrip().startswith(b"{")

    def file(self) -> IO[bytes]:
        """The file, at its start."""
        self.content.seek(0)
        return self.content


def sending(body: FileBody | MemoryBody, clock: IReactorTime) -> Sending | None:
    """Writes a body once, from its start; None: there is none."""
    if not body.size:
        return None
    # Its usual cooperator would take the global reactor's time.
    cooperator = Cooperator(scheduler=lambda step: clock.callLater(0, step))
    file: Any = _KeptOpen(body.file())
    return Sending(file, cooperator)
