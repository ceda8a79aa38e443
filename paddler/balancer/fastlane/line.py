"""One connection to a llama-server, which serves one request after another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)
from twisted.python.failure import Failure

from paddler.balancer.fastlane.known import Known
from paddler.dialing import keep_alive
from paddler.errors import UpstreamFailed
from paddler.headers import AnswerHeaders
from paddler.interfaces import Head
from paddler.values import Address

if TYPE_CHECKING:
    from paddler.balancer.fastlane.hop import FastHop

__all__ = ["Line"]

_HEAD_END = b"\r\n\r\n"
#: Bytes of an answer's head.
HEAD_LIMIT = 256 * 1024
#: Seconds within which a kept connection shows that it had been closed; later it is its server
#: that has died, perhaps of the request.
FOUND_CLOSED = 0.5


class Line(asyncio.Protocol):
    """A connection.

    :param hop: takes it back when it has nothing to do.
    :param upstream: the other end.
    :param call: what it is made for.
    """

    #: Since when nothing was asked over it, in the loop's seconds.
    idle_since = 0.0
    #: The last bytes that came end within a chunk.
    in_frame = False

    def __init__(self, hop: FastHop, upstream: Address, call: Any) -> None:
        self.upstream = upstream
        self._hop = hop
        self.transport: Any = None
        self._parser = HttpResponseParser(self)
        self._call: Any = call
        self._served_at = 0.0
        #: It served a request before, so llama-server may have closed it by now.
        self._again = False
        #: The last head of a whole answer behind which it was kept, and what it said.
        self._known: Known | None = None
        self._known_head: Any = None
        self._fresh()

    def _fresh(self) -> None:
        """Nothing has come of the next answer."""
        self._start: bytes | None = b""
        self._head: Any = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._phrase = b""
        self._interims = 0
        #: Its head is here, whole.
        self._headed = False
        self._framed = self._delimited = self._whole = self._more = False
        self._keeps = self._may_keep = self._paused = False

    # What its hop and a call want of it.

    def serve(self, call: Any, now: float, *, again: bool) -> None:
        """Send a request; `call.receiver` hears of the answer.

        :param now: the loop's time.
        :param again: it has served before.
        """
        self._call, self._again, self._served_at = call, again, now
        self._hop.outbox.put(self.transport, call.request)

    def pause(self) -> None:
        """Read nothing for now."""
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Cut it; its call hears no more."""
        self._call = None
        self.transport.abort()

    def close(self) -> None:
        """Close it, idle as it is."""
        self.transport.close()

    # From asyncio.

    def connection_made(self, transport: Any) -> None:
        """It is here."""
        self.transport = transport
        call, self._call = self._call, None
        if call.aborted:
            transport.abort()
        else:
            call.connected(self)
            # Its request goes out first.
            self._hop.loop.call_soon(self._probe)

    def data_received(self, data: bytes) -> None:
        """Some bytes of an answer."""
        call = self._call
        if call is None:
            # Nobody asked for it, or nobody wants it any more.
            self.transport.abort()
            return
        try:
            if self._known is not None and self._start == b"" and self._comes_known(data, call):
                return
            if self._start is None:
                self._parser.feed_data(data)
            else:
                data = self._head_comes(data)
            if self._more and self._framed:
                raise HttpParserError("more came behind it")
            if self._framed and data:
                call.receiver.framed_received(data)
            if self._whole:
                self._ended(None, cut=self._more)
        except HttpParserCallbackError as error:
            self._broke(call, error.__context__ or error)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self._whole and not self._framed:
                self._ended(None, cut=True)
                return
            self._ended(f"its answer is not well-formed: {error}", cut=True)
        except Exception as error:  # the call's own, of which nobody else would hear
            self._broke(call, error)

    def eof_received(self) -> bool:
        """Nothing more comes."""
        return False

    def connection_lost(self, reason: Exception | None) -> None:
        """It is no more."""
        self._hop.lost(self)
        call = self._call
        if call is None:
            return
        soon = self._hop.loop.time() - self._served_at < FOUND_CLOSED
        if self._again and soon and self._start == b"":
            # Closed before it was asked: the request has not been seen.
            self._call = None
            call.found_closed()
        elif self._delimited and reason is None:
            # With neither length nor chunks its proper end is all that says it is whole.
            self._ended(None, cut=True)
        else:
            self._ended("the connection was lost before the answer was whole", cut=True)

    # From the parser.

    def on_message_begin(self) -> None:
        """An answer begins; one is all that was asked for."""
        self._more = self._whole

    def on_status(self, phrase: bytes) -> None:
        """Some of the words behind its status."""
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        if self._more:
            return
        code = self._parser.get_status_code()
        if code < 200:
            self._interims += 1
            self._headers, self._phrase = [], b""
            return
        headers = AnswerHeaders(self._headers)
        self._headed = True
        codings, sizes = map(headers.others.get, (b"transfer-encoding", b"content-length"))
        chunked = codings is not None and codings[-1].strip().lower() == b"chunked"
        length = None if sizes is None else int(sizes[-1])
        head = Head(code, self._phrase, headers.passing, length, chunked, headers.streams)
        self._head = head
        # Behind a stream llama-server closes it, whatever the head says; behind an error some
        # servers leave the request's body unread, and would take it for the next request.
        self._may_keep = code < 300 and not head.streams
        self._delimited = not chunked and length is None and not head.bodyless
        receiver = self._call.receiver
        receiver.head_received(head)
        self._framed = receiver.takes_frames

    def on_body(self, data: bytes) -> None:
        """Some of its body, out of its frames."""
        if not self._more and self._call is not None:
            self._call.receiver.data_received(data)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self.in_frame = True

    def on_chunk_complete(self) -> None:
        """It has ended."""
        self.in_frame = False

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._more and self._parser.get_status_code() >= 200:
            self._whole = True
            self._keeps = self._may_keep and self._parser.should_keep_alive()

    # Inside.

    def _comes_known(self, data: bytes, call: Any) -> bool:
        """Take an answer that has come whole and whose head is known; tells whether it is one."""
        found = self._known.find(data) if self._known is not None else None
        if found is None or len(data) != sum(found):
            return False
        begin, length = found
        its: Head = self._known_head
        head = Head(its.code, its.phrase, its.headers, length, text=its.text)
        self._keeps = True
        self._part(cut=False).whole_received(head, data[begin:])
        return True

    def _know(self, start: bytes) -> None:
        """Remember the head of an answer that has come whole, if it tells its body's length."""
        head = self._head
        if head.length is None or head.bodyless or self._interims:
            return
        self._known = Known.of(start)
        self._known_head = Head(head.code, head.phrase, head.others, None, text=head.as_text())

    def _head_comes(self, data: bytes) -> bytes:
        """Read on in an answer's head; what is here of the body behind it, in its frames."""
        start = self._start = self._start + data if self._start else data
        if start.startswith((b"\r", b"\n")):
            # Some begin with an empty line, which is passed over.
            start = self._start = start.lstrip(b"\r\n")
        if len(start) > HEAD_LIMIT:
            raise HttpParserError("its head is too large")
        self._parser.feed_data(data)
        if not self._headed:
            return b""
        if self._keeps and not self._more:
            self._know(start)
        self._start = None
        return start.split(_HEAD_END, self._interims + 1)[-1] if self._framed else b""

    def _probe(self) -> None:
        """Have the system find out when the other host is gone."""
        if not self.transport.is_closing():
            with suppress(OSError):  # where it was reset already
                keep_alive(self.transport.get_extra_info("socket"))

    def _ended(self, problem: str | None, *, cut: bool = False) -> None:
        receiver = self._part(cut=cut)
        failed = None if problem is None else UpstreamFailed(str(self.upstream), problem)
        receiver.answer_ended(failed)

    def _part(self, *, cut: bool) -> Any:
        """Part from the call, whose answer has ended; the receiver has still to hear of that."""
        call, self._call = self._call, None
        # An answer may end before all of the request was sent.
        unsent = not cut and self.transport.get_write_buffer_size()
        keeps = not (cut or unsent or self._paused) and self._keeps
        if keeps:
            if self._start is None:
                # The parser has read it.
                self._fresh()
            self._hop.keep(self)
        else:
            self.transport.abort()
        return call.ended(parted=keeps)

    def _broke(self, call: Any, error: BaseException) -> None:
        self.abort()
        call.receiver.broke(Failure(error))
