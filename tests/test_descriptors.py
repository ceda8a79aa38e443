"""The limit of open descriptors goes up as far as it can, and never down."""

from __future__ import annotations

import resource

from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.limits import Limits
from paddler.descriptors import most_of, raise_descriptor_limit

__all__ = ["ConnectionsTests", "DescriptorTests"]

NONE = resource.RLIM_INFINITY


class FakeSystem:
    """A process' limits, on a system that refuses some of them."""

    def __init__(self, soft: int, hard: int, *refused: int) -> None:
        self.limits = (soft, hard)
        self.refused = refused

    def get(self, number: int) -> tuple[int, int]:
        """The limits as they are."""
        assert number == resource.RLIMIT_NOFILE
        return self.limits

    def put(self, number: int, limits: tuple[int, int]) -> None:
        """Set them, as the system lets one."""
        assert number == resource.RLIMIT_NOFILE
        if limits[0] in self.refused:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


class DescriptorTests(SynchronousTestCase):
    """`raise_descriptor_limit`."""

    def raised(self, system: FakeSystem) -> int | None:
        """What it says on that system, which must be what holds there."""
        limit = raise_descriptor_limit(system.get, system.put)
        self.assertEqual(system.limits[0], NONE if limit is None else limit)
        return limit

    def test_raised(self) -> None:
        """The soft limit becomes the hard one, which stays."""
        system = FakeSystem(1024, 524288)
        self.assertEqual(self.raised(system), 524288)
        self.assertEqual(system.limits, (524288, 524288))

    def test_as_high_as_it_gets(self) -> None:
        """One that is as high as it gets stays as it is."""
        self.assertEqual(self.raised(FakeSystem(4096, 4096)), 4096)
        self.assertEqual(self.raised(FakeSystem(NONE, NONE)), None)

    def test_no_hard_limit(self) -> None:
        """Without a hard limit there is none, or a high one where the system wants a number."""
        self.assertEqual(self.raised(FakeSystem(256, NONE)), None)
        self.assertEqual(self.raised(FakeSystem(256, NONE, NONE)), 10240)
        self.assertEqual(self.raised(FakeSystem(50000, NONE, NONE)), 50000)

    def test_refused(self) -> None:
        """Where nothing may be raised, the limit is what it was."""
        self.assertEqual(self.raised(FakeSystem(1024, 4096, 4096)), 1024)

    def test_most(self) -> None:
        """Where more would be of no use there are no more, not even if there were before."""
        for soft, hard in ((256, 4096), (2048, 4096), (256, NONE), (NONE, NONE)):
            system = FakeSystem(soft, hard)
            self.assertEqual(raise_descriptor_limit(system.get, system.put, 1024), 1024)
            self.assertEqual(system.limits, (1024, hard))
        system = FakeSystem(256, 512)
        self.assertEqual(raise_descriptor_limit(system.get, system.put, 1024), 512)

    def test_most_of_reactors(self) -> None:
        """Of those that come with Twisted only select's has such a limit."""
        self.assertEqual(most_of(SelectReactor()), 1024)
        self.assertEqual(most_of(PollReactor()), None)

    def test_this_process(self) -> None:
        """The real system agrees."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        limit = raise_descriptor_limit()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], limit or NONE)
        self.assertGreaterEqual(limit or hard, soft)


class ConnectionsTests(SynchronousTestCase):
    """`Limits.within`."""

    def within(self, descriptors: int | None) -> int:
        """How many of a thousand connections there may be."""
        limits = Limits(body=5, quiet=6.0, connections=1000).within(descriptors)
        self.assertEqual((limits.body, limits.quiet), (5, 6.0))
        return limits.connections

    def test_enough(self) -> None:
        """Where there are descriptors enough, what was asked for stays."""
        self.assertEqual([self.within(n) for n in (None, 10**6, 1334)], [1000, 1000, 1000])

    def test_too_few(self) -> None:
        """Where there are not, a quarter of them is kept for everything else."""
        self.assertEqual([self.within(n) for n in (1024, 256, 1)], [768, 192, 1])
