"""A management server that says what it is told to, with the real page in front of it.

For pictures, measurements, and all that a real balancer can't be made to do at will: to fall
silent, to have another clock, to be of another version.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from typing import Any

import attrs
import msgspec
from twisted.web.http import Request, datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from paddler.balancer.dashboard.files import dashboard_files
from paddler.scheduling.views import AgentView, IssueView

__all__ = ["Pretended", "pretended_agent"]

_STREAM = b"stream"


def pretended_agent(number: int, name: str = "", *issues: str, **given: Any) -> AgentView:
    """An agent of four slots that is ready, where nothing else is given.

    :param issues: what is wrong with it, as its agent sees it.
    """
    view = AgentView(
        agent_id=f"id{number}",
        agent_name=name or f"gpu-{number:02}",
        external_llamacpp_addr=f"10.0.{number // 250}.{number % 250 + 1}:8088",
        state="ready",
        issues=tuple(IssueView(i, time.time() - 130, "agent") for i in issues),  # type: ignore[arg-type]
        slots_total=4,
        slots_idle=4,
        slots_processing=0,
        in_flight=0,
        promised=0,
        foreign_busy=0,
        client_left=0,
        models=("tiny",),
        quarantined_until=None,
        draining=False,
        last_update=time.time(),
        error=None,
    )
    return attrs.evolve(view, **given)


class Pretended(Resource):
    """Serves the page and what it asks for.

    :ivar agents: by their ids, in the order in which they are told.
    :ivar points: the last 15 minutes, made anew each time.
    :ivar decisions: why requests went where they went, the newest first.
    :ivar code: what the API's answers have for a status.
    :ivar mute: paths' last parts that get no answer; a mute stream begins and says nothing more.
    :ivar ahead: seconds that its clock is ahead of the browser's.
    :ivar asked: method and path of each request so far.
    :ivar watching: those who follow a stream, by its path's part before the last.
    """

    isLeaf = True

    def __init__(self, agents: Collection[AgentView] = (), waiting: int = 0, oldest: float = 0.0):
        super().__init__()
        self.agents = {a.agent_id: a for a in agents}
        self.queue: dict[str, Any] = {
            "requests_waiting": waiting,
            "bytes_waiting": 0,
            "oldest_wait_seconds": oldest,
            "limit": 1000,
        }
        self.balancer: dict[str, Any] = {
            "version": "1.0.0",
            "reverseproxy": "tcp:8086:interface=127.0.0.1",
            "management": "tcp:8085:interface=127.0.0.1",
            "request_buffer_timeout": 60.0,
            "refused_reports": 0,
        }
        self.points: Callable[[], list[dict[str, Any]]] = list
        self.decisions: list[dict[str, Any]] = []
        self.code = 200
        self.mute: set[bytes] = set()
        self.ahead = 0.0
        self.born = time.time()
        self.asked: list[str] = []
        self.watching: dict[bytes, list[Request]] = {b"agents": [], b"buffered_requests": []}
        self._held: list[Request] = []
        self._files = dashboard_files()

    def render(self, request: Request) -> int:
        """Answer."""
        path = tuple(request.postpath or ())
        file = self._files.get(path)
        if file is not None:
            file.send(request)
            return NOT_DONE_YET
        self.asked.append(f"{request.method.decode()} {request.path.decode()}")
        request.setHeader(b"date", datetimeToString(time.time() + self.ahead))
        if path[-1] in self.mute and path[-1] != _STREAM:
            self._keep(request, self._held)
        elif self.code != 200:
            request.setResponseCode(self.code)
            request.finish()
        elif path[-1] == _STREAM:
            self._stream(request, path[-2])
        else:
            request.setHeader(b"content-type", b"application/json")
            request.write(self._answer(request, path))
            request.finish()
        return NOT_DONE_YET

    def tell(self, *changed: AgentView, left: Collection[str] = ()) -> None:
        """Agents that are new or others, and ids of those that leave."""
        self.agents.update({a.agent_id: a for a in changed})
        for agent_id in left:
            del self.agents[agent_id]
        self.write(_event("changed", {"changed": changed, "left": list(left)}))

    def write(self, data: bytes) -> None:
        """Send this to all who follow the agents."""
        if _STREAM not in self.mute:
            for request in self.watching[b"agents"]:
                request.write(data)

    def drop(self) -> None:
        """Break all connections that wait for something."""
        for request in [*sum(self.watching.values(), []), *self._held]:
            request.channel.transport.abortConnection()

    def _answer(self, request: Request, path: tuple[bytes, ...]) -> bytes:
        found: Any = {}
        if path[-1] == b"history":
            found = {"points": self.points()}
        elif path[-1] == b"decisions":
            found = {"decisions": self.decisions}
        elif path[-1] == b"balancer":
            found = {**self.balancer, "uptime_seconds": time.time() - self.born}
        elif path[-1] == b"agents":
            return msgspec.json.encode({"agents": list(self.agents.values())})
        elif path[-1] == b"buffered_requests":
            found = self.queue
        elif path[-1] in (b"drain", b"resume"):
            agent = self.agents[path[-2].decode()]
            on = path[-1] == b"drain"
            self.tell(attrs.evolve(agent, state="draining" if on else "ready", draining=on))
        return json.dumps(found).encode()

    def _stream(self, request: Request, of: bytes) -> None:
        request.setHeader(b"content-type", b"text/event-stream")
        self._keep(request, self.watching[of])
        if _STREAM in self.mute:
            request.write(b":\n\n")
        elif of == b"agents":
            request.write(_event("snapshot", {"agents": list(self.agents.values())}))
        else:
            request.write(_event("snapshot", self.queue))

    def _keep(self, request: Request, among: list[Request]) -> None:
        among.append(request)
        request.notifyFinish().addErrback(lambda _: among.remove(request))


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
