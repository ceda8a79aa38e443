"""The balancer's options become its settings."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.doubts import Patience
from paddler.balancer.exchanges import Ways
from paddler.balancer.limits import Limits
from paddler.balancer.requests import Doors
from paddler.balancer.settings import BalancerOptions, BalancerSettings
from paddler.balancer.statsd import StatsdSettings
from paddler.scheduling.policies import IdleSlots, Prefix

DEFAULTS = BalancerSettings(
    management="tcp:8085:interface=127.0.0.1:backlog=1024",
    reverseproxy="tcp:8086:interface=127.0.0.1:backlog=1024",
    token=None,
    allowed_origins=(),
    dashboard=False,
    ways=Ways(
        doors=Doors(slots=False, admin=False),
        rewrite_host=False,
        max_tries=2,
        patience=Patience(unreachable=2.0, timeout=60.0),
        prompts=True,
    ),
    policy=Prefix(fairness_bound=30.0, memory=64 * 2**20),
    buffer_size=1000,
    buffer_bytes=256 * 2**20,
    buffer_timeout=60.0,
    limits=Limits(body=100 * 2**20, quiet=60.0, connections=10000),
    connect_timeout=5.0,
    quarantine=10.0,
    agent_expiry=3,
    routing="auto",
    models=(),
    shutdown_grace=30.0,
    metrics=True,
    statsd=None,
    access_log=False,
    log_json=False,
    fast_lane=True,
    remarks=(),
)


def parsed(*words: str) -> BalancerOptions:
    """Options of a command line, in an empty environment."""
    options = BalancerOptions()
    options.environment = {}
    options.parseOptions(words)
    return options


class SettingsTests(SynchronousTestCase):
    """Each option, and what it settles."""

    def test_defaults(self) -> None:
        """Nothing given."""
        self.assertEqual(parsed().settings(), DEFAULTS)

    def test_prefix(self) -> None:
        """The policy that knows prompts, which nobody need ask for, has its own options."""
        self.assertEqual(parsed("--balancing=prefix").settings(), DEFAULTS)
        words = ("--fairness-bound=7s", "--prefix-memory=1KiB")
        self.assertEqual(parsed(*words).settings().policy, Prefix(7.0, 1024))

    def test_each(self) -> None:
        """One option at a time."""
        for word, changes in (
            (
                "--management-host=0.0.0.0",
                {"management": "tcp:8085:interface=0.0.0.0:backlog=1024"},
            ),
            ("--management-host=::1", {"management": "tcp:8085:interface=\\:\\:1:backlog=1024"}),
            ("--management-port=1", {"management": "tcp:1:interface=127.0.0.1:backlog=1024"}),
            ("--management-endpoint=unix:/p", {"management": "unix:/p"}),
            ("--reverseproxy-port=1", {"reverseproxy": "tcp:1:interface=127.0.0.1:backlog=1024"}),
            ("--reverseproxy-endpoint=unix:/p", {"reverseproxy": "unix:/p"}),
            ("--management-dashboard-enable", {"dashboard": True}),
            (
                "--management-cors-allowed-host=https://A.example",
                {"allowed_origins": ("https://a.example",)},
            ),
            ("--request-buffer-size=0", {"buffer_size": 0}),
            ("--request-buffer-timeout=2m", {"buffer_timeout": 120.0}),
            ("--request-buffer-bytes=1GiB", {"buffer_bytes": 2**30}),
            ("--max-request-body=64KiB", {"limits": attrs.evolve(DEFAULTS.limits, body=2**16)}),
            ("--client-timeout=1s", {"limits": attrs.evolve(DEFAULTS.limits, quiet=1.0)}),
            ("--max-connections=5", {"limits": attrs.evolve(DEFAULTS.limits, connections=5)}),
            ("--rewrite-host-header", {"ways": attrs.evolve(DEFAULTS.ways, rewrite_host=True)}),
            (
                "--slots-endpoint-enable=true",
                {"ways": attrs.evolve(DEFAULTS.ways, doors=Doors(slots=True))},
            ),
            (
                "--admin-endpoints-enable=true",
                {"ways": attrs.evolve(DEFAULTS.ways, doors=Doors(admin=True))},
            ),
            ("--upstream-connect-timeout=1s", {"connect_timeout": 1.0}),
            ("--max-tries=5", {"ways": attrs.evolve(DEFAULTS.ways, max_tries=5)}),
            (
                "--stall-timeout=9s",
                {"ways": attrs.evolve(DEFAULTS.ways, patience=Patience(timeout=9.0))},
            ),
            ("--quarantine=500ms", {"quarantine": 0.5}),
            ("--agent-expiry=5", {"agent_expiry": 5}),
            ("--shutdown-grace=0", {"shutdown_grace": 0.0}),
            ("--metrics-endpoint-enable=false", {"metrics": False}),
            ("--statsd-enable=true", {"statsd": StatsdSettings("127.0.0.1", 8125, "paddler", 1.0)}),
            ("--access-log", {"access_log": True}),
            ("--log-format=json", {"log_json": True}),
            (
                "--balancing=idle-slots",
                {"policy": IdleSlots(), "ways": attrs.evolve(DEFAULTS.ways, prompts=False)},
            ),
            ("--model-routing=strict", {"routing": "strict"}),
            ("--models=org/m:Q4, chat,chat", {"models": ("org/m:Q4", "chat")}),
        ):
            wanted = {field: getattr(DEFAULTS, field) for field in DEFAULTS.__slots__[:-1]}
            self.assertEqual(
                parsed(word).settings(), BalancerSettings(**{**wanted, **changes}), word
            )

    def test_command_line_of_the_old_readme(self) -> None:
        """A command line of Paddler's own README works as it is written."""
        words = (
            "--management-host 127.0.0.1 --management-port 8085 --reverseproxy-host 127.0.0.1 "
            "--reverseproxy-port 8080 --management-dashboard-enable=true --statsd-enable=true "
            "--statsd-host=127.0.0.1 --statsd-port=8125 --statsd-scheme=http"
        )
        settings = parsed(*words.split()).settings()
        self.assertTrue(settings.dashboard)
        self.assertEqual(settings.statsd, StatsdSettings("127.0.0.1", 8125, "paddler", 1.0))
        self.assertIn("8080", settings.reverseproxy)

    def test_token(self) -> None:
        """The token comes from its file and is not shown."""
        path = Path(self.mktemp())
        path.write_text("s3cret\n")
        settings = parsed(f"--management-token-file={path}").settings()
        self.assertEqual(settings.token, "s3cret")
        self.assertNotIn("s3cret", repr(settings))

    def test_token_in_the_environment(self) -> None:
        """The token may come from the environment instead, but not from both."""
        options = BalancerOptions()
        options.environment = {"PADDLER_MANAGEMENT_TOKEN": "s3cret"}
        options.parseOptions([])
        self.assertEqual(options.settings().token, "s3cret")
        path = Path(self.mktemp())
        path.write_text("other\n")
        for value, words in (("two words", ()), ("s3cret", (f"--management-token-file={path}",))):
            options = BalancerOptions()
            options.environment = {"PADDLER_MANAGEMENT_TOKEN": value}
            error = self.assertRaises(SystemExit, options.parseOptions, words)
            self.assertIn("PADDLER_MANAGEMENT_TOKEN", str(error.code))
            self.assertNotIn(value, str(error.code))

    def test_bound_within_the_timeout(self) -> None:
        """Nobody waits by choice until it is sent away."""
        for words, bound in (
            (("--request-buffer-timeout=10s",), 5.0),
            (("--request-buffer-timeout=10s", "--fairness-bound=3s"), 3.0),
            (("--fairness-bound=5m",), 30.0),
        ):
            policy = parsed(*words).settings().policy
            assert isinstance(policy, Prefix)
            self.assertEqual(policy.fairness_bound, bound)

    def test_refused(self) -> None:
        """What contradicts itself or does not fit."""
        for words, named in (
            (("--management-endpoint=unix:/p", "--management-port=1"), "--management-endpoint"),
            (("--reverseproxy-endpoint=unix:/p", "--reverseproxy-host=h"), "--reverseproxy-host"),
            (("--balancing=best",), "prefix or idle-slots"),
            (("--max-tries=0",), "--max-tries"),
            (("--max-request-body=300MiB",), "--request-buffer-bytes"),
            (("--request-buffer-bytes=1MiB",), "--max-request-body"),
            (("--statsd-prefix=a b",), "--statsd-prefix"),
            (("--statsd-prefix=a..b",), "--statsd-prefix"),
            (
                ("--fairness-bound=5s", "--balancing=idle-slots"),
                "--fairness-bound: means nothing with --balancing=idle-slots",
            ),
            (("--prefix-memory=1MiB", "--balancing=idle-slots"), "--prefix-memory: means nothing"),
            (("--balancing=prefix", "--fairness-bound=0"), "--fairness-bound"),
            (("--model-routing=loose",), "auto or strict or off"),
            (("--models=a,,b",), "names of models"),
            (("--models=a", "--model-routing=off"), "contradict"),
            (("--request-buffer-timeout=0",), "more than 0"),
            (("--management-cors-allowed-host=ftp://x",), "origin"),
            (("--management-cors-allowed-host=https://x/y",), "origin"),
        ):
            error = self.assertRaises(SystemExit, parsed, *words)
            self.assertIn(named, str(error.code))
