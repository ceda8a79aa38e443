"""Tests for paddler.agent.pace, on a simulated llama-server."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.llamacpp import Slots
from paddler.agent.pace import SHORTEST, SlotsPace


@attrs.define
class Sleeper:
    """A llama-server that sleeps after `idle_time` seconds without a task; None: never."""

    idle_time: float | None
    last_task: float = 0.0
    tasks: int = 0
    busy_until: float = 0.0

    def asleep(self, now: float) -> bool:
        since = max(self.last_task, self.busy_until)
        return self.idle_time is not None and now - since >= self.idle_time

    def work(self, now: float, seconds: float = 0.0) -> None:
        self.last_task, self.busy_until, self.tasks = now, now + seconds, self.tasks + 1

    def slots(self, now: float) -> Slots:
        self.last_task = max(self.last_task, now)
        return Slots(total=1, busy=int(now < self.busy_until), tasks=(self.tasks,))


@attrs.define
class Run:
    """Ticks of an agent with an interval of half a second."""

    sleeper: Sleeper
    pace: SlotsPace = attrs.field(factory=SlotsPace)
    now: float = 0.0
    asked: list[float] = attrs.field(factory=list)
    fell_asleep: list[float] = attrs.field(factory=list)
    was_asleep: bool = False

    def until(self, end: float, *, can_sleep: bool = True) -> None:
        while self.now < end:
            asleep = can_sleep and self.sleeper.asleep(self.now)
            if asleep and not self.was_asleep:
                self.fell_asleep.append(self.now)
            self.was_asleep = asleep
            self.pace.seen(self.now, asleep=asleep)
            due = self.pace.seconds_until_due(self.now, can_sleep=can_sleep) <= 0
            if due and not asleep:
                self.pace.asked(self.now)
                self.pace.answered(self.sleeper.slots(self.now))
                self.asked.append(self.now)
            self.now += 0.5

    def pauses(self, since: float = 0.0) -> list[float]:
        asked = [at for at in self.asked if at >= since]
        return [after - before for before, after in zip(asked, asked[1:], strict=False)]


class SlotsPaceTests(SynchronousTestCase):
    """When /slots is asked for."""

    def test_cannot_sleep(self) -> None:
        """A version without sleep is asked every two seconds for ever."""
        run = Run(Sleeper(None))
        run.until(600, can_sleep=False)
        self.assertEqual(set(run.pauses()), {SHORTEST})

    def test_falls_asleep(self) -> None:
        """Whatever the idle time is, an idle server falls asleep, within four times as long."""
        for idle_time in (1, 2, 3, 5, 10, 60, 300, 900, 1800):
            run = Run(Sleeper(idle_time))
            run.until(4 * idle_time + 10)
            self.assertEqual(len(run.fell_asleep), 1, idle_time)
            asleep_at = run.fell_asleep[0]
            self.assertTrue(all(at < asleep_at for at in run.asked), idle_time)

    def test_falls_asleep_on_time_once_known(self) -> None:
        """The second time it falls asleep a few seconds after its time."""
        run = Run(Sleeper(60))
        run.until(300)
        run.sleeper.work(300.0, seconds=20)
        run.until(500)
        self.assertEqual(len(run.fell_asleep), 2)
        self.assertLessEqual(run.fell_asleep[1], 320 + 60 + 10)

    def test_work_is_followed(self) -> None:
        """While it works it is asked every two seconds, although it can sleep."""
        run = Run(Sleeper(60, busy_until=100.0))
        run.until(100)
        self.assertEqual(set(run.pauses()), {SHORTEST})

    def test_work_between_samples_is_noticed(self) -> None:
        """Requests so short that no sample meets them keep it from becoming rare."""
        run = Run(Sleeper(60))
        for second in range(100):
            run.sleeper.work(float(second))
            run.until(second + 1)
        self.assertLessEqual(max(run.pauses()), 2.5)

    def test_work_after_long_idleness(self) -> None:
        """Once a sample shows work again, the pace is back."""
        run = Run(Sleeper(None))
        run.until(100)
        run.sleeper.work(100.0, seconds=200)
        run.until(300)
        self.assertLessEqual(max(run.pauses(since=160)), 2.0)

    def test_in_use(self) -> None:
        """While the balancer has slots in use there, it is asked often however idle it looked."""
        run = Run(Sleeper(None))
        run.until(600)
        self.assertGreater(max(run.pauses()), 60)
        for _ in range(20):
            run.pace.in_use()
            run.until(run.now + 1)
        self.assertLessEqual(max(run.pauses(since=run.now - 15)), SHORTEST + 0.5)

    def test_one_that_never_sleeps(self) -> None:
        """After an hour's pause without sleep it is asked every two seconds again."""
        run = Run(Sleeper(None))
        run.until(4 * 3600)
        self.assertLessEqual(max(run.pauses(since=3.5 * 3600)), SHORTEST)

    def test_woken(self) -> None:
        """What wakes it is work: it is asked soon after."""
        run = Run(Sleeper(3))
        run.until(30)
        self.assertTrue(run.was_asleep)
        run.sleeper.work(30.0)
        run.until(33)
        self.assertTrue(any(at >= 30 for at in run.asked))

    def test_another_process(self) -> None:
        """A new process starts anew, but is not asked sooner than after two seconds."""
        pace = SlotsPace(asked_at=10.0)
        self.assertEqual(pace.seconds_until_due(11.0, can_sleep=True), 1.0)
