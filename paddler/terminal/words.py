"""The words an operator reads: states, kinds of trouble, and what to do about each.

They stand here and nowhere else. What they are said of, and where, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = [
    "BLOCKED",
    "CELLS",
    "ISSUES",
    "LOADING_LONG",
    "SERVED",
    "SHARPER",
    "STATES",
    "UNREACHABLE_FOR_AGENT",
    "Advice",
]

#: States by the API's words. A drained agent, and sharper words for an unreachable one, are
#: told apart where they are said.
STATES: Mapping[str, str] = {
    "ready": "Ready",
    "full": "Full",
    "loading": "Loading model",
    "sleeping": "Sleeping",
    "draining": "Draining",
    "quarantined": "Quarantined",
    "stale": "Silent",
    "unreachable": "Unreachable",
}

#: What is said instead of "Unreachable" where the issue is known better.
SHARPER: Mapping[str, str] = {
    "unauthorized": "Key refused",
    "slots_disabled": "Slots hidden",
    "no_slots": "No slots",
    "bad_json": "Not llama-server?",
    "bad_status": "Error from /slots",
    "timeout": "Slow to answer",
}

#: What a slot does, in the order in which cells are drawn.
CELLS: Mapping[str, str] = {
    "answering": "answering",
    "promised": "promised",
    "foreign": "foreign",
    "left": "client left",
    "idle": "idle",
    "out": "out",
}

#: What is said of an agent that gets nothing, and of one that is served in spite of it.
BLOCKED = "nothing is sent there"
SERVED = "requests still go there, by the balancer's own count"


@attrs.frozen
class Advice:
    """What an issue means and what a person does about it.

    :param short: in a row.
    :param title: as a head line.
    :param gist: what it is, in a line; `{address}` is the llama-server's.
    :param why: what it means; what the balancer does follows where it is not said here.
    :param todo: leads to the fix.
    :param fix: a command or options to copy; `{port}` is the llama-server's.
    :param brief: the same where there is little room; empty: only `aside` is shown.
    :param severe: a person is needed now.
    :param says_all: `why` says what the balancer does, too.
    """

    short: str
    title: str
    gist: str
    why: str
    todo: str
    fix: str
    brief: str = ""
    severe: bool = False
    says_all: bool = False


#: By the API's words. `loading` is nobody's job until it has lasted `LOADING_LONG`.
ISSUES: Mapping[str, Advice] = {
    "unauthorized": Advice(
        "wants a key",
        "llama-server wants a key",
        "401 from llama-server: slots unknown",
        "It refused the agent with 401, so its slots are unknown.",
        "Put the key in a file and restart the agent with:",
        "--local-llamacpp-api-key-file FILE",
        "--local-llamacpp-api-key-file FILE",
        severe=True,
    ),
    "unreachable": Advice(
        "no answer",
        "llama-server does not answer",
        "nothing answers at {address}",
        "The agent reports, but nothing opens at the address it gives. "
        "Nothing is sent there; it rejoins by itself.",
        "Check that it runs, and listens for others, not only on 127.0.0.1:",
        "llama-server --host 0.0.0.0 --port {port} …",
        "llama-server --host 0.0.0.0 --port {port}",
        severe=True,
        says_all=True,
    ),
    "slots_disabled": Advice(
        "slots hidden",
        "llama-server hides its slots",
        "/slots is off: free slots cannot be counted",
        "/slots is off, or it runs as a router, so its free slots cannot be counted.",
        "Restart it without --no-slots, or with:",
        "llama-server --slots …",
        "llama-server --slots",
        severe=True,
    ),
    "no_slots": Advice(
        "no slots",
        "llama-server has no slots",
        "llama-server has no slots",
        "It answers with an empty list.",
        "Give it some:",
        "llama-server --parallel 4 …",
        "llama-server --parallel 4",
        severe=True,
    ),
    "bad_json": Advice(
        "not llama-server?",
        "Something else answers at that port",
        "no list of slots came: another service?",
        "Not a list of slots: another service, or a very old llama-server.",
        "See for yourself on that machine:",
        "curl -s http://127.0.0.1:{port}/slots",
        "curl -s http://127.0.0.1:{port}/slots",
        severe=True,
    ),
    "bad_status": Advice(
        "error from /slots",
        "llama-server answers with an error",
        "/slots came back with an error status",
        "/slots came back with an error status.",
        "Its own log has the reason:",
        "journalctl -u llama-server -n 50",
        "journalctl -u llama-server -n 50",
        severe=True,
    ),
    "quarantined": Advice(
        "left out",
        "Left out after failures",
        "three requests failed there at once",
        "Three requests failed there at once. After the pause one request tries it again.",
        "If it keeps coming back here, llama-server's log has the reason:",
        "journalctl -u llama-server -n 50",
        says_all=True,
    ),
    "stale": Advice(
        "silent",
        "An agent has gone silent",
        "its reports have stopped",
        "Its reports have stopped. "
        "Nothing is sent there, running answers go on, and it is forgotten soon.",
        "On that machine:",
        "systemctl status paddler-agent",
        "systemctl status paddler-agent",
        says_all=True,
    ),
    "timeout": Advice(
        "slow to answer",
        "llama-server is slow to answer",
        "slow to answer, perhaps a long prompt",
        "A long prompt can hold /slots up. "
        "Running answers go on; it gets no new ones until it answers.",
        "Nothing, if it passes. If it lasts, let the agent ask less often:",
        "--reporting-interval 5s",
        "nothing if it passes",
        says_all=True,
    ),
    "loading": Advice(
        "still loading",
        "A model takes long to load",
        "its model loads for long",
        "It joins by itself once its model is loaded.",
        "If it never ends, llama-server's log has the reason:",
        "journalctl -u llama-server -n 50",
        "journalctl -u llama-server -n 50",
        says_all=True,
    ),
}

#: `unreachable` as the agent sees it: it stands beside the llama-server and gets no answer.
UNREACHABLE_FOR_AGENT = attrs.evolve(
    ISSUES["unreachable"],
    why="Not even its agent, beside it, gets an answer. "
    "Nothing is sent there; it rejoins by itself.",
    todo="Start it, or tell the agent where it is with --local-llamacpp-port:",
)

#: Seconds after which a model that still loads is worth a look.
LOADING_LONG = 600.0
