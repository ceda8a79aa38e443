"""The `paddler` command: finds the subcommand that is meant and runs it.

What a subcommand needs is imported when it is chosen, so that help costs nothing.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

from paddler import __version__

__all__ = ["main"]

_HELP = """\
Usage: paddler COMMAND [options]

Share llama.cpp servers by their free slots.

Commands:
  balancer    take requests, and send each to a llama-server with a free slot
  agent       tell a balancer of one llama-server; run one beside each of them
  dashboard   look at a balancer's agents and queue, in the terminal
  demo        try it: real llama-servers, agents, a balancer and one chat, here

paddler COMMAND --help shows a command's options and their defaults.
paddler --version      shows the version.

In the background, with the same options after twistd's own (twistd --help):
  twistd paddler-balancer
  twistd paddler-agent
"""


def _balancer(words: Sequence[str]) -> None:
    from paddler.balancer.plugin import Options, makeService
    from paddler.foreground import run_service
    from paddler.logs import json_observer

    options = Options()
    options.parseOptions(words)
    if options.metadata_keys:
        from paddler.hosts import settle_hosts

        # Before there is a reactor that would have to be taken down again.
        settle_hosts(options)
        options.metadata_keys.clear()
    if options["fast-lane"]:
        from paddler.uvloopreactor import install_if_there

        install_if_there()
    from twisted.internet import reactor

    observer = json_observer(sys.stdout) if options["log-format"] == "json" else None
    run_service(makeService(options, reactor), reactor, observer)


def _agent(words: Sequence[str]) -> None:
    from twisted.internet import reactor

    from paddler.agent.plugin import Options, makeService
    from paddler.foreground import run_service

    options = Options()
    options.parseOptions(words)
    run_service(makeService(options, reactor), reactor)


def _demo(words: Sequence[str]) -> None:
    from twisted.internet import reactor

    from paddler.demo import Options, run_demo

    options = Options()
    options.parseOptions(words)
    sys.exit(run_demo(options.settings(), reactor))


def _dashboard(words: Sequence[str]) -> None:
    from twisted.internet import asyncioreactor
    from twisted.python.usage import UsageError

    # Textual needs one on asyncio; before anything else brings in another.
    asyncioreactor.install()
    from paddler.terminal.settings import DashboardOptions

    options = DashboardOptions()
    options.parseOptions(words)
    if options.metadata_keys:
        from paddler.hosts import settle_hosts

        settle_hosts(options)
    try:
        settings = options.settings()
    except UsageError as error:
        sys.exit(str(error))
    try:
        from paddler.terminal.running import run_dashboard
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "textual"):
            raise
        sys.exit("paddler dashboard: needs Textual; pip install 'paddler[dashboard]' installs it")
    why_not = _why_no_screen()
    if why_not is not None:
        management = settings.management
        address = f"{management.scheme}://{management}/api/v1/agents"
        line = f"paddler dashboard: needs a terminal{why_not}; programs read {address}"
        # Where somebody sees it.
        print(line, file=sys.stdout if sys.stdout and sys.stdout.isatty() else sys.stderr)
        sys.exit(1)
    from twisted.internet import reactor

    sys.exit(run_dashboard(settings, reactor))


def _why_no_screen() -> str | None:
    """Why nothing can be drawn here; None: something can."""
    # Textual draws on the standard error.
    if any(s is None or not s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)):
        return " for its input, output and errors"
    if os.environ.get("TERM") == "dumb":
        return " that can place text, and TERM is dumb"
    return None


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "agent": _agent,
    "balancer": _balancer,
    "dashboard": _dashboard,
    "demo": _demo,
}


def _no_such_command(word: str) -> str:
    if word.startswith("-"):
        return f"paddler: {word} must come after a command; see paddler --help"
    near = difflib.get_close_matches(word, _COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else "see paddler --help"
    return f"paddler: no such command: {word!r}; {hint}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for.

    :param arguments: the words after `paddler`; None takes the process' own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        sys.exit(_HELP.rstrip())
    first = words.pop(0)
    if first in ("--help", "-h", "help"):
        print(_HELP, end="")
    elif first == "--version":
        print(f"paddler {__version__}")
    elif first in _COMMANDS:
        _COMMANDS[first](words)
    else:
        sys.exit(_no_such_command(first))
