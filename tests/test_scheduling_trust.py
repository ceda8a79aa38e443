"""Upstreams that fail our requests: `paddler.scheduling.trust` and what follows from it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import Waiter
from paddler.scheduling.slots import LEFT_WITHOUT_SAMPLE
from paddler.scheduling.trust import Fault, Trust
from tests.scenes import QUARANTINE, Scene

__all__ = ["AloneTests", "BlockTests", "DoubtTests", "PlaceTests", "QuarantineTests", "TrialTests"]

_BLOCKING: tuple[tuple[Fault, str], ...] = (
    ("refused", "unreachable"),
    ("died", "unreachable"),
    ("loading", "loading"),
)


def _one(slots: int = 2, limit: int = 1000) -> Scene:
    """One agent, which reports so seldom that time alone changes nothing of it."""
    scene = Scene(limit=limit)
    scene.hear("a", slots, interval_s=3600.0)
    return scene


def _beside(slots: int = 2) -> Scene:
    """The same beside a healthy one, on which others hold all slots."""
    scene = _one(slots)
    scene.hear("b", 2, busy=2, interval_s=3600.0)
    return scene


def _seen(scene: Scene) -> list[tuple[str, str]]:
    """The issues of a, and who saw them."""
    return [(issue.issue, issue.seen_by) for issue in scene.view("a").issues]


class BlockTests(SynchronousTestCase):
    """What took no connection, died or was loading waits for its agent's next good report."""

    def test_until_a_good_report(self) -> None:
        """It gets nothing, however long, until its agent has found it well."""
        for fault, word in _BLOCKING:
            scene = _one()
            scene.fail(scene.ask(), fault)
            waiter = scene.ask()
            self.assertEqual((scene.view().state, _seen(scene)), (word, [(word, "balancer")]))
            self.assertEqual((scene.view().slots_idle, scene.view().error), (0, f"it has {fault}"))
            scene.wait(100)
            self.assertIsNone(scene.has(waiter), fault)
            scene.hear("a")
            self.assertEqual((scene.has(waiter), _seen(scene)), ("a", []), fault)

    def test_blocking_report(self) -> None:
        """A report that itself keeps requests away does not end it."""
        for fault, word in _BLOCKING:
            scene = _one()
            scene.fail(scene.ask(), fault)
            for slots, issues in ((2, ("loading",)), (2, ("unreachable",)), (0, ("no_slots",))):
                scene.hear("a", slots, busy=None, issues=issues)
                self.assertIn((word, "balancer"), _seen(scene), issues)
            scene.hear("a", issues=("slots_disabled",), busy=None)
            self.assertEqual(_seen(scene), [("slots_disabled", "agent")])
            self.assertEqual(scene.view().state, "ready")

    def test_error(self) -> None:
        """An answer, be it an error, shows that it is there."""
        scene = _one()
        scene.fail(scene.ask(), "error")
        self.assertEqual((scene.view().state, _seen(scene)), ("ready", []))

    def test_since(self) -> None:
        """It is shown since the first failure, however many follow."""
        scene = _one()
        requests = [scene.ask(), scene.ask()]
        began = scene.now
        for request in requests:
            scene.fail(request, "died", cause="same")
            scene.wait(1)
        self.assertEqual(scene.view().issues[0].since, began)

    def test_slot_moves(self) -> None:
        """The slot there is free at once, and one elsewhere is taken in the same step."""
        scene = Scene()
        scene.hear("a", slots=1)
        request = scene.ask()
        scene.hear("b", slots=1)
        scene.fail(request, "died", back=True)
        self.assertEqual(scene.has(request), "b")
        self.assertEqual((scene.counts("a"), scene.counts("b")), ((0, 0, 0, 0), (1, 0, 0, 0)))

    def test_without_lease(self) -> None:
        """A request that needs no slot tells as much."""
        scene = _one()
        upstream = scene.scheduler.any_healthy()
        assert upstream is not None
        scene.took(scene.scheduler.fault(upstream, "refused", None, "no", scene.now))
        self.assertEqual((scene.view().state, scene.view().error), ("unreachable", "no"))
        self.assertIsNone(scene.scheduler.any_healthy())

    def test_forgotten(self) -> None:
        """One whose agent has left may fail; it is gone with its last lease, and says nothing."""
        scene = _one()
        request, other = scene.ask(), scene.ask()
        upstream = scene.leases[request].upstream
        scene.leave("a")
        scene.notes.clear()
        scene.fail(request, "died", back=True)
        self.assertEqual((request.waiting, scene.notes), (True, []))
        scene.took(scene.scheduler.fault(upstream, "died", None, "again", scene.now))
        scene.took(scene.scheduler.answered(upstream, scene.now))
        scene.fail(other, "died")
        self.assertEqual(scene.scheduler._fleet._by_address, {})
        self.assertIsNone(scene.scheduler.next_event)
        scene.hear("a")
        self.assertEqual((scene.has(request), scene.view().error), ("a", None))

    def test_notes(self) -> None:
        """Each change of its state is told once, with what happened."""
        scene = _one()
        requests = [scene.ask(), scene.ask()]
        for request in requests:
            scene.fail(request, "died", cause="same")
        scene.hear("a")
        self.assertEqual(
            [note.detail for note in scene.notes],
            ["ready, 2 slots", "full -> unreachable: it has died", "unreachable -> ready"],
        )


class QuarantineTests(SynchronousTestCase):
    """Three failures in a row leave it out by the clock."""

    def test_three_in_a_row(self) -> None:
        """Two are nothing, three are a quarantine, which shows."""
        scene = _beside()
        for _ in range(2):
            scene.fail(scene.ask(), "error")
        self.assertEqual(scene.view().state, "ready")
        scene.fail(scene.ask(), "error")
        view = scene.view("a")
        self.assertEqual((view.state, view.slots_idle), ("quarantined", 0))
        self.assertEqual(view.quarantined_until, scene.now + QUARANTINE)
        self.assertEqual(_seen(scene), [("quarantined", "balancer")])
        self.assertEqual(view.issues[0].since, scene.now)
        self.assertEqual(scene.notes[-1].detail, "ready -> quarantined: it has error")

    def test_by_the_clock(self) -> None:
        """It gets nothing until then, whatever its agent says, and is tried then at once."""
        scene = _beside()
        scene.quarantine()
        waiter = scene.ask()
        self.assertEqual(scene.scheduler.next_event, scene.now + QUARANTINE)
        scene.wait(QUARANTINE - 0.01)
        scene.hear("a", interval_s=3600.0)
        self.assertIsNone(scene.has(waiter))
        scene.wait(0.01)
        self.assertEqual(scene.has(waiter), "a")

    def test_same_cause(self) -> None:
        """A request that a server dies of again and again is one failure."""
        trust = Trust(QUARANTINE)
        for _ in range(5):
            trust.fault("died", "poison", 0, alone=False)
            trust.reported_well()
        self.assertIsNone(trust.until)
        trust.fault("died", "other", 0, alone=False)
        trust.reported_well()
        trust.fault("died", "poison", 0, alone=False)
        self.assertEqual(trust.until, QUARANTINE)

    def test_same_cause_of_errors(self) -> None:
        """A server that answers the same request with errors in no time draws all of them."""
        scene = _beside()
        for _ in range(3):
            scene.fail(scene.ask(), "error", cause="ping")
        self.assertEqual(scene.view("a").state, "quarantined")

    def test_error_everywhere(self) -> None:
        """A request that got its error elsewhere first is to blame itself."""
        scene = _beside()
        scene.fail(scene.ask(), "error", cause="bad grammar")
        scene.scheduler.drain("a", True, scene.now)
        scene.hear("b", slots=1)
        for _ in range(5):
            scene.fail(scene.ask(), "error", cause="bad grammar")
        self.assertIsNone(scene.view("b").quarantined_until)

    def test_no_cause(self) -> None:
        """Requests that nobody tells apart are as many as they are."""
        trust = Trust(QUARANTINE)
        for _ in range(3):
            trust.fault("error", None, 0, alone=False)
        self.assertEqual(trust.until, QUARANTINE)

    def test_loading(self) -> None:
        """That it loads its model is no failure."""
        scene = _beside()
        for _ in range(5):
            scene.fail(scene.ask(), "loading")
            scene.hear("a")
        self.assertEqual(scene.view().state, "ready")

    def test_any_kind(self) -> None:
        """Failures of all kinds count together; the wait for a report comes before."""
        scene = _beside()
        for fault in ("error", "refused", "died"):
            request = scene.ask()
            self.assertEqual(scene.has(request), "a")
            scene.fail(request, fault)
            if fault != "died":
                scene.hear("a", interval_s=3600.0)
        self.assertEqual(scene.view("a").state, "unreachable")
        self.assertEqual(_seen(scene), [("unreachable", "balancer"), ("quarantined", "balancer")])
        scene.hear("a", interval_s=3600.0)
        self.assertEqual(scene.view("a").state, "quarantined")

    def test_over_while_it_waits(self) -> None:
        """A quarantine that is over is no leave while its agent finds it ill."""
        scene = _beside()
        scene.quarantine()
        scene.hear("a", busy=None, issues=("unreachable",), interval_s=3600.0)
        waiter = scene.ask()
        scene.wait(QUARANTINE)
        self.assertIsNone(scene.has(waiter))
        scene.hear("a", interval_s=3600.0)
        self.assertEqual(scene.has(waiter), "a")

    def test_answer_between(self) -> None:
        """An answer that is no error of its own begins the count anew."""
        scene = _beside()
        for _ in range(5):
            scene.fail(scene.ask(), "error")
            scene.fail(scene.ask(), "error")
            request = scene.ask()
            scene.answers(request)
            scene.end(request)
        self.assertEqual((scene.view().state, scene.view().error), ("ready", None))

    def test_growth(self) -> None:
        """Each that follows a failed trial is twice as long, up to four times."""
        scene = _beside()
        scene.quarantine()
        lengths = []
        for _ in range(6):
            left = scene.view("a").quarantined_until - scene.now
            lengths.append(left / QUARANTINE)
            scene.wait(left)
            scene.fail(scene.ask(), "error")
        self.assertEqual(lengths, [1, 2, 4, 4, 4, 4])

    def test_one_crash(self) -> None:
        """However many requests a crash takes with it, it is one failure; three are too many."""
        scene = _beside(slots=64)
        for crash in (1, 2, 3):
            requests = [scene.ask() for _ in range(64)]
            for request in requests:
                scene.fail(request, "died")
            scene.hear("a", slots=64, interval_s=3600.0)
            self.assertEqual(scene.view("a").state, "quarantined" if crash == 3 else "ready")
        self.assertEqual(scene.view("a").quarantined_until, scene.now + QUARANTINE)
        scene.wait(QUARANTINE)
        scene.fail(scene.ask(), "error")
        self.assertEqual(scene.view("a").quarantined_until, scene.now + 2 * QUARANTINE)

    def test_taken_over(self) -> None:
        """Another agent that speaks for it takes the quarantine over."""
        scene = _beside()
        scene.quarantine()
        until = scene.now + QUARANTINE
        scene.hear("c", host="a")
        self.assertEqual(scene.view("c").quarantined_until, until)
        self.assertEqual(scene.view("c").state, "quarantined")

    def test_forgotten_meanwhile(self) -> None:
        """One that comes back when its quarantine is over is tried at once."""
        scene = _beside()
        running = scene.ask()
        scene.quarantine()
        scene.leave("a")
        scene.wait(QUARANTINE + 1)
        scene.hear("a", busy=1)
        waiter = scene.ask()
        scene.wait(0)
        self.assertEqual(scene.has(waiter), "a")
        self.assertFalse(scene.leases[running].ended)

    def test_stale_meanwhile(self) -> None:
        """Stale is shown before quarantined, and nothing goes there when that is over."""
        scene = Scene()
        scene.hear("a")
        scene.quarantine()
        waiter = scene.ask()
        scene.wait(QUARANTINE + 1)
        self.assertEqual((scene.view().state, scene.has(waiter)), ("stale", None))

    def test_needs_no_slot(self) -> None:
        """Where a request goes that needs no slot it is the last choice."""
        scene = _beside()
        scene.quarantine()
        chosen = {scene.scheduler.any_healthy() for _ in range(50)}
        self.assertEqual({upstream and upstream.name for upstream in chosen}, {"b"})
        scene.leave("b")
        last = scene.scheduler.any_healthy()
        self.assertEqual(last and last.name, "a")
        scene.drain("a")
        self.assertIsNone(scene.scheduler.any_healthy())


class TrialTests(SynchronousTestCase):
    """One request tries it before it is trusted again."""

    def trial(self, weight: int = 1, slots: int = 4) -> tuple[Scene, list[Waiter]]:
        """An upstream whose quarantine is over, and requests of which one tries it."""
        scene = _beside(slots)
        scene.quarantine()
        waiters = [scene.ask(weight), scene.ask(), scene.ask()]
        scene.wait(QUARANTINE)
        self.assertEqual([scene.has(w) for w in waiters], ["a", None, None])
        self.assertEqual(scene.view("a").state, "quarantined")
        return scene, waiters

    def test_one_only(self) -> None:
        """One request, whatever it weighs, and no other while it runs."""
        for weight in (1, 3, 9):
            scene, waiters = self.trial(weight)
            scene.hear("a", slots=4, busy=1, interval_s=3600.0)
            scene.wait(5 * QUARANTINE)
            self.assertEqual([scene.has(w) for w in waiters], ["a", None, None])

    def test_success(self) -> None:
        """With its answer the others go there at once; the next quarantine is a first one."""
        scene, waiters = self.trial()
        scene.answers(waiters[0])
        self.assertEqual([scene.has(w) for w in waiters], ["a", "a", "a"])
        self.assertEqual((scene.view("a").state, _seen(scene)), ("ready", []))
        self.assertEqual(scene.notes[-1].detail, "quarantined -> ready")
        scene.quarantine()
        self.assertEqual(scene.view("a").quarantined_until, scene.now + QUARANTINE)

    def test_failure(self) -> None:
        """One failure is enough, also of a request that failed before."""
        for fault, cause in (("error", "new"), ("died", "new"), ("refused", "new")):
            scene, waiters = self.trial()
            scene.fail(waiters[0], fault, cause=cause)
            self.assertEqual(scene.view("a").quarantined_until, scene.now + 2 * QUARANTINE)
            scene.hear("a", slots=4, interval_s=3600.0)
            self.assertEqual([scene.has(w) for w in waiters[1:]], [None, None])

    def test_still_loading(self) -> None:
        """A trial that finds it loading is none; the next one is after a good report."""
        scene, waiters = self.trial()
        scene.fail(waiters[0], "loading", back=True)
        self.assertEqual([scene.has(w) for w in waiters], [None] * 3)
        scene.hear("a", slots=4, interval_s=3600.0)
        self.assertEqual([scene.has(w) for w in waiters], ["a", None, None])

    def test_client_leaves(self) -> None:
        """A trial that ends without an answer lets another one try."""
        for how in ("abandon", "end", "take_back"):
            scene, waiters = self.trial()
            if how == "take_back":
                scene.took(scene.scheduler.take_back(scene.leases[waiters[0]], scene.now))
            else:
                getattr(scene, how)(waiters[0])
            self.assertEqual([scene.has(w) for w in waiters[1:]], ["a", None], how)

    def test_all_slots_left(self) -> None:
        """Where its client leaves the only slot busy the next trial is when that is free."""
        scene, waiters = self.trial(slots=1)
        scene.abandon(waiters[0])
        self.assertIsNone(scene.has(waiters[1]))
        scene.wait(LEFT_WITHOUT_SAMPLE)
        self.assertEqual([scene.has(w) for w in waiters[1:]], ["a", None])

    def test_answered_trial_is_over(self) -> None:
        """A trial that was answered and still streams keeps no later one from trying."""
        scene, waiters = self.trial()
        scene.answers(waiters[0])
        for waiter in waiters[1:]:
            scene.fail(waiter, "error")
        scene.fail(scene.ask(), "error")
        waiters += [scene.ask(), scene.ask()]
        scene.wait(QUARANTINE)
        self.assertEqual([scene.has(w) for w in waiters[3:]], ["a", None])
        scene.end(waiters[0])
        self.assertEqual([scene.has(w) for w in waiters[3:]], ["a", None])

    def test_older_request(self) -> None:
        """One from before the quarantine that ends during the trial lets nobody else in."""
        scene = _beside(4)
        older = scene.ask()
        scene.quarantine()
        waiters = [scene.ask(), scene.ask()]
        scene.wait(QUARANTINE)
        scene.end(older)
        self.assertEqual([scene.has(w) for w in waiters], ["a", None])

    def test_asleep(self) -> None:
        """One that sleeps is tried too."""
        scene = _beside()
        scene.quarantine()
        scene.hear("a", busy=None, sleeping=True, interval_s=3600.0)
        waiters = [scene.ask(), scene.ask()]
        scene.wait(QUARANTINE)
        self.assertEqual([scene.has(w) for w in waiters], ["a", None])


class AloneTests(SynchronousTestCase):
    """The only one that there is."""

    def test_never_for_good(self) -> None:
        """Its quarantine never grows, so that it is tried again and again."""
        scene = _one()
        scene.hear("b", busy=None, issues=("unreachable",), interval_s=3600.0)
        scene.quarantine()
        for _ in range(9):
            self.assertEqual(scene.view("a").quarantined_until, scene.now + QUARANTINE)
            waiter = scene.ask()
            scene.wait(QUARANTINE)
            self.assertEqual(scene.has(waiter), "a")
            scene.fail(waiter, "error")

    def test_all_quarantined(self) -> None:
        """Where all are in quarantine each is tried in its time."""
        scene = _one()
        scene.quarantine()
        scene.hear("b", interval_s=3600.0)
        scene.quarantine("b")
        waiters = [scene.ask() for _ in range(3)]
        scene.wait(QUARANTINE)
        self.assertEqual(
            ({scene.has(w) for w in waiters[:2]}, scene.has(waiters[2])), ({"a", "b"}, None)
        )


class PlaceTests(SynchronousTestCase):
    """Requests that were sent back."""

    def test_before_later_ones(self) -> None:
        """Each keeps its place before those who came after it, whenever it comes back."""
        scene = _one(slots=3)
        running = [scene.ask() for _ in range(3)]
        later = [scene.ask() for _ in range(3)]
        for waiter in (running[1], running[2], running[0]):
            scene.fail(waiter, "refused", back=True, cause="same")
        scene.order.clear()
        scene.hear("a", slots=6)
        self.assertEqual(scene.order, running + later)

    def test_never_full(self) -> None:
        """However many wait, there is room for one that was sent back."""
        for limit in (0, 2):
            scene = _one(slots=3, limit=limit)
            running = [scene.ask() for _ in range(3)]
            for _ in range(limit):
                scene.ask()
            for waiter in running:
                scene.fail(waiter, "died", back=True, cause="same")
            self.assertEqual(scene.scheduler.queue(scene.now).requests_waiting, 3 + limit)

    def test_oldest_wait(self) -> None:
        """It has waited since it came."""
        scene = _one()
        request = scene.ask()
        scene.wait(30)
        scene.fail(request, "died", back=True)
        self.assertEqual(scene.scheduler.queue(scene.now).oldest_wait_seconds, 30)


class DoubtTests(SynchronousTestCase):
    """What agents say of servers that may have stopped."""

    def test_changes_only(self) -> None:
        """That an agent begins or ceases to doubt is told, and not that it still does."""
        scene = Scene()
        told = []
        for issues in (
            *((), ("timeout",), ("timeout",), ("unreachable",), ("unreachable", "timeout")),
            *(("loading",), (), ("timeout",), ()),
        ):
            scene.doubted.clear()
            scene.hear("a", busy=None, issues=issues)
            told.append(len(scene.doubted))
        self.assertEqual(told, [0, 1, 0, 1, 0, 1, 0, 1, 1])

    def test_new(self) -> None:
        """Of one that is new nothing runs, so there is nothing to tell."""
        scene = Scene()
        scene.hear("a", busy=None, issues=("unreachable",))
        self.assertEqual(scene.doubted, [])

    def test_stale(self) -> None:
        """An agent that says nothing more doubts nothing more."""
        for issue in ("timeout", "unreachable"):
            scene = Scene()
            scene.hear("a")
            request = scene.ask()
            scene.hear("a", busy=None, issues=(issue,))
            self.assertEqual(scene.leases[request].upstream.doubt, issue)
            scene.wait(3.6)
            self.assertEqual(scene.doubted, ["a", "a"], issue)
            self.assertIsNone(scene.leases[request].upstream.doubt)
            scene.hear("a", busy=None, issues=(issue,))
            self.assertEqual(scene.doubted, ["a", "a", "a"], issue)

    def test_stale_without_doubt(self) -> None:
        """One that was never doubted is nothing to tell of."""
        scene = Scene()
        scene.hear("a")
        scene.wait(100)
        self.assertEqual(scene.doubted, [])

    def test_forgotten_and_back(self) -> None:
        """One with requests that run on is told of when its agent is back and doubts it."""
        scene = Scene()
        scene.hear("a")
        scene.ask()
        scene.leave("a")
        scene.hear("a", busy=None, issues=("unreachable",))
        self.assertEqual(scene.doubted, ["a"])
