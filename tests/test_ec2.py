"""Tests for paddler.ec2: the client, against a script and against a service on real sockets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from paddler.calls import Answer, NoAnswer, Outcome
from paddler.ec2 import ALL_WITHIN, TOKEN_TTL, InstanceMetadata, NoMetadata, read_hosts
from paddler.metadata import MetadataKey, MetadataService
from paddler.values import Address
from tests.faults import full_port
from tests.metadata import Metadata

__all__ = ["InstanceMetadataTests", "ReadHostsTests", "RealServiceTests"]

reactor = cast(Any, _reactor)

KEY = MetadataKey("local-ipv4")
SERVICE = MetadataService(Address("127.0.0.1", 81), "/imds")
TOKEN = Answer(200, b"t0ken==")
HOST = Answer(200, b"10.0.0.1")
REFUSED = NoAnswer("refused", "it refuses connections", connected=False)
UNCONNECTED = NoAnswer("timeout", "no connection within 2 s", connected=False)
SILENT = NoAnswer("timeout", "no answer within 2 s")


class Script:
    """A `Call` whose outcomes are given in turn; the last one is for all that follow.

    :ivar asked: (method, path, headers) of each call.
    """

    def __init__(self, *outcomes: Outcome | Deferred[Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.limits: set[float] = set()

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[Outcome]:
        assert body is None
        self.asked.append((method, path, {k: v for k, v in (headers or {}).items() if k[0] == "X"}))
        self.limits.add(seconds)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        return outcome if isinstance(outcome, Deferred) else succeed(outcome)

    @property
    def methods(self) -> str:
        """The first letters of what was asked."""
        return "".join(method[0] for method, _, _ in self.asked)


class InstanceMetadataTests(SynchronousTestCase):
    """One host."""

    def setUp(self) -> None:
        self.clock = Clock()

    def metadata(self, call: Script, *, version_1: bool = False) -> InstanceMetadata:
        service = MetadataService(SERVICE.address, SERVICE.path, version_1)
        return InstanceMetadata(self.clock, call, service)

    def ask(self, metadata: InstanceMetadata, key: MetadataKey = KEY) -> Deferred[str]:
        return Deferred.fromCoroutine(metadata.host(key))

    def trouble(self, *outcomes: Outcome, version_1: bool = False) -> NoMetadata:
        """What comes of these outcomes."""
        asking = self.ask(self.metadata(Script(*outcomes), version_1=version_1))
        error: Any = self.failureResultOf(asking, NoMetadata).value
        self.assertNotIn("\n", str(error))
        self.assertNotIn("t0ken", str(error))
        self.assertIs(error.key, KEY)
        return cast(NoMetadata, error)

    def test_version_2(self) -> None:
        """A token first, then what is asked for, with it; two seconds for each."""
        call = Script(TOKEN, HOST)
        self.assertEqual(self.successResultOf(self.ask(self.metadata(call))), "10.0.0.1")
        self.assertEqual(
            call.asked,
            [
                (
                    "PUT",
                    "/imds/latest/api/token",
                    {"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
                ),
                (
                    "GET",
                    "/imds/latest/meta-data/local-ipv4",
                    {"X-aws-ec2-metadata-token": "t0ken=="},
                ),
            ],
        )
        self.assertEqual(call.limits, {2.0})

    def test_token_is_kept(self) -> None:
        """A token is shown until shortly before its end, and never after a clock was set back."""
        call = Script(TOKEN, HOST)
        metadata = self.metadata(call)
        for moment, methods in ((0, "PG"), (TOKEN_TTL - 61, "PGG"), (TOKEN_TTL - 59, "PGGPG")):
            self.clock.rightNow = float(moment)
            call.outcomes = [TOKEN, HOST] if methods[-2:] == "PG" else [HOST]
            self.assertEqual(self.successResultOf(self.ask(metadata)), "10.0.0.1")
            self.assertEqual(call.methods, methods)
        self.clock.rightNow = 0.0
        call.outcomes = [TOKEN, HOST]
        self.successResultOf(self.ask(metadata))
        self.assertEqual(call.methods, "PGGPGPG")
        self.assertNotIn("t0ken", repr(metadata))

    def test_token_is_taken_no_more(self) -> None:
        """At a 401 a new token is asked for, once."""
        call = Script(TOKEN, HOST, Answer(401), Answer(200, b"new"), HOST)
        metadata = self.metadata(call)
        self.successResultOf(self.ask(metadata))
        self.assertEqual(self.successResultOf(self.ask(metadata)), "10.0.0.1")
        self.assertEqual(call.methods, "PGGPG")
        self.assertEqual(list(call.asked[-1][2].values()), ["new"])
        self.assertIn("not even a new one", str(self.trouble(TOKEN, Answer(401))))

    def test_whatever_is_a_host(self) -> None:
        """Names, addresses, and both with blanks around them."""
        for body in (b"10.0.0.1\n", b" ip-10-0-0-1.ec2.internal ", b"fd00::1", b"host_1"):
            metadata = self.metadata(Script(TOKEN, Answer(200, body)))
            self.assertEqual(self.successResultOf(self.ask(metadata)), body.decode().strip())

    def test_no_host(self) -> None:
        """Nothing, lists and other values are refused, for good, and never shown."""
        for body, problem in (
            (b"", "local-ipv4 is empty"),
            (b"10.0.0.1\n10.0.0.2", "local-ipv4 has several values"),
            (b"02:29:96:8f:6a:2d/", "the value of local-ipv4 is no host"),
            (b'{"Secret":"s3cret/key"}', "the value of local-ipv4 is no host"),
            (b"\xff\xfe\x00", "the value of local-ipv4 is no host"),
            (b"aws:metadata:local-ipv4", "the value of local-ipv4 is no host"),
            (b"h" * 64, "the value of local-ipv4 is no host"),
        ):
            error = self.trouble(TOKEN, Answer(200, body))
            self.assertEqual(str(error).split(";")[0], problem)
            self.assertNotIn("local-ipv4 has one", str(error))
            self.assertNotIn("s3cret", str(error))
            self.assertTrue(error.lasting)

    def test_troubles(self) -> None:
        """What each answer means, and whether asking again may help."""
        for outcomes, says, lasting in (
            ([REFUSED], "refuses connections; there is one on EC2 instances only", False),
            ([UNCONNECTED], "no connection within 2 s; there is one on EC2 instances", False),
            ([SILENT], "--http-put-response-hop-limit 2", False),
            ([NoAnswer("garbled", "what it sent is not HTTP")], "is not HTTP", False),
            ([Answer(403)], "off for this instance", True),
            ([Answer(400)], "answers 400", True),
            ([Answer(302)], "answers 302", True),
            ([Answer(404)], "--aws-imdsv1=true", True),
            ([Answer(405)], "--aws-imdsv1=true", True),
            ([Answer(503)], "answers 503", False),
            ([Answer(429)], "answers 429", False),
            ([Answer(200, b"")], "no token", False),
            ([Answer(200, b"<html>\n</html>")], "no token", False),
            ([TOKEN, Answer(404)], "no local-ipv4 (404)", True),
            ([TOKEN, Answer(403)], "off for this instance", True),
            ([TOKEN, Answer(500)], "answers 500", False),
            ([TOKEN, SILENT], "no answer within 2 s", False),
        ):
            error = self.trouble(*outcomes)
            self.assertIn(says, str(error))
            self.assertEqual(error.lasting, lasting, outcomes)
            self.assertEqual("hop-limit" in str(error), outcomes == [SILENT])

    def test_version_1_is_not_used(self) -> None:
        """Without leave for it nothing is asked without a token."""
        for outcome in (REFUSED, SILENT, Answer(403), Answer(404), Answer(503)):
            call = Script(outcome)
            self.failureResultOf(self.ask(self.metadata(call)), NoMetadata)
            self.assertEqual(call.methods, "P")

    def test_version_1(self) -> None:
        """With leave, what gives no token is asked without one, and not for a token again."""
        for outcome in (SILENT, Answer(403), Answer(404), Answer(503)):
            call = Script(outcome, HOST)
            metadata = self.metadata(call, version_1=True)
            for methods in ("PG", "PGG"):
                self.assertEqual(self.successResultOf(self.ask(metadata)), "10.0.0.1")
                self.assertEqual(call.methods, methods)
            self.assertEqual(call.asked[1][2], {})

    def test_version_2_is_preferred(self) -> None:
        """Leave for version 1 changes nothing where there is version 2."""
        call = Script(TOKEN, HOST)
        self.successResultOf(self.ask(self.metadata(call, version_1=True)))
        self.assertEqual(call.methods, "PG")

    def test_version_1_is_turned_off(self) -> None:
        """When version 1 is answered no more, version 2 is tried again."""
        call = Script(SILENT, HOST, Answer(401), TOKEN, HOST)
        metadata = self.metadata(call, version_1=True)
        self.successResultOf(self.ask(metadata))
        self.assertEqual(self.successResultOf(self.ask(metadata)), "10.0.0.1")
        self.assertEqual(call.methods, "PGGPG")

    def test_neither_version(self) -> None:
        """Where version 1 needs a token too, the reason is why there is none."""
        error = self.trouble(SILENT, Answer(401), version_1=True)
        self.assertIn("--http-put-response-hop-limit 2", str(error))
        error = self.trouble(Answer(404), Answer(401), version_1=True)
        self.assertIn("gives no token (404)", str(error))
        self.assertNotIn("--aws-imdsv1", str(error))

    def test_default_address(self) -> None:
        """Nothing else said, it connects to where every instance finds its metadata."""
        memory: Any = MemoryReactorClock()
        service = MetadataService.from_environment({})
        asking = self.ask(InstanceMetadata.to(memory, service))
        host, port, factory, *_ = memory.tcpClients[0]
        self.assertEqual((host, port), ("169.254.169.254", 80))
        transport = StringTransport()
        factory.buildProtocol(None).makeConnection(transport)
        self.assertIn(b"Host: 169.254.169.254\r\n", transport.value())
        memory.advance(2)
        error = self.failureResultOf(asking, NoMetadata)
        self.assertIn("http://169.254.169.254: no answer within 2 s", str(error.value))
        self.assertEqual(memory.getDelayedCalls(), [])


class ReadHostsTests(SynchronousTestCase):
    """Some hosts, with patience."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def read(self, call: Script, *names: str) -> Deferred[dict[MetadataKey, str]]:
        keys = [MetadataKey(name) for name in names or ("local-ipv4",)]
        return read_hosts(self.clock, InstanceMetadata(self.clock, call, SERVICE), keys)

    def test_all(self) -> None:
        """All of them, with one token."""
        call = Script(TOKEN, HOST, Answer(200, b"h"))
        found = self.successResultOf(self.read(call, "local-ipv4", "local-hostname"))
        self.assertEqual(list(found.values()), ["10.0.0.1", "h"])
        self.assertEqual(call.methods, "PGG")

    def test_none(self) -> None:
        """Of none nothing is asked."""
        call = Script(TOKEN)
        metadata = InstanceMetadata(self.clock, call, SERVICE)
        self.assertEqual(self.successResultOf(read_hosts(self.clock, metadata, [])), {})
        self.assertEqual(call.asked, [])

    def test_three_tries(self) -> None:
        """Three, with growing pauses; the last one's trouble is told."""
        call = Script(REFUSED, Answer(503), Answer(500))
        reading = self.read(call)
        for pause, tries in ((0.24, 1), (0.02, 2), (0.48, 2)):
            self.clock.advance(pause)
            self.assertEqual(len(call.asked), tries)
        self.assertNoResult(reading)
        self.clock.advance(0.02)
        self.assertIn("answers 500", str(self.failureResultOf(reading, NoMetadata).value))
        self.assertEqual(len(call.asked), 3)

    def test_better_luck(self) -> None:
        """What was learned is not asked for again."""
        call = Script(TOKEN, HOST, Answer(503), Answer(200, b"h"))
        reading = self.read(call, "local-ipv4", "local-hostname")
        self.clock.advance(0.25)
        self.assertEqual(list(self.successResultOf(reading).values()), ["10.0.0.1", "h"])
        self.assertEqual(
            [path.rpartition("/")[2] for _, path, _ in call.asked[2:]], 2 * ["local-hostname"]
        )

    def test_lasting(self) -> None:
        """What will be no better is told at once."""
        call = Script(TOKEN, Answer(404))
        self.failureResultOf(self.read(call), NoMetadata)
        self.assertEqual(call.methods, "PG")

    def test_in_all(self) -> None:
        """However slow it is, all of it ends in time, with the last trouble that was met."""
        for first, says in ((REFUSED, "refuses connections"), (TOKEN, "did not tell all within")):
            given_up: list[bool] = []
            hanging: Deferred[Outcome] = Deferred(lambda _, told=given_up: told.append(True))
            reading = self.read(Script(first, hanging))
            self.clock.advance(1)
            self.clock.advance(ALL_WITHIN - 1.1)
            self.assertNoResult(reading)
            self.clock.advance(0.2)
            self.assertIn(says, str(self.failureResultOf(reading, NoMetadata).value))
            self.assertEqual(given_up, [True])


class _Babble(Protocol):
    """Speaks first, and not HTTP."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"220 mail\r\n")
        self.transport.loseConnection()


class RealServiceTests(TestCase):
    """Over treq, on the loopback."""

    timeout = 30

    def setUp(self) -> None:
        self.service = Metadata()
        self.service.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.service.stop()))

    def client(self, *, version_1: bool = False) -> InstanceMetadata:
        """A client of it."""
        service = MetadataService.from_environment(self.service.environment, version_1=version_1)
        return InstanceMetadata.to(reactor, service)

    async def trouble(self, name: str = "local-ipv4", *, version_1: bool = False) -> str:
        """Why there is no such host."""
        try:
            host = await self.client(version_1=version_1).host(MetadataKey(name))
        except NoMetadata as error:
            return str(error)
        self.fail(f"there is one: {host}")

    async def test_hosts(self) -> None:
        """One token serves for all; nothing but what is needed is sent."""
        client = self.client()
        for name, host in (
            ("local-ipv4", "127.0.0.1"),
            ("local-hostname", "localhost"),
            ("network/interfaces/macs/02:29:96:8f:6a:2d/local-ipv4s", "127.0.0.3"),
        ):
            self.assertEqual(await client.host(MetadataKey(name)), host)
        self.assertEqual((self.service.times("PUT"), self.service.times("GET")), (1, 3))
        for headers in self.service.headers:
            for unwanted in ("cookie", "x-forwarded-for", "via", "forwarded", "authorization"):
                self.assertFalse(headers.hasHeader(unwanted), unwanted)

    async def test_tokens_end(self) -> None:
        """When the service forgets its tokens a new one is asked for."""
        client = self.client()
        await client.host(KEY)
        self.service.tokens.clear()
        self.assertEqual(await client.host(KEY), "127.0.0.1")
        self.assertEqual(self.service.times("PUT"), 2)

    async def test_no_hosts(self) -> None:
        """Keys that have none."""
        for name, says in (
            ("no-such-key", "has no no-such-key (404)"),
            ("network/interfaces/macs", "no host"),
            ("security-groups", "several values"),
            ("public-hostname", "is empty"),
            ("iam/security-credentials/role", "has several values"),
        ):
            line = await self.trouble(name)
            self.assertIn(says, line)
            self.assertNotIn("s3cret", line)

    async def test_proxies(self) -> None:
        """Proxies that the environment names are for others."""
        self.patch_environment("http_proxy", "http://127.0.0.1:9")
        self.patch_environment("HTTP_PROXY", "http://127.0.0.1:9")
        self.assertEqual(await self.client().host(KEY), "127.0.0.1")

    def patch_environment(self, name: str, value: str) -> None:
        """Set a variable until the test's end."""
        before = os.environ.get(name)
        os.environ[name] = value
        if before is None:
            self.addCleanup(os.environ.pop, name)
        else:
            self.addCleanup(os.environ.__setitem__, name, before)

    async def test_off(self) -> None:
        """A service that is off."""
        self.service.off = True
        self.assertIn("(403): it is off for this instance", await self.trouble())

    async def test_redirect(self) -> None:
        """Nobody is followed anywhere, token or not."""
        other = Metadata()
        other.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(other.stop()))
        self.service.redirect = f"http://127.0.0.1:{other.port}/latest/api/token".encode()
        self.assertIn("answers 302", await self.trouble())
        self.assertEqual(other.asked, [])

    async def test_hop_limit(self) -> None:
        """Into a container the token does not come; with version 1 the host does."""
        self.service.distance = 2
        line = await self.trouble()
        self.assertIn("no answer within 2 s", line)
        self.assertIn("--http-put-response-hop-limit 2", line)
        self.service.token_required = False
        client = self.client(version_1=True)
        self.assertEqual(await client.host(KEY), "127.0.0.1")
        self.assertEqual(self.service.times("PUT"), 2)

    async def test_version_1(self) -> None:
        """A service without tokens, with leave and without."""
        self.service.has_version_2, self.service.token_required = False, False
        self.assertIn("--aws-imdsv1=true", await self.trouble())
        self.assertEqual(await self.client(version_1=True).host(KEY), "127.0.0.1")

    async def test_slow(self) -> None:
        """A slow service is waited for; one that is overloaded is asked again."""
        self.service.delay, self.service.failures = 0.2, 1
        found = await read_hosts(reactor, self.client(), [KEY])
        self.assertEqual(found, {KEY: "127.0.0.1"})
        self.assertEqual(self.service.times("PUT"), 2)

    async def test_absent(self) -> None:
        """Nobody listens there, or nobody takes the connection."""
        await self.service.stop()
        self.assertIn("refuses connections; there is one on EC2", await self.trouble())
        self.service.port = (await full_port(self)).getsockname()[1]
        self.assertIn("no connection within 2 s; there is one on EC2", await self.trouble())

    async def test_not_http(self) -> None:
        """Something else listens there."""
        await self.service.stop()
        listening = reactor.listenTCP(0, Factory.forProtocol(_Babble), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.service.port = listening.getHost().port
        self.assertIn(f"http://127.0.0.1:{self.service.port}: ", await self.trouble())
