"""All requests of clients that are under way, however they came, and what they share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from paddler.balancer.accounts import Account, Ledger, Ledgers
from paddler.balancer.admission import Admission
from paddler.balancer.answers import error_body
from paddler.balancer.catalogue import model_json, models_json
from paddler.balancer.conversations import Conversations, fits
from paddler.balancer.doubts import Patience, Running
from paddler.balancer.ending import Ending
from paddler.balancer.exchange import Exchange
from paddler.balancer.requests import MODEL, SLOT_PATHS, Destination, Doors, Target
from paddler.headers import CONVERSATION, RequestHeaders
from paddler.interfaces import IPlainServer
from paddler.scheduling.slots import Upstream

__all__ = ["Exchanges", "Ways"]


@attrs.frozen
class Ways:
    """How requests are passed on.

    :param doors: what is open beside the ordinary API.
    :param rewrite_host: send llama-server its own address as Host.
    :param max_tries: servers that a request is sent to in all, when they die with it.
    :param patience: with answers of servers that their agents doubt.
    :param prompts: prompts and what answers say of them are read, for a policy that asks for it.
    """

    doors: Doors = Doors()
    rewrite_host: bool = False
    max_tries: int = 2
    patience: Patience = Patience()
    prompts: bool = False


@implementer(IPlainServer)
@attrs.define(eq=False)
class Exchanges:
    """Requests under way.

    :param clock: the time.
    :param admission: gives leases.
    :param hop: the way to llama-servers, an `IUpstreamHop`.
    :param ways: how requests are passed on.
    :param ledger: told what becomes of each request.
    """

    clock: IReactorTime
    admission: Admission
    hop: Any
    ways: Ways = Ways()
    ledger: Ledger = Ledgers()
    running: Running = attrs.field(init=False)
    #: Nothing new is taken.
    stopping: bool = attrs.field(default=False, init=False)
    conversations: Conversations = attrs.field(factory=Conversations, init=False)
    _under_way: set[Ending] = attrs.field(factory=set, init=False)
    _idle: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.running = Running(self.clock, self.ways.patience)
        self.admission.on_doubt = self.running.doubted

    def takes(self, uri: bytes, headers: RequestHeaders) -> bool:
        """See `IPlainServer`."""
        return uri in SLOT_PATHS

    def new(self, request: Any) -> Exchange:
        """See `IPlainServer`; those that are not plain are begun here too.

        :param request: an `IClientRequest`.
        """
        known = SLOT_PATHS.get(request.uri)
        path = request.uri.partition(b"?")[0].decode("latin-1") if known is None else known.path
        method = request.method.decode("latin-1")
        account = Account(request.its_id.decode(), method, path, self.clock.seconds())
        exchange = Exchange(self, request, account)
        self._under_way.add(exchange)
        return exchange

    def ended(self, exchange: Ending) -> None:
        """One has ended."""
        now = self.clock.seconds()
        try:
            finished = exchange.account.finished(now, client_left=exchange.client_left)
            # The fleet's health is no client's request.
            if finished.code or finished.left:
                self.ledger.finished(finished)
        finally:
            self._under_way.discard(exchange)
            if self._idle and not self._under_way:
                self._tell_idle()

    def begin_stop(self) -> None:
        """Take nothing new; what is here goes on."""
        self.stopping = True

    def drained(self) -> Deferred[None]:
        """Fires when nothing runs and nothing waits."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        if not self._under_way:
            self._tell_idle()
        return idle

    def cut(self) -> None:
        """End what still runs."""
        for exchange in list(self._under_way):
            exchange.cut()

    def conversation_of(self, headers: RequestHeaders) -> bytes | None:
        """The conversation that a request belongs to; None: to none."""
        given = headers.others.get(CONVERSATION)
        return given[0] if given is not None and fits(given[0]) else None

    def has_stream(self, conversation: bytes) -> Upstream | None:
        """The upstream that has a conversation's stream; None: that is not known."""
        address = self.conversations.where(conversation, self.clock.seconds())
        return None if address is None else self.admission.at(address)

    def has_one_of(self, conversations: Iterable[bytes]) -> Upstream | None:
        """The upstream that has the stream of the first of these that has one."""
        return next(filter(None, map(self.has_stream, conversations)), None)

    def own_answer(self, asked: Destination, target: Target) -> tuple[int, bytes, bool]:
        """What the balancer answers by itself: a status, a body, and whether it counts."""
        if asked is Destination.HEALTH:
            return *self._health(target), False
        models = self.admission.models()
        if target.path.startswith(MODEL):
            name = target.path.removeprefix(MODEL).encode("latin-1").decode("utf-8", "replace")
            return *model_json(models, name), True
        return 200, models_json(models), True

    def _health(self, target: Target) -> tuple[int, bytes]:
        """The fleet's health, in the shape of llama-server's."""
        fleet, queue = self.admission.fleet(), self.admission.queue()
        asked = dict(parse_qsl(target.sent.partition(b"?")[2]))
        can_wait = queue.requests_waiting < queue.limit
        if not fleet.slots_idle and (asked.get(b"fail_on_no_slot") or not can_wait):
            return 503, error_body(503, "unavailable_error", "no slot available")
        return 200, msgspec.json.encode({"status": "ok", **attrs.asdict(fleet)})

    def _tell_idle(self) -> None:
        waiting, self._idle = self._idle, []
        for idle in waiting:
            idle.callback(None)
