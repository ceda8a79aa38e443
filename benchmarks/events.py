"""The events of a benchmark's streams: a chat chunk as llama-server sends it, numbered and stamped.

All have one size, so that whoever reads a body finds them without looking for their ends.
"""

from __future__ import annotations

import json

__all__ = ["LAST", "SIZE", "event", "frame", "read"]

_CHUNK = json.dumps(
    {
        "choices": [{"finish_reason": None, "index": 0, "delta": {"content": " story"}}],
        "created": 1795490105,
        "id": "chatcmpl-qOzA7uVnC0xJ4rYkTb2sLw9eHf5mDg1i",
        "model": "model.gguf",
        "object": "chat.completion.chunk",
        "n": "@",
        "t": "@",
    },
    separators=(",", ":"),
).encode()
_START, _MIDDLE, _END = (b"data: " + _CHUNK + b"\n\n").split(b"@")
_NUMBER, _STAMP = 8, 19
#: Where the number and the stamp begin.
_AT_NUMBER = len(_START)
_AT_STAMP = _AT_NUMBER + _NUMBER + len(_MIDDLE)
#: Bytes of an event.
SIZE = _AT_STAMP + _STAMP + len(_END)
_FORMAT = (_START + b"%08d" + _MIDDLE + b"%019d" + _END).replace(b'%"', b'%%"')
_FRAMED = b"%x\r\n" % SIZE + _FORMAT + b"\r\n"
#: The last chunk of a body.
LAST = b"0\r\n\r\n"


def event(number: int, stamp: int) -> bytes:
    """One event.

    :param number: its place in its stream.
    :param stamp: nanoseconds of the monotonic clock, which all processes of a machine share.
    """
    return _FORMAT % (number, stamp)


def frame(number: int, stamp: int) -> bytes:
    """The same, as a chunk of an HTTP body."""
    return _FRAMED % (number, stamp)


def read(body: bytes, start: int = 0) -> tuple[int, int]:
    """The number and the stamp of the event that begins there."""
    number = start + _AT_NUMBER
    stamp = start + _AT_STAMP
    return int(body[number : number + _NUMBER]), int(body[stamp : stamp + _STAMP])
