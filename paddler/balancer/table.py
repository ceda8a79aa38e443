"""The balancer's options, one by one, and what its help says below them."""

from __future__ import annotations

import re

from paddler.coercions import (
    boolean,
    choice,
    duration,
    endpoint,
    host_or_key,
    listening_port,
    path_of_secret,
    port,
    positive,
    shaped,
    size,
    whole,
)
from paddler.foreground import SERVICE_SECTIONS
from paddler.options import AWS_IMDSV1, Option
from paddler.usage_text import Section

__all__ = ["SECTIONS", "TABLE"]


@shaped("ORIGIN")
def _origin(raw: str) -> str:
    """A web origin; browsers send scheme://host[:port].

    :raises ValueError: saying what fits.
    """
    scheme, found, rest = raw.rstrip("/").partition("://")
    if not rest:
        scheme, rest = "", scheme
    if (found and scheme not in ("http", "https")) or not rest or set(rest) & set("/?# \t"):
        raise ValueError("an origin such as https://ops.example.com, or a host")
    return raw.rstrip("/").lower()


@shaped("PREFIX")
def _prefix(raw: str) -> str:
    """The beginning of a metric's name.

    :raises ValueError: saying what fits.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", raw) or len(raw) > 200:
        raise ValueError("letters, digits, '_', '-', and single dots between them")
    return raw


@shaped("NAME,...")
def _models(raw: str) -> tuple[str, ...]:
    """Names of models.

    :raises ValueError: saying what fits.
    """
    names = tuple(name.strip() for name in raw.split(","))
    if not all(name and name.isprintable() and len(name) <= 1024 for name in names):
        raise ValueError("names of models, with commas between them")
    return names


TABLE = (
    Option(
        "reverseproxy-host",
        host_or_key,
        "127.0.0.1",
        "The address that clients connect to.",
        heading="Where clients come",
    ),
    Option("reverseproxy-port", listening_port, 8086, "Its TCP port; 0: any that is free."),
    Option("reverseproxy-endpoint", endpoint, None, "A Twisted endpoint instead of the two."),
    Option(
        "fast-lane",
        boolean,
        True,
        "Serve plain requests beside twisted.web, on an asyncio reactor with httptools.",
    ),
    Option("rewrite-host-header", boolean, False, "Send llama-server its own host:port as Host."),
    Option("slots-endpoint-enable", boolean, False, "Let /slots through."),
    Option("admin-endpoints-enable", boolean, False, "Let llama-server's administration through."),
    Option(
        "management-host",
        host_or_key,
        "127.0.0.1",
        "The address that agents and operators connect to; keep it from the public.",
        heading="Where agents report, and operators look",
    ),
    Option("management-port", listening_port, 8085, "Its TCP port; 0: any that is free."),
    Option("management-endpoint", endpoint, None, "A Twisted endpoint instead of the two."),
    Option(
        "management-token-file",
        path_of_secret,
        None,
        "Holds the bearer token to show there, /health excepted; or give the token itself in "
        "PADDLER_MANAGEMENT_TOKEN.",
    ),
    Option(
        "management-cors-allowed-host",
        _origin,
        (),
        "May use the API from web pages.",
        repeatable=True,
    ),
    Option("management-dashboard-enable", boolean, False, "Serve /dashboard there."),
    Option(
        "request-buffer-size",
        whole(0, 10**7),
        1000,
        "Most requests that wait; 0: none does.",
        heading="Waiting for a slot",
    ),
    Option("request-buffer-bytes", size, 256 * 2**20, "Most bytes of their bodies."),
    Option(
        "request-buffer-timeout",
        positive(duration),
        60.0,
        "How long one may wait; it never cuts an answer.",
    ),
    Option(
        "balancing",
        choice("prefix", "idle-slots"),
        "prefix",
        "How a server is picked: where the prompt costs everybody least, by what each has in its "
        "cache; or the one with most idle slots, whatever is asked.",
    ),
    Option(
        "fairness-bound",
        positive(duration),
        30.0,
        "With prefix: how long a request may be passed over; at most half of "
        "--request-buffer-timeout.",
    ),
    Option("prefix-memory", size, 64 * 2**20, "With prefix: most bytes for what is known of them."),
    Option(
        "model-routing",
        choice("auto", "strict", "off"),
        "auto",
        "Send a request to servers that have its model. A model that nobody has ever served is "
        "404; with auto not while there is one model: then any name goes anywhere.",
    ),
    Option(
        "models",
        _models,
        (),
        "Models to wait for although no server has had them yet.",
        repeatable=True,
    ),
    Option(
        "max-request-body",
        size,
        100 * 2**20,
        "Most bytes of one request's body.",
        heading="What one client may take",
    ),
    Option(
        "client-timeout",
        positive(duration),
        60.0,
        "How long it may take for its headers, pause in its body, or take nothing of its answer.",
    ),
    Option("max-connections", whole(1, 10**7), 10000, "Most connections of all clients."),
    Option(
        "upstream-connect-timeout",
        positive(duration),
        5.0,
        "How long a llama-server may take to accept a connection.",
        heading="When a server fails",
    ),
    Option("max-tries", whole(1, 1000), 2, "Servers that one request may die with."),
    Option(
        "stall-timeout",
        positive(duration),
        60.0,
        "How long an answer may pause while its agent finds the server slow.",
    ),
    Option("quarantine", positive(duration), 10.0, "How long one that keeps failing is left out."),
    Option("agent-expiry", whole(1, 1000), 3, "Reports missed until an agent gets nothing new."),
    Option(
        "shutdown-grace",
        duration,
        30.0,
        "How long a stop waits for what runs and waits.",
        heading="Stopping",
    ),
    Option(
        "access-log",
        boolean,
        False,
        "Log one line for each request.",
        heading="Seeing what happens",
    ),
    Option("log-format", choice("text", "json"), "text", "json: each line is an object."),
    Option("metrics-endpoint-enable", boolean, True, "Serve /metrics, beside the API."),
    Option("statsd-enable", boolean, False, "Send gauges to StatsD, over UDP."),
    Option("statsd-host", host_or_key, "127.0.0.1", "Where StatsD listens."),
    Option("statsd-port", port, 8125, "Its UDP port."),
    Option("statsd-scheme", choice("http", "https"), "http", "Accepted; means nothing."),
    Option("statsd-prefix", _prefix, "paddler", "What the gauges' names begin with."),
    Option("statsd-reporting-interval", positive(duration), 1.0, "From one report to the next."),
    AWS_IMDSV1,
)

SECTIONS = (
    *SERVICE_SECTIONS,
    Section(
        "Examples",
        (
            ("", "paddler balancer --management-host 10.0.0.1 --reverseproxy-host 10.0.0.1"),
            ("", "twistd --logfile /var/log/paddler.log paddler-balancer --access-log"),
        ),
    ),
)
