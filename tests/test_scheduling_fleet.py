"""Agents that come, go, move and fall silent: `paddler.scheduling.fleet`."""

from __future__ import annotations

from itertools import cycle
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.errors import NoSuchAgent
from paddler.scheduling.lines import ANYTHING, Waiter
from paddler.scheduling.outcomes import NOTHING
from paddler.scheduling.slots import LEFT_WITHOUT_SAMPLE
from paddler.values import Model
from tests.scenes import Scene, report

__all__ = [
    "AddressTests",
    "HealthyTests",
    "NameTests",
    "NoteTests",
    "RepeatedTests",
    "SilenceTests",
]


class SilenceTests(SynchronousTestCase):
    """Agents that report no more."""

    def test_stale_and_forgotten(self) -> None:
        """Three missed reports make it stale, a minute more and it is forgotten."""
        scene = Scene()
        scene.hear("a")
        scene.wait(3.4)
        self.assertEqual(scene.view().state, "ready")
        scene.wait(0.2)
        view = scene.view()
        self.assertEqual((view.state, view.slots_idle, view.issues[0].issue), ("stale", 0, "stale"))
        self.assertEqual(view.issues[0].seen_by, "balancer")
        self.assertIsNone(scene.has(scene.ask()))
        scene.wait(59.8)
        self.assertEqual(len(scene.scheduler.agents()), 1)
        scene.wait(0.2)
        self.assertEqual(scene.scheduler.agents(), ())
        self.assertIsNone(scene.scheduler.next_event)

    def test_slow_agent(self) -> None:
        """An agent that reports seldom is given its own time and does not flap."""
        scene = Scene()
        for _ in range(5):
            scene.hear("a", interval_s=30.0)
            scene.wait(30.0)
        self.assertEqual([note.what for note in scene.notes], ["joined"])

    def test_back_in_time(self) -> None:
        """A stale agent that reports again is as before, and who waited is served."""
        scene = Scene()
        scene.hear("a")
        scene.wait(30)
        waiter = scene.ask()
        scene.hear("a")
        self.assertEqual(scene.has(waiter), "a")
        self.assertEqual([note.what for note in scene.notes], ["joined", "stale", "state"])
        self.assertEqual(scene.scheduler.next_event, scene.now + 3.5)

    def test_asked_late(self) -> None:
        """Whoever asks late gets all that was due, one step at a time."""
        scene = Scene()
        scene.hear("a")
        scene.hear("b")
        scene.now += 1000
        scene.took(scene.scheduler.pass_time(scene.now))
        self.assertEqual([view.state for view in scene.scheduler.agents()], ["stale", "stale"])
        scene.wait(60)
        self.assertEqual(scene.scheduler.agents(), ())

    def test_clock_set_back(self) -> None:
        """Where the clock is set back an agent's silence is noticed as soon as ever."""
        scene = Scene()
        for _ in range(3):
            scene.hear("a")
            scene.wait(1)
        scene.now -= 500
        scene.hear("a")
        self.assertEqual(scene.scheduler.next_event, scene.now + 3.5)
        scene.wait(3.6)
        self.assertEqual(scene.view().state, "stale")

    def test_goodbye(self) -> None:
        """An agent that takes its leave is forgotten at once."""
        scene = Scene()
        scene.hear("a")
        scene.leave("a")
        self.assertEqual((scene.scheduler.agents(), scene.scheduler.next_event), ((), None))
        self.assertRaises(NoSuchAgent, scene.leave, "a")
        self.assertRaises(NoSuchAgent, scene.drain, "a")
        self.assertIsNone(scene.has(scene.ask()))

    def test_goodbye_and_back(self) -> None:
        """An agent that was restarted is new, and its silence is minded as before."""
        scene = Scene()
        for _ in range(3):
            scene.hear("a")
            scene.leave("a")
        scene.hear("a")
        self.assertEqual(scene.view().agent_name, "a")
        scene.wait(3.6)
        self.assertEqual(scene.view().state, "stale")

    def test_forgotten_with_leases(self) -> None:
        """A forgotten upstream is kept, ungrantable, until its leases end."""
        scene = Scene()
        scene.hear("a")
        request = scene.ask()
        scene.leave("a")
        waiter = scene.ask()
        self.assertEqual(scene.scheduler.agents(), ())
        scene.hear("a", busy=1)
        self.assertEqual(scene.counts(), (2, 0, 0, 0))
        self.assertEqual(scene.has(waiter), "a")
        scene.leave("a")
        scene.end(request)
        scene.end(waiter)
        self.assertEqual(scene.scheduler._fleet._by_address, {})
        servers = scene.scheduler._fleet.kinds.servers(ANYTHING)
        self.assertEqual((list(servers.awake.levels()), list(servers.upstreams)), ([], []))

    def test_forgotten_without_leases(self) -> None:
        """Without leases it is gone, and comes back with nothing of what it was."""
        scene = Scene()
        scene.hear("a", busy=1)
        scene.end(scene.ask())
        scene.leave("a")
        scene.hear("a")
        self.assertEqual(scene.counts(), (0, 0, 0, 2))

    def test_left_slots_in_silence(self) -> None:
        """Slots whose clients left are free after half a minute without a sample."""
        scene = Scene()
        scene.hear("a", slots=1, busy=None)
        scene.abandon(scene.ask())
        waiter = scene.ask()
        for _ in range(int(LEFT_WITHOUT_SAMPLE) - 1):
            scene.wait(1)
            scene.hear("a", slots=1, busy=None)
        self.assertIsNone(scene.has(waiter))
        scene.wait(1)
        self.assertEqual(scene.has(waiter), "a")

    def test_left_slots_of_a_slow_agent(self) -> None:
        """The scheduler asks to be called for them although no report is due by then."""
        scene = Scene()
        scene.hear("a", slots=1, busy=None, interval_s=600.0)
        scene.abandon(scene.ask())
        waiter = scene.ask()
        self.assertEqual(scene.scheduler.next_event, scene.now + LEFT_WITHOUT_SAMPLE)
        scene.wait(LEFT_WITHOUT_SAMPLE)
        self.assertEqual(scene.has(waiter), "a")

    def test_agenda_is_bounded(self) -> None:
        """Many reports leave no trail of times to come."""
        scene = Scene()
        for _ in range(1000):
            scene.hear("a")
            scene.wait(1)
        self.assertLess(len(scene.scheduler._fleet._agenda), 10)

    def test_seldom_looked_at(self) -> None:
        """Agents that report in turn are not looked at in turn: time is asked for them all."""
        scene = Scene()
        looks: list[float] = []
        for _ in range(20):
            for agent in "abcdefghij":
                scene.hear(agent)
                scene.now += 0.1
                while (due := scene.scheduler.next_event) is not None and due <= scene.now:
                    scene.took(scene.scheduler.pass_time(scene.now))
                    looks.append(scene.now)
        self.assertLess(len(looks), 10)
        scene.wait(3.55)
        self.assertEqual(
            [note.agent for note in scene.notes if note.what == "stale"], [*"abcdefghij"]
        )


class RepeatedTests(SynchronousTestCase):
    """Reports that say what the last one said, as nearly all do."""

    def play(self, seed: int, exactly: bool) -> tuple[object, ...]:
        """A random story of three agents; what is seen on its way, and what followed.

        :param exactly: reports repeat each other; else what they tell of their model is always
            other, and means nothing.
        """
        random, scene, seen = Random(seed), Scene(), []
        running: list[Waiter] = []
        told = cycle([(Model("m", meta={"n": 0 if exactly else n}),) for n in range(2)])
        for _ in range(400):
            step, agent = random.randrange(9), random.choice("abc")
            if step < 5:
                more: dict[str, Any] = {"sleeping": True} if not random.randrange(12) else {}
                if not random.randrange(12):
                    more["issues"] = (random.choice(("loading", "timeout", "unauthorized")),)
                busy, age = random.choice((None, 0, 0, 1, 2)), random.choice((0.0, 0.4, 20.0))
                scene.hear(agent, 2, busy, slots_age_s=age, model_details=next(told), **more)
            elif step == 5:
                running.append(scene.ask(random.choice((1, 2))))
            elif running:
                waiter = running.pop(random.randrange(len(running)))
                if scene.has(waiter) is None:
                    scene.cancel(waiter)
                else:
                    (scene.end, scene.abandon, scene.fail)[step - 6](waiter)
            if not random.randrange(3):
                scene.wait(random.choice((0.1, 1.0, 5.0)))
            seen.append(scene.scheduler.agents())
        return seen, [running.index(w) for w in scene.order if w in running], scene.notes

    def test_as_any_other(self) -> None:
        """What follows of them is what follows of any report."""
        for seed in range(6):
            self.assertEqual(self.play(seed, True), self.play(seed, False), seed)

    def test_waiters(self) -> None:
        """Slots that others have given back are granted."""
        scene = Scene()
        scene.hear("a", 2, busy=2)
        waiter = scene.ask()
        scene.wait(1)
        scene.hear("a", 2, busy=2)
        self.assertIsNone(scene.has(waiter))
        scene.wait(1)
        scene.hear("a", 2, busy=1)
        self.assertEqual(scene.has(waiter), "a")

    def test_nothing_follows(self) -> None:
        """Nobody has to look at the clock for one that changes nothing."""
        scene = Scene()
        scene.hear("a", 2, busy=2)
        told = report("a", 2, 2, slots_age_s=0.4)
        scene.wait(1)
        self.assertIs(scene.scheduler.report("a", told, scene.now), NOTHING)
        self.assertEqual(scene.view().last_update, scene.now)
        self.assertIsNot(scene.scheduler.report("a", report("a", 3), scene.now), NOTHING)


class AddressTests(SynchronousTestCase):
    """An upstream is its external address."""

    def test_taken_over(self) -> None:
        """Another agent's report for an address takes it over with leases and drain."""
        scene = Scene()
        scene.hear("a", host="x", slots=4)
        request = scene.ask(2)
        scene.drain("a")
        scene.hear("b", host="x", slots=4, busy=2)
        (view,) = scene.scheduler.agents()
        self.assertEqual(
            (view.agent_id, view.agent_name, view.in_flight, view.foreign_busy, view.draining),
            ("b", "b", 2, 0, True),
        )
        self.assertRaises(NoSuchAgent, scene.leave, "a")
        scene.end(request)
        scene.drain("b", False)
        self.assertEqual(scene.counts("b"), (0, 0, 0, 4))

    def test_two_agents_for_one_address(self) -> None:
        """Two that report for one address are one upstream, never two."""
        scene = Scene()
        for _ in range(5):
            scene.hear("a", host="x")
            scene.hear("b", host="x")
            self.assertEqual(scene.scheduler.fleet().slots_total, 2)
            scene.wait(1)

    def test_taken_over_after_it_was_forgotten(self) -> None:
        """A forgotten upstream with leases is the next agent's too."""
        scene = Scene()
        scene.hear("a", host="x")
        scene.ask(2)
        scene.leave("a")
        scene.hear("b", host="x")
        self.assertEqual(scene.counts("b"), (2, 0, 0, 0))

    def test_case(self) -> None:
        """A host's name is the same in capitals."""
        scene = Scene()
        scene.hear("a", host="Llama.example")
        scene.hear("b", host="llama.EXAMPLE")
        self.assertEqual([view.agent_id for view in scene.scheduler.agents()], ["b"])

    def test_agent_moves(self) -> None:
        """An agent that reports another address leaves the old one, leases included."""
        scene = Scene()
        scene.hear("a", host="x")
        request = scene.ask()
        scene.hear("a", host="y")
        self.assertEqual(scene.view().external_llamacpp_addr, "y:8080")
        self.assertEqual(scene.counts(), (0, 0, 0, 2))
        self.assertEqual(scene.view().agent_name, "a")
        scene.end(request)
        self.assertEqual(len(scene.scheduler._fleet._by_address), 1)

    def test_drained_agent_moves(self) -> None:
        """One that is drained stays so wherever it moves, until it is resumed."""
        scene = Scene()
        scene.hear("a", host="x")
        scene.scheduler.drain("a", True, scene.now)
        scene.hear("a", host="y")
        self.assertEqual(scene.view().state, "draining")
        scene.scheduler.drain("a", False, scene.now)
        scene.hear("a", host="x")
        self.assertEqual(scene.view().state, "ready")

    def test_agent_moves_to_anothers(self) -> None:
        """An agent that moves to a known address takes it over and leaves its own."""
        scene = Scene()
        scene.hear("a", host="x")
        scene.hear("b", host="y")
        scene.hear("a", host="y")
        views = [(v.agent_id, v.external_llamacpp_addr) for v in scene.scheduler.agents()]
        self.assertEqual(views, [("a", "y:8080")])

    def test_agent_moves_and_back(self) -> None:
        """Back at its old address it finds its leases there."""
        scene = Scene()
        scene.hear("a", host="x")
        scene.ask()
        scene.hear("a", host="y")
        scene.hear("a", host="x")
        self.assertEqual(scene.counts(), (1, 0, 0, 1))
        self.assertEqual(len(scene.scheduler._fleet._by_address), 1)


class NameTests(SynchronousTestCase):
    """Names are unique."""

    def names(self, scene: Scene) -> list[str]:
        """The names of all agents."""
        return [view.agent_name for view in scene.scheduler.agents()]

    def test_taken(self) -> None:
        """A name already taken gets a number, and keeps it."""
        scene = Scene()
        for agent_id in ("1", "2", "3"):
            scene.hear(agent_id, name="gpu", host=agent_id)
        self.assertEqual(self.names(scene), ["gpu", "gpu#2", "gpu#3"])
        scene.leave("1")
        scene.hear("2", name="gpu", host="2")
        self.assertEqual(self.names(scene), ["gpu#2", "gpu#3"])
        scene.hear("4", name="gpu", host="4")
        self.assertEqual(self.names(scene), ["gpu#2", "gpu#3", "gpu"])

    def test_looks_numbered(self) -> None:
        """An agent may be called as if it were numbered."""
        scene = Scene()
        for agent_id, name in (("1", "gpu#2"), ("2", "gpu"), ("3", "gpu"), ("4", "gpu#2")):
            scene.hear(agent_id, name=name, host=agent_id)
        self.assertEqual(self.names(scene), ["gpu#2", "gpu", "gpu#3", "gpu#2#2"])

    def test_renamed(self) -> None:
        """An agent that changes its name frees the old one."""
        scene = Scene()
        scene.hear("1", name="old", host="1")
        scene.hear("1", name="new", host="1")
        scene.hear("2", name="old", host="2")
        self.assertEqual(self.names(scene), ["new", "old"])

    def test_forgotten_and_back(self) -> None:
        """One that comes back while another has its name does not take it from it."""
        scene = Scene()
        scene.hear("1", name="gpu", host="1")
        scene.ask()
        scene.leave("1")
        scene.hear("2", name="gpu", host="2")
        scene.hear("1", name="gpu", host="1")
        scene.hear("3", name="gpu", host="3")
        self.assertEqual(self.names(scene), ["gpu", "gpu#2", "gpu#3"])


class NoteTests(SynchronousTestCase):
    """What operators are told."""

    def whats(self, scene: Scene) -> list[tuple[str, str]]:
        """The notes so far."""
        found = [(note.what, note.detail) for note in scene.notes]
        scene.notes.clear()
        return found

    def test_once_per_change(self) -> None:
        """A change is told once, however often it is reported."""
        scene = Scene()
        for _ in range(3):
            scene.hear("a")
        self.assertEqual(self.whats(scene), [("joined", "ready, 2 slots")])
        for _ in range(3):
            scene.hear("a", busy=None, issues=("loading",))
        self.assertEqual(self.whats(scene), [("state", "ready -> loading")])
        for _ in range(3):
            scene.drain("a")
        self.assertEqual(self.whats(scene), [])
        scene.hear("a")
        scene.hear("a")
        self.assertEqual(self.whats(scene), [("state", "loading -> draining")])
        scene.drain("a", False)
        self.assertEqual(self.whats(scene), [("state", "draining -> ready")])

    def test_ready_and_full(self) -> None:
        """That slots fill and empty is no news."""
        scene = Scene()
        scene.hear("a")
        self.whats(scene)
        scene.ask(2)
        scene.hear("a", busy=2)
        scene.hear("a", busy=0)
        self.assertEqual(self.whats(scene), [])

    def test_taken_from_each_other(self) -> None:
        """Two agents that report one address are told of once, and again after a calm minute."""
        scene = Scene()
        for pause in (*[1.0] * 100, 61.0, 1.0, 1.0):
            scene.hear("a", host="x", interval_s=60.0)
            scene.hear("b", host="x", interval_s=60.0)
            scene.wait(pause)
        whats = [note.what for note in scene.notes]
        self.assertEqual(whats, ["joined", "taken_over", "taken_over"])

    def test_comings_and_goings(self) -> None:
        """Takeovers, moves and goodbyes are told, with the names of that moment."""
        scene = Scene()
        scene.hear("a", host="x")
        scene.hear("b", host="x")
        scene.hear("b", host="y")
        scene.leave("b")
        self.assertEqual(
            [(note.what, note.agent, note.upstream) for note in scene.notes],
            [
                ("joined", "a", "x:8080"),
                ("taken_over", "a", "x:8080"),
                ("moved", "b", "x:8080"),
                ("joined", "b", "y:8080"),
                ("forgotten", "b", "y:8080"),
            ],
        )


class HealthyTests(SynchronousTestCase):
    """Where a request goes that needs no slot."""

    def names(self, scene: Scene) -> set[str]:
        """Who answers such requests."""
        chosen = (scene.scheduler.any_healthy(None, scene.now) for _ in range(200))
        return {"nobody" if upstream is None else upstream.name for upstream in chosen}

    def test_nobody(self) -> None:
        """Nobody, while there is nobody."""
        self.assertEqual(self.names(Scene()), {"nobody"})

    def test_full_fleet(self) -> None:
        """Full servers still serve their pages, each in its turn."""
        scene = Scene()
        scene.hear("a", slots=1, busy=1)
        scene.hear("b", slots=1, busy=1)
        self.assertEqual(self.names(scene), {"a", "b"})

    def test_not_these(self) -> None:
        """Those that get nothing new are not asked."""
        scene = Scene()
        scene.hear("a", issues=("unreachable",), busy=None)
        scene.hear("b", issues=("loading",), busy=None)
        scene.hear("c", slots=0, busy=None)
        scene.hear("d")
        scene.drain("d")
        self.assertEqual(self.names(scene), {"nobody"})
        scene.hear("e")
        self.assertEqual(self.names(scene), {"e"})

    def test_sleeping(self) -> None:
        """A sleeping one is asked only when nobody is awake."""
        scene = Scene()
        scene.hear("a", busy=None, sleeping=True)
        self.assertEqual(self.names(scene), {"a"})
        scene.hear("b", busy=2)
        self.assertEqual(self.names(scene), {"b"})
