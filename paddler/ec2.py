"""A client of EC2's instance metadata service: hosts by their keys.

Nothing here knows what the hosts are for.

The facts are from the EC2 User Guide, "How Instance Metadata Service Version 2 works" and
"Configure the instance metadata options": a token is had by a PUT that says how many seconds
it shall live, 21600 at most, and shown with every GET. A bad PUT is answered 400, a GET without
a token that is valid 401, a key that is not there 404, and everything 403 while the service is
off, or when a PUT has been passed on by a proxy (X-Forwarded-For). The answer to the PUT goes
no more hops than the instance's options say, which is 1 unless somebody has raised it: into a
container with a network of its own it never comes. The service shares 1024 packets a second
of its network interface with DNS and time, and drops what is more.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from paddler.calls import Answer, Call, NoAnswer
from paddler.coercions import host
from paddler.metadata import MetadataKey, MetadataService
from paddler.web import HttpCaller

__all__ = ["InstanceMetadata", "NoMetadata", "read_hosts"]

#: Seconds for one answer.
ANSWER_WITHIN = 2.0
#: Seconds before the second try and before the third.
BACKOFF = (0.25, 0.5)
#: Seconds that all tries may take: a process that can't start is gone within ten.
ALL_WITHIN = 8.0
#: Seconds that a token is asked to live, which is the most that there is.
TOKEN_TTL = 21600
#: Seconds before its end in which a token is no longer shown.
TOKEN_MARGIN = 60.0

_TOKEN = "X-aws-ec2-metadata-token"
_ON_EC2_ONLY = "there is one on EC2 instances only"
_HOP_LIMIT = (
    "On EC2 that is a container which the answer can't reach with a hop limit of 1: "
    "'aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2' raises it"
)


@attrs.define(eq=False, str=False)
class NoMetadata(Exception):
    """A host was not learned. Not among `paddler.errors`: no client is ever told of it.

    :param problem: why, as one line.
    :param key: what was asked for.
    :param lasting: asking again would bring the same.
    """

    problem: str
    key: MetadataKey
    lasting: bool = False

    def __str__(self) -> str:
        return self.problem


@attrs.define(eq=False)
class InstanceMetadata:
    """Asks the service, and keeps its token.

    :param clock: tells how old the token is.
    :param call: asks the server.
    :param service: which one that is, and what may be asked of it.
    """

    _clock: IReactorTime
    _call: Call
    _service: MetadataService
    _token: str | None = attrs.field(default=None, init=False, repr=False)
    _token_since: float = attrs.field(default=0.0, init=False)
    #: Version 1 has answered where version 2 had not.
    _without_token: bool = attrs.field(default=False, init=False)

    @classmethod
    def to(cls, reactor: Any, service: MetadataService) -> InstanceMetadata:
        """One that connects to `service`."""
        return cls(reactor, HttpCaller.to(reactor, service.address).call, service)

    async def host(self, key: MetadataKey) -> str:
        """The host that a key has now.

        :raises NoMetadata: saying why there is none.
        """
        answer = await self._get(key)
        if answer.status == 404:
            raise NoMetadata(f"the instance has no {key.name} (404)", key, lasting=True)
        if answer.status == 401:
            raise NoMetadata(f"{self._who} takes no token (401), not even a new one", key)
        if answer.status != 200:
            raise self._refused(answer, key)
        lines = answer.body.decode("utf-8", "replace").split()
        if len(lines) != 1:
            what = "is empty" if not lines else "has several values"
            raise NoMetadata(f"{key.name} {what}; it needs a key of one host", key, lasting=True)
        try:
            return host(lines[0])
        except ValueError:
            # Not shown: it may be a secret, as those below iam/ are.
            problem = f"the value of {key.name} is no host"
            hint = "" if key.name == "local-ipv4" else "; local-ipv4 has one"
            raise NoMetadata(problem + hint, key, lasting=True) from None

    async def _get(self, key: MetadataKey) -> Answer:
        if self._without_token:
            answer = await self._ask("GET", key, {})
            if answer.status != 401:
                return answer
            self._without_token = False
        age = self._clock.seconds() - self._token_since
        token, known = self._token, True
        if token is None or not 0 <= age < TOKEN_TTL - TOKEN_MARGIN:
            known = False
            try:
                token = await self._new_token(key)
            except NoMetadata as error:
                if not self._service.version_1:
                    raise
                return await self._get_without_token(error)
        answer = await self._ask("GET", key, {_TOKEN: token})
        if answer.status == 401:
            self._token = None
            return await self._get(key) if known else answer
        return answer

    async def _get_without_token(self, without: NoMetadata) -> Answer:
        answer = await self._ask("GET", without.key, {})
        if answer.status == 401:
            raise without
        self._without_token = answer.status == 200
        return answer

    async def _new_token(self, key: MetadataKey) -> str:
        answer = await self._ask("PUT", key, {f"{_TOKEN}-ttl-seconds": str(TOKEN_TTL)})
        if answer.status in (404, 405):
            problem = f"{self._who} gives no token ({answer.status})"
            if not self._service.version_1:
                problem += "; --aws-imdsv1=true allows version 1, which has none"
            raise NoMetadata(problem, key, lasting=True)
        if answer.status != 200:
            raise self._refused(answer, key)
        token = answer.body.decode("utf-8", "replace").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise NoMetadata(f"what {self._who} gives is no token", key)
        self._token, self._token_since = token, self._clock.seconds()
        return token

    async def _ask(self, method: str, key: MetadataKey, headers: dict[str, str]) -> Answer:
        path = "api/token" if method == "PUT" else f"meta-data/{key.name}"
        outcome = await self._call(
            method,
            f"{self._service.path}/latest/{path}",
            seconds=ANSWER_WITHIN,
            headers={"Accept": "text/plain", **headers},
        )
        if isinstance(outcome, Answer):
            return outcome
        raise NoMetadata(f"{self._who}: {_why(outcome, method)}", key)

    def _refused(self, answer: Answer, key: MetadataKey) -> NoMetadata:
        if answer.status == 403:
            problem = f"{self._who} refuses (403): it is off for this instance, or behind a proxy"
            return NoMetadata(problem, key, lasting=True)
        lasting = answer.status < 500 and answer.status != 429
        return NoMetadata(f"{self._who} answers {answer.status}", key, lasting)

    @property
    def _who(self) -> str:
        return f"the metadata service at {self._service}"


def _why(silence: NoAnswer, method: str) -> str:
    if silence.kind == "garbled":
        return silence.problem
    if not silence.connected:
        return f"{silence.problem}; {_ON_EC2_ONLY}"
    if silence.kind == "timeout" and method == "PUT":
        return f"{silence.problem}. {_HOP_LIMIT}"
    return silence.problem


def read_hosts(
    clock: IReactorTime, metadata: InstanceMetadata, keys: Collection[MetadataKey]
) -> Deferred[dict[MetadataKey, str]]:
    """The hosts of some keys, in three tries.

    :raises NoMetadata: that of the last try, after `ALL_WITHIN` seconds at most.
    """
    troubles: list[NoMetadata] = []

    async def read() -> dict[MetadataKey, str]:
        found: dict[MetadataKey, str] = {}
        for pause in (*BACKOFF, None):
            try:
                for key in keys:
                    if key not in found:
                        found[key] = await metadata.host(key)
                break
            except NoMetadata as error:
                if error.lasting or pause is None:
                    raise
                troubles.append(error)
            await deferLater(clock, pause)
        return found

    def too_late(result: object, seconds: float) -> Failure:
        slow = f"the metadata service did not tell all within {seconds:g} s"
        return Failure(troubles[-1] if troubles else NoMetadata(slow, next(iter(keys))))

    reading = Deferred.fromCoroutine(read())
    return reading.addTimeout(ALL_WITHIN, clock, onTimeoutCancel=too_late)
