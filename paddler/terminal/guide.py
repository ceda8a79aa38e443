"""What stands in place of the agents: what the keys do, how the first agent is made, and what to
look at where there is no connection.
"""

from __future__ import annotations

from paddler.terminal.figures import columns_of, pad, port_in, wrap
from paddler.terminal.lines import Line, fit, ruled, wrapped
from paddler.terminal.scene import Scene
from paddler.terminal.words import CELLS

__all__ = ["HELP", "first_steps", "help_lines", "unlinked", "welcome"]

HELP = (
    ("up down", "choose an agent (also j k, page up, page down, home, end)"),
    ("enter", "its details"),
    ("/", "show only agents with a text in name, address, state or model; esc shows all"),
    ("tab", "show only agents in trouble"),
    ("d", "drain: no new requests to it; running answers finish"),
    ("r", "resume: requests to it again"),
    ("c", "copy what mends it"),
    ("s", "sort by trouble, load or name"),
    ("m", "map or rows; above 200 agents the map comes by itself"),
    ("w L", "charts: 15, 5 or 1 minutes; a logarithmic scale"),
    ("a", "plain ASCII characters"),
    ("q", "quit; ctrl+z suspends"),
)


def help_lines(scene: Scene, width: int) -> list[Line]:
    """What the keys do, and what the cells mean."""
    lines = [ruled((("keys", "bold"),), "? closes", width, scene.glyphs.rule)]
    cells = ", ".join(f"{scene.glyphs.cells[kind]} {word}" for kind, word in CELLS.items())
    for key, what in (*HELP, ("slots", cells)):
        told = wrap(what, max(10, width - 10))
        lines.append(fit([(pad(key, 9) + " ", "bold"), (told[0], "")], width))
        lines += [fit([(" " * 10 + rest, "")], width) for rest in told[1:]]
    return lines


def first_steps(scene: Scene) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What makes the first agent: what to do, and its command in the parts that lines may have."""
    host, _, port = scene.address.rpartition(":")
    near = host.startswith(("127.", "localhost", "[::1]"))
    balancer = scene.fleet.balancer
    proxy = "8086" if balancer is None else port_in(balancer.reverseproxy) or "8086"
    scheme = " --management-scheme https" if scene.scheme == "https" else ""
    return (
        (
            "Start llama-server.",
            ("llama-server -m model.gguf --host 0.0.0.0 --port 8088 --parallel 4",),
        ),
        (
            "Start an agent beside it, on the same machine.",
            (
                f"paddler agent --management-host {'THIS-HOST' if near else host.strip('[]')}",
                f"--management-port {port}{scheme}",
                "--external-llamacpp-host $(hostname -I | cut -d' ' -f1)",
            ),
        ),
        (
            "Ask something, through the balancer.",
            (
                f"curl http://{host}:{proxy}/v1/chat/completions",
                '-d \'{"messages":[{"role":"user","content":"hello"}]}\'',
            ),
        ),
    )


def welcome(scene: Scene, width: int) -> list[Line]:
    """What to do when there is no agent yet."""
    title: Line = (("add the first agent", "bold"),)
    lines = [ruled(title, "1 2 3 copy a command", width, scene.glyphs.rule)]
    for index, (what, parts) in enumerate(first_steps(scene), 1):
        lines.append(fit([(f"{index} ", "bold"), (what, "")], width))
        line = f"    {parts[0]}"
        for part in parts[1:]:
            if columns_of(line) + len(part) + 3 > width:
                lines.append(fit([(line + " \\", "bright_blue")], width))
                line = "     "
            line += f" {part}"
        lines.append(fit([(line, "bright_blue")], width))
    hint = (
        "If nothing appears: an agent on another machine needs a balancer started with "
        "--management-host 0.0.0.0, and its token if it has one. To look around: paddler demo"
    )
    lines += [fit([], width), *wrapped(hint, width)]
    lines += wrapped("Listening for agents. This changes by itself when one reports.", width)
    return lines


def unlinked(scene: Scene, width: int) -> list[Line]:
    """What to look at while there is no connection and never was one."""
    if scene.link.refused or not scene.link.problem:
        return []
    ask = f"curl {scene.scheme}://{scene.address}/health"
    return [
        fit([], width),
        *wrapped("Is the balancer running, and is this its management port? Then this is", width),
        fit([("answered: ", ""), (ask, "bright_blue")], width),
        *wrapped("This goes on trying; q ends it.", width),
    ]
