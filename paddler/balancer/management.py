"""The management server: agents report here, and operators ask and steer.

Paths and methods become calls of `Admission`, errors become answers. It knows no
rule about slots and holds no state but the count of refused reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from paddler import __version__
from paddler.balancer.admission import Admission
from paddler.balancer.answers import INTERNAL_ERROR, send_error, send_json
from paddler.balancer.dashboard.files import dashboard_files
from paddler.balancer.doorkeeping import Doorkeeper
from paddler.balancer.history import History
from paddler.balancer.metrics import MetricsText
from paddler.balancer.readings import (
    BalancerView,
    agents_json,
    decisions_json,
    demand_json,
    health_json,
    queue_json,
)
from paddler.balancer.reports import REPORT_LIMIT, ReportDesk, agent_id_of
from paddler.balancer.streams import Streams
from paddler.errors import (
    MethodNotAllowed,
    NoSuchPage,
    PaddlerError,
    Unauthorized,
)

__all__ = ["management_resource"]

_HEALTH = (b"health",)
_API = (b"api", b"v1")
_OK = b'{"status":"ok"}'
#: Stands in a route for the agent's id, which is a path's fourth part.
_ID = b"{id}"

#: Answers a request; the second argument is the agent's id as it came, in routes that have one.
_Answer = Callable[[Request, bytes], None]
_Routes = Mapping[tuple[bytes, ...], Mapping[bytes, _Answer]]


def management_resource(
    *,
    admission: Admission,
    clock: IReactorTime,
    started_at: float,
    desk: ReportDesk,
    door: Doorkeeper,
    dashboard: bool,
    reverseproxy: str,
    management: str,
    history: History,
    metrics: MetricsText | None,
    streams: Streams,
) -> Resource:
    """All that the management server serves.

    :param admission: where reports go and views come from.
    :param clock: the time, in Unix seconds.
    :param started_at: when the balancer started, in the clock's seconds.
    :param desk: takes reports in.
    :param door: says who may ask for what, except for `/health` and the dashboard's files,
        which hold no data.
    :param dashboard: serve `/dashboard`.
    :param reverseproxy: where clients are served, as it is shown.
    :param management: where this is served, as it is shown.
    :param history: of the last minutes.
    :param metrics: served at `/metrics`; None: that is not served.
    :param streams: for who watches.
    """

    def balancer() -> BalancerView:
        return BalancerView(
            version=__version__,
            uptime_seconds=round(max(0.0, clock.seconds() - started_at), 3),
            reverseproxy=reverseproxy,
            management=management,
            request_buffer_timeout=admission.timeout,
            refused_reports=desk.refusals.count,
        )

    routes = _Management(admission, desk, balancer, history, streams).routes()
    if metrics is not None:
        routes[(b"metrics",)] = _showing(metrics.send)
    open_routes: dict[tuple[bytes, ...], Mapping[bytes, _Answer]] = {
        _HEALTH: _reading(lambda: health_json(admission))
    }
    if dashboard:
        open_routes.update(_dashboard_routes())
    return _Root(door, routes, open_routes)


@attrs.frozen(eq=False)
class _Management:
    """What is done at each path."""

    _admission: Admission
    _desk: ReportDesk
    _balancer: Callable[[], BalancerView]
    _history: History
    _streams: Streams

    def routes(self) -> dict[tuple[bytes, ...], Mapping[bytes, _Answer]]:
        """Paths, and what each does by method."""
        admission = self._admission
        return {
            (*_API, b"agent_status_update", _ID): {b"POST": self._report},
            (*_API, b"agents", _ID): {b"DELETE": self._leave},
            (*_API, b"agents", _ID, b"drain"): {b"POST": self._drain},
            (*_API, b"agents", _ID, b"resume"): {b"POST": self._resume},
            (*_API, b"agents"): _reading(lambda: agents_json(admission)),
            (*_API, b"agents", b"stream"): _showing(self._streams.agents.watch),
            (*_API, b"balancer"): _reading(lambda: self._balancer().to_json()),
            (*_API, b"buffered_requests"): _reading(lambda: queue_json(admission)),
            (*_API, b"buffered_requests", b"stream"): _showing(self._streams.queue.watch),
            (*_API, b"demand"): _showing(self._demand),
            (*_API, b"decisions"): _reading(lambda: decisions_json(admission)),
            (*_API, b"history"): _reading(self._history.to_json),
        }

    def _report(self, request: Request, raw_id: bytes) -> None:
        content = request.content
        body: bytes = b"" if content is None else content.read(REPORT_LIMIT + 1)
        send_json(request, self._desk.take(raw_id, body, _sender(request)))

    def _demand(self, request: Request) -> None:
        query = request.uri.partition(b"?")[2].decode("latin-1")
        model = dict(parse_qsl(query, encoding="utf-8")).get("model")
        send_json(request, demand_json(self._admission, model))

    def _leave(self, request: Request, raw_id: bytes) -> None:
        self._admission.leave(agent_id_of(raw_id))
        send_json(request, _OK)

    def _drain(self, request: Request, raw_id: bytes) -> None:
        self._admission.drain(agent_id_of(raw_id), True)
        send_json(request, _OK)

    def _resume(self, request: Request, raw_id: bytes) -> None:
        self._admission.drain(agent_id_of(raw_id), False)
        send_json(request, _OK)


@implementer(IResource)
class _Root(Resource):
    """Finds what a request asks for, lets it in, and answers what goes wrong."""

    isLeaf = True
    _log = Logger()

    def __init__(self, doorkeeper: Doorkeeper, routes: _Routes, open_routes: _Routes) -> None:
        super().__init__()
        self._doorkeeper = doorkeeper
        self._routes = routes
        #: These need no token.
        self._open_routes = open_routes

    def render(self, request: Request) -> int:
        """Answer a request, at once."""
        try:
            self._answer(request)
        except PaddlerError as error:
            if isinstance(error, Unauthorized):
                request.setHeader(b"www-authenticate", b"Bearer")
            elif isinstance(error, MethodNotAllowed):
                request.setHeader(b"allow", ", ".join(error.allowed).encode())
            send_error(request, error)
        except Exception:  # the owner's boundary: whoever asks gets an answer
            self._log.failure("while answering {path}", path=request.path)
            send_json(request, INTERNAL_ERROR, 500)
        return NOT_DONE_YET

    def _answer(self, request: Request) -> None:
        door = self._doorkeeper
        request.setHeader(b"cache-control", b"no-store")
        door.mark(request)
        if door.is_preflight(request):
            door.answer_preflight(request)
            return
        path = tuple(request.postpath or ())
        methods, raw_id = self._open_routes.get(path), b""
        if methods is None:
            door.check_token(request)
            methods, raw_id = self._find(path)
        door.check_origin(request)
        if not methods:
            raise NoSuchPage()
        answer = methods.get(request.method)
        if answer is None:
            raise MethodNotAllowed(tuple(method.decode() for method in methods))
        answer(request, raw_id)

    def _find(self, path: tuple[bytes, ...]) -> tuple[Mapping[bytes, _Answer], bytes]:
        """What a path does by method, nothing for one that is not served; and the id in it."""
        methods = self._routes.get(path)
        if methods is not None or len(path) < 4:
            return methods or {}, b""
        return self._routes.get((*path[:3], _ID, *path[4:]), {}), path[3]


def _reading(read: Callable[[], bytes]) -> Mapping[bytes, _Answer]:
    """The methods of a path that shows some JSON."""
    return _showing(lambda request: send_json(request, read()))


def _showing(show: Callable[[Request], None]) -> Mapping[bytes, _Answer]:
    """The methods of a path that shows something."""

    def answer(request: Request, raw_id: bytes) -> None:
        show(request)

    return {b"GET": answer, b"HEAD": answer}


def _dashboard_routes() -> _Routes:
    """The dashboard's files by their paths."""

    def to_the_page(request: Request) -> None:
        # Relative, so that it works behind a proxy that serves all this below a path.
        request.redirect(b"../dashboard")
        request.finish()

    routes = {path: _showing(file.send) for path, file in dashboard_files().items()}
    routes[(b"dashboard", b"")] = _showing(to_the_page)
    return routes


def _sender(request: Request) -> str:
    """The address that a request came from; one on a Unix socket has none."""
    return getattr(request.getClientAddress(), "host", None) or "this machine"
