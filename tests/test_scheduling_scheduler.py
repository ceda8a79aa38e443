"""Who gets which slot, and when: `paddler.scheduling.scheduler`."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from paddler.errors import QueueFull
from paddler.scheduling.granting import KEPT
from paddler.scheduling.lines import Waiter
from paddler.scheduling.scheduler import RETRY_AFTER_MOST, RETRY_AFTER_UNKNOWN
from tests.scenes import Scene

__all__ = [
    "GrantTests",
    "OrderTests",
    "QueueFullTests",
    "ReservationTests",
    "RetryAfterTests",
    "SleepingTests",
    "ViewTests",
]


class GrantTests(SynchronousTestCase):
    """Slots are taken once and given back once."""

    def test_one_each(self) -> None:
        """Two agents and two requests: one each."""
        scene = Scene()
        scene.hear("a")
        scene.hear("b")
        self.assertEqual({scene.has(scene.ask()), scene.has(scene.ask())}, {"a", "b"})

    def test_fifth_waits(self) -> None:
        """Two servers of two slots take four of five requests, and the fifth when one ends."""
        scene = Scene()
        scene.hear("a")
        scene.hear("b")
        requests = [scene.ask() for _ in range(5)]
        self.assertEqual(Counter(map(scene.has, requests)), {"a": 2, "b": 2, None: 1})
        scene.end(requests[2])
        self.assertEqual(scene.has(requests[4]), scene.has(requests[2]))

    def test_last_slot(self) -> None:
        """One slot is never given to two."""
        scene = Scene()
        scene.hear("a", slots=1)
        first, second = scene.ask(), scene.ask()
        self.assertEqual((scene.has(first), scene.has(second)), ("a", None))
        self.assertEqual(scene.counts(), (1, 0, 0, 0))

    def test_given_back_twice(self) -> None:
        """A lease that was given back can't be given back again, in whatever way."""
        scene = Scene()
        scene.hear("a")
        for ends in (scene.end, scene.abandon):
            for again in (scene.end, scene.abandon):
                request = scene.ask()
                ends(request)
                before = scene.counts()
                self.assertRaises(ValueError, again, request)
                self.assertEqual(scene.counts(), before)
                scene.wait(1)
                scene.hear("a")

    def test_at_once(self) -> None:
        """Slots are granted with the event that frees them, to all that fit."""
        scene = Scene()
        waiters = [scene.ask() for _ in range(5)]
        scene.hear("a", slots=3)
        self.assertEqual([scene.has(w) for w in waiters], ["a", "a", "a", None, None])
        scene.hear("b", slots=8, busy=7)
        self.assertEqual(scene.has(waiters[3]), "b")
        scene.hear("b", slots=8, busy=6)
        self.assertEqual(scene.has(waiters[4]), "b")

    def test_reports_do_not_oversubscribe(self) -> None:
        """A report that has not seen our requests yet frees none of their slots."""
        scene = Scene()
        scene.hear("a")
        requests = [scene.ask() for _ in range(3)]
        for _ in range(5):
            scene.hear("a", busy=0)
            scene.wait(0.5)
        self.assertIsNone(scene.has(requests[2]))

    def test_others_take_slots(self) -> None:
        """What other clients hold is not granted, and is when they are gone."""
        scene = Scene()
        scene.hear("a", slots=2, busy=2)
        waiter = scene.ask()
        self.assertIsNone(scene.has(waiter))
        scene.wait(1)
        scene.hear("a", slots=2, busy=1)
        self.assertEqual(scene.has(waiter), "a")

    def test_agent_without_slots(self) -> None:
        """A server with no slots serves nobody; the first that has some does."""
        scene = Scene()
        waiter = scene.ask()
        scene.hear("a", slots=0, busy=0, issues=("no_slots",))
        self.assertIsNone(scene.has(waiter))
        scene.hear("b")
        self.assertEqual(scene.has(waiter), "b")

    def test_hundred_slots(self) -> None:
        """A server with a hundred slots takes a hundred."""
        scene = Scene()
        scene.hear("a", slots=100)
        requests = [scene.ask() for _ in range(101)]
        self.assertEqual(Counter(map(scene.has, requests)), {"a": 100, None: 1})

    def test_slot_count_grows(self) -> None:
        """More slots serve more, at once."""
        scene = Scene()
        scene.hear("a", slots=1)
        scene.ask()
        waiters = [scene.ask() for _ in range(3)]
        scene.hear("a", slots=3, busy=1)
        self.assertEqual([scene.has(w) for w in waiters], ["a", "a", None])

    def test_slot_count_shrinks(self) -> None:
        """Fewer slots than are in flight grant nothing until enough is given back."""
        scene = Scene()
        scene.hear("a", slots=4)
        requests = [scene.ask() for _ in range(4)]
        scene.hear("a", slots=2, busy=4)
        waiter = scene.ask()
        scene.end(requests[0])
        scene.end(requests[1])
        self.assertIsNone(scene.has(waiter))
        scene.end(requests[2])
        self.assertEqual(scene.has(waiter), "a")

    def test_not_there(self) -> None:
        """What is draining or blocked by an issue gets nothing new, and does again after."""
        scene = Scene()
        scene.hear("a")
        scene.drain("a")
        waiter = scene.ask()
        scene.hear("a")
        self.assertIsNone(scene.has(waiter))
        scene.drain("a", False)
        self.assertEqual(scene.has(waiter), "a")
        for issue in ("unreachable", "timeout", "loading", "bad_status", "bad_json"):
            scene.hear("a", busy=None, issues=(issue,))
            waiter = scene.ask()
            self.assertIsNone(scene.has(waiter), issue)
            scene.hear("a", slots=100, busy=0)
            self.assertEqual(scene.has(waiter), "a", issue)

    def test_running_answers_finish(self) -> None:
        """Drained, stale or forgotten: what is in flight is given back as ever."""
        for happens in (
            lambda scene: scene.drain("a"),
            lambda scene: scene.wait(10),
            lambda scene: scene.wait(100),
            lambda scene: scene.leave("a"),
        ):
            scene = Scene()
            scene.hear("a")
            ends, leaves = scene.ask(), scene.ask()
            happens(scene)
            scene.end(ends)
            scene.abandon(leaves)
            self.assertEqual(scene.leases[ends].upstream.in_flight, 0)

    def test_abandoned(self) -> None:
        """A slot whose client left is granted again when a sample shows it idle."""
        scene = Scene()
        scene.hear("a", slots=1)
        request, waiter = scene.ask(), scene.ask()
        scene.abandon(request)
        self.assertEqual(scene.counts(), (0, 0, 1, 0))
        scene.wait(1)
        scene.hear("a", slots=1, busy=1)
        self.assertIsNone(scene.has(waiter))
        scene.wait(1)
        scene.hear("a", slots=1, busy=0)
        self.assertEqual(scene.has(waiter), "a")


class OrderTests(SynchronousTestCase):
    """First come, first served."""

    def test_first_come(self) -> None:
        """Waiters are served in the order they came, one for each slot."""
        scene = Scene()
        scene.hear("a")
        running = [scene.ask(), scene.ask()]
        waiters = [scene.ask() for _ in range(50)]
        while running:
            scene.end(running.pop(0))
            running = [w for w in scene.order if not scene.leases[w].ended]
        self.assertEqual(scene.order[2:], waiters)

    def test_newcomers_wait_behind(self) -> None:
        """A newcomer never takes a slot that one before it waits for."""
        scene = Scene()
        scene.hear("a", slots=1)
        running, waiter = scene.ask(), scene.ask()
        newcomer = scene.ask()
        scene.end(running)
        self.assertEqual((scene.has(waiter), scene.has(newcomer)), ("a", None))

    def test_cancelled(self) -> None:
        """One that left is never granted anything; the next is."""
        scene = Scene()
        scene.hear("a", slots=1)
        running, gone, waiter = scene.ask(), scene.ask(), scene.ask()
        scene.cancel(gone)
        scene.cancel(gone)
        scene.end(running)
        self.assertEqual((scene.has(gone), scene.has(waiter)), (None, "a"))

    def test_burst_cancelled(self) -> None:
        """When half of a crowd leaves, every other one is still served, in order."""
        scene = Scene()
        waiters = [scene.ask() for _ in range(200)]
        for waiter in waiters[::2]:
            scene.cancel(waiter)
        scene.hear("a", slots=200)
        self.assertEqual(scene.order, waiters[1::2])

    def test_place_kept(self) -> None:
        """A request that was sent back goes before those who came after it."""
        scene = Scene()
        scene.hear("a", slots=1)
        first, second = scene.ask(), scene.ask()
        scene.hear("a", slots=1, busy=None, issues=("unreachable",))
        scene.fail(first, "refused", back=True)
        scene.hear("a", slots=1)
        self.assertEqual((scene.has(first), scene.has(second)), ("a", None))

    def test_random_among_equals(self) -> None:
        """Ties do not all go to the same server."""
        scene = Scene()
        for name in "abcd":
            scene.hear(name, slots=2)
        chosen: Counter[str | None] = Counter()
        for _ in range(400):
            request = scene.ask()
            chosen[scene.has(request)] += 1
            scene.end(request)
        self.assertEqual(set(chosen), set("abcd"))
        self.assertGreater(min(chosen.values()), 60)

    def test_same_seed(self) -> None:
        """The same events and the same chance make the same choices."""
        stories = []
        for _ in range(2):
            scene = Scene(seed=42)
            for name in "abcd":
                scene.hear(name, slots=8)
            stories.append([scene.has(scene.ask()) for _ in range(32)])
        self.assertEqual(*stories)


class ReservationTests(SynchronousTestCase):
    """Requests that need several slots."""

    def test_weight(self) -> None:
        """A request costs its weight where there is so much, and all of a smaller server."""
        scene = Scene()
        scene.hear("a", slots=4)
        heavy = scene.ask(3)
        self.assertEqual((scene.has(heavy), scene.counts()), ("a", (3, 0, 0, 1)))
        scene.end(heavy)
        self.assertEqual(scene.leases[scene.ask(64)].slots, 4)

    def test_waits_for_all(self) -> None:
        """It takes all its slots at once or none."""
        scene = Scene()
        scene.hear("a", slots=4)
        light = [scene.ask() for _ in range(2)]
        heavy = scene.ask(4)
        scene.end(light[0])
        self.assertEqual((scene.has(heavy), scene.counts()), (None, (1, 0, 0, 3)))
        scene.end(light[1])
        self.assertEqual((scene.has(heavy), scene.counts()), ("a", (4, 0, 0, 0)))

    def test_not_starved(self) -> None:
        """Lighter ones behind it don't take what it waits for."""
        scene = Scene()
        scene.hear("a", slots=2)
        light = [scene.ask(), scene.ask()]
        heavy = scene.ask(2)
        behind = [scene.ask() for _ in range(3)]
        scene.end(light[0])
        self.assertEqual([scene.has(w) for w in behind], [None] * 3)
        scene.end(light[1])
        self.assertEqual(scene.has(heavy), "a")
        scene.end(heavy)
        self.assertEqual([scene.has(w) for w in behind], ["a", "a", None])

    def test_others_are_used(self) -> None:
        """Those behind it use the servers that it does not wait for."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1)
        scene.hear("b", slots=4, busy=2)
        heavy = scene.ask(4)
        self.assertIsNone(scene.has(heavy))
        self.assertEqual([scene.has(scene.ask()) for _ in range(3)], ["b", "b", None])
        self.assertEqual(scene.counts("a"), (0, 1, 0, 3))
        scene.wait(1)
        scene.hear("a", slots=4, busy=0)
        self.assertEqual(scene.has(heavy), "a")

    def test_nearest(self) -> None:
        """It waits for the server that lacks the fewest slots, by what it costs there."""
        for a, b, nearest in (
            ((8, 2), (8, 3), "a"),
            ((8, 3), (8, 2), "b"),
            ((8, 4), (2, 1), "b"),
            ((8, 4), (16, 14), "a"),
        ):
            scene = Scene()
            scene.hear("a", slots=a[0], busy=a[1])
            scene.hear("b", slots=b[0], busy=b[1])
            scene.ask(8)
            taken = {scene.has(scene.ask()) for _ in range(20)} - {None}
            self.assertEqual(taken, {"a", "b"} - {nearest}, (a, b))

    def test_only_healthy(self) -> None:
        """It never waits for one that gets nothing new."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1)
        scene.hear("b", slots=4, busy=3)
        scene.drain("a")
        heavy = scene.ask(4)
        light = scene.ask()
        self.assertIsNone(scene.has(light))
        scene.wait(KEPT)
        scene.drain("a", False)
        self.assertEqual(scene.has(light), "b")
        scene.wait(1)
        scene.hear("a", slots=4, busy=0)
        self.assertEqual(scene.has(heavy), "a")

    def test_reservation_ends(self) -> None:
        """When it leaves, those behind it get what was kept."""
        scene = Scene()
        scene.hear("a", slots=2)
        running = scene.ask()
        heavy, light = scene.ask(2), scene.ask()
        self.assertIsNone(scene.has(light))
        scene.cancel(heavy)
        self.assertEqual(scene.has(light), "a")
        self.assertFalse(scene.leases[running].ended)

    def test_reserved_server_goes(self) -> None:
        """When what it waits for goes, it waits for another, which lighter ones then leave."""
        for goes in (
            lambda scene: scene.leave("a"),
            lambda scene: scene.drain("a"),
            lambda scene: scene.hear("a", slots=4, busy=None, issues=("unreachable",)),
        ):
            scene = Scene()
            scene.hear("a", slots=4, busy=1)
            scene.hear("b", slots=4, busy=3)
            heavy = scene.ask(4)
            light = scene.ask()
            self.assertEqual(scene.has(light), "b")
            goes(scene)
            scene.end(light)
            self.assertIsNone(scene.has(scene.ask()))
            scene.wait(1)
            scene.hear("b", slots=4, busy=0)
            self.assertEqual(scene.has(heavy), "b")

    def test_reservation_stays(self) -> None:
        """Between equals it stays with the one it had."""
        scene = Scene()
        for name in "abc":
            scene.hear(name, slots=4, busy=3)
        heavy = scene.ask(4)
        first = scene.kept()
        for _ in range(20):
            scene.ask()
            self.assertEqual(scene.kept(), first)
        self.assertIsNone(scene.has(heavy))

    def test_second_heavy(self) -> None:
        """Only the head of the line reserves; one behind it is passed as well."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1)
        scene.hear("b", slots=4, busy=1)
        first, second = scene.ask(4), scene.ask(4)
        lights = [scene.ask() for _ in range(4)]
        self.assertEqual([w in scene.leases for w in lights], [True, True, True, False])
        self.assertFalse(first in scene.leases or second in scene.leases)

    def test_heavy_among_heavy(self) -> None:
        """Heavy ones are served in their order too."""
        scene = Scene()
        scene.hear("a", slots=4)
        running = scene.ask(4)
        waiters = [scene.ask(weight) for weight in (4, 3, 1, 4)]
        scene.end(running)
        self.assertEqual(scene.order[1:], waiters[:1])
        scene.end(waiters[0])
        self.assertEqual(scene.order[1:], waiters[:3])
        scene.end(waiters[1])
        scene.end(waiters[2])
        self.assertEqual(scene.order[1:], waiters)


class SleepingTests(SynchronousTestCase):
    """Servers whose model is unloaded."""

    def test_last_choice(self) -> None:
        """A sleeping server is woken only when no awake one has room."""
        scene = Scene()
        scene.hear("asleep", slots=8, busy=None, sleeping=True)
        scene.hear("awake", slots=2)
        self.assertEqual([scene.has(scene.ask()) for _ in range(3)], ["awake", "awake", "asleep"])

    def test_woken(self) -> None:
        """What woke one says nothing: it is the last choice until its agent has found it awake."""
        scene = Scene()
        scene.hear("one", slots=4, busy=None, sleeping=True)
        request = scene.ask()
        self.assertEqual((scene.has(request), scene.view("one").state), ("one", "ready"))
        scene.hear("two", slots=1)
        self.assertEqual([scene.has(scene.ask()) for _ in range(2)], ["two", "one"])
        scene.hear("one", slots=4, busy=2)
        self.assertEqual([scene.has(scene.ask()) for _ in range(2)], ["one"] * 2)
        self.assertEqual(scene.view("one").state, "full")

    def test_asleep_again(self) -> None:
        """When what it was woken for has ended it shows as asleep, as its agent last said."""
        scene = Scene()
        scene.hear("a", busy=None, sleeping=True)
        scene.end(scene.ask())
        self.assertEqual((scene.view().state, scene.view().slots_idle), ("sleeping", 0))

    def test_counts(self) -> None:
        """Its slots are not shown as idle, for nothing is ready there."""
        scene = Scene()
        scene.hear("a", slots=4, busy=None, sleeping=True)
        self.assertEqual((scene.view().state, scene.view().slots_idle), ("sleeping", 0))

    def test_heavy(self) -> None:
        """A heavy request wakes one that has room rather than wait for an awake one."""
        scene = Scene()
        scene.hear("asleep", slots=4, busy=None, sleeping=True)
        scene.hear("awake", slots=4, busy=1)
        self.assertEqual(scene.has(scene.ask(4)), "asleep")

    def test_falls_asleep(self) -> None:
        """One that fell asleep is the last choice again."""
        scene = Scene()
        scene.hear("a", slots=4)
        scene.end(scene.ask())
        scene.wait(2)
        scene.hear("a", slots=4, busy=None, sleeping=True)
        scene.hear("b", slots=1)
        self.assertEqual([scene.has(scene.ask()) for _ in range(2)], ["b", "a"])


class QueueFullTests(SynchronousTestCase):
    """The buffer's bound."""

    def test_limit(self) -> None:
        """One more than may wait is refused, and those who wait are not."""
        scene = Scene(limit=2)
        waiters = [scene.ask(), scene.ask()]
        error = self.assertRaises(QueueFull, scene.ask)
        self.assertEqual((error.limit, error.retry_after), (2, RETRY_AFTER_UNKNOWN))
        self.assertEqual(scene.scheduler.queue(scene.now).requests_waiting, 2)
        scene.hear("a")
        self.assertEqual(scene.order, waiters)

    def test_refused_leaves_nothing(self) -> None:
        """One that was refused holds neither a place nor a later slot."""
        scene = Scene(limit=1)
        scene.ask()
        refused = Waiter(1, scene.now)
        self.assertRaises(QueueFull, scene.scheduler.request, refused, scene.now)
        self.assertFalse(refused.waiting)
        self.assertEqual(scene.scheduler.queue(scene.now).requests_waiting, 1)
        scene.hear("a", slots=8)
        self.assertEqual(scene.counts(), (1, 0, 0, 7))

    def test_no_waiting(self) -> None:
        """With a limit of 0 a request is granted at once or refused."""
        scene = Scene(limit=0)
        self.assertRaises(QueueFull, scene.ask)
        scene.hear("a", slots=1)
        self.assertEqual(scene.has(scene.ask()), "a")
        self.assertRaises(QueueFull, scene.ask)

    def test_passes_a_full_queue(self) -> None:
        """One that fits beside a waiting heavy one is granted, however full the buffer is."""
        scene = Scene(limit=1)
        scene.hear("a", slots=4, busy=1)
        scene.hear("b", slots=4, busy=3)
        scene.ask(4)
        self.assertEqual(scene.has(scene.ask()), "b")
        self.assertRaises(QueueFull, scene.ask)

    def test_room_again(self) -> None:
        """Whoever leaves makes room for another."""
        scene = Scene(limit=1)
        waiter = scene.ask()
        scene.cancel(waiter)
        scene.ask()
        self.assertRaises(QueueFull, scene.ask)

    def test_sent_back(self) -> None:
        """A request that was sent back is never refused, and lets pass whom it need not stop."""
        scene = Scene(limit=2)
        scene.hear("x", slots=4)
        back = scene.ask(5)
        scene.hear("c", slots=2)
        scene.ask(2)
        scene.hear("b", slots=8)
        scene.ask(6)
        heavy, light = scene.ask(3), scene.ask()
        self.assertIsNone(scene.has(light))
        scene.hear("x", slots=4, busy=None, issues=("unreachable",))
        # It waits for c, where the other one waited for b.
        scene.fail(back, "refused", back=True)
        self.assertEqual((back.waiting, heavy.waiting, scene.has(light)), (True, True, "b"))

    def test_sent_back_to_a_full_queue(self) -> None:
        """It keeps its place also where nobody may wait."""
        scene = Scene(limit=0)
        scene.hear("a")
        request = scene.ask()
        scene.hear("a", busy=None, issues=("unreachable",))
        scene.fail(request, "refused", back=True)
        scene.hear("a")
        self.assertEqual(scene.has(request), "a")


class RetryAfterTests(SynchronousTestCase):
    """When asking again makes sense."""

    def test_unknown(self) -> None:
        """Before anything has ended it is a guess."""
        scene = Scene()
        scene.hear("a")
        self.assertEqual(scene.scheduler.retry_after(), RETRY_AFTER_UNKNOWN)

    def test_from_the_queue(self) -> None:
        """It follows from how long requests take, the slots there are and who waits."""
        scene = Scene()
        scene.hear("a", slots=2, interval_s=100.0)
        request = scene.ask()
        scene.wait(10)
        scene.end(request)
        self.assertEqual(scene.scheduler.retry_after(), 5)
        for _ in range(5):
            scene.ask()
        self.assertEqual(scene.scheduler.retry_after(), 20)
        for _ in range(500):
            scene.ask()
        self.assertEqual(scene.scheduler.retry_after(), RETRY_AFTER_MOST)

    def test_at_least_a_second(self) -> None:
        """Quick servers are given a second."""
        scene = Scene()
        scene.hear("a", slots=2)
        scene.end(scene.ask())
        self.assertEqual(scene.scheduler.retry_after(), 1)

    def test_nobody_healthy(self) -> None:
        """With nobody to serve it is a guess again."""
        scene = Scene()
        scene.hear("a")
        scene.end(scene.ask())
        scene.leave("a")
        self.assertEqual(scene.scheduler.retry_after(), RETRY_AFTER_UNKNOWN)


class ViewTests(SynchronousTestCase):
    """What others may see."""

    def test_agent(self) -> None:
        """An agent's view has its report and our counts, and the counts add up."""
        scene = Scene()
        scene.hear("a", slots=8, host="10.1.1.1", port=99, models=("m",))
        requests = [scene.ask(), scene.ask(2), scene.ask()]
        scene.wait(1)
        scene.abandon(requests[0])
        scene.wait(1)
        scene.hear("a", slots=8, busy=5, host="10.1.1.1", port=99, models=("m",))
        scene.ask()
        view = scene.view()
        self.assertEqual(view.external_llamacpp_addr, "10.1.1.1:99")
        self.assertEqual((view.slots_total, view.slots_processing, view.slots_idle), (8, 6, 2))
        self.assertEqual((view.in_flight, view.client_left, view.foreign_busy), (4, 1, 1))
        self.assertEqual((view.promised, view.models, view.last_update), (1, ("m",), scene.now))

    def test_problem(self) -> None:
        """What went wrong there last is shown until a request went well."""
        scene = Scene()
        scene.hear("a")
        scene.fail(scene.ask(), "error")
        self.assertEqual(scene.view().error, "it has error")
        request = scene.ask()
        scene.end(scene.ask())
        self.assertEqual(scene.view().error, "it has error")
        scene.answers(request)
        self.assertIsNone(scene.view().error)

    def test_fleet(self) -> None:
        """The fleet's numbers are its agents' together."""
        scene = Scene()
        scene.hear("a", slots=4, busy=1)
        scene.hear("b", slots=2, busy=2)
        scene.hear("c", slots=8)
        scene.drain("c")
        for _ in range(4):
            scene.ask()
        fleet = scene.scheduler.fleet()
        self.assertEqual((fleet.agents, fleet.slots_total, fleet.slots_idle), (3, 14, 0))
        self.assertEqual((fleet.slots_processing, fleet.requests_waiting), (6, 1))

    def test_queue(self) -> None:
        """The buffer's numbers: how many, how old; the bytes are its owner's to add."""
        scene = Scene(limit=7)
        view = scene.scheduler.queue(scene.now)
        self.assertEqual((view.requests_waiting, view.oldest_wait_seconds, view.limit), (0, 0, 7))
        scene.ask()
        scene.wait(3)
        scene.ask()
        view = scene.scheduler.queue(scene.now)
        self.assertEqual((view.requests_waiting, view.oldest_wait_seconds), (2, 3))
