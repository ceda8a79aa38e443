"""Slots by what each prompt would cost everybody where: `paddler.scheduling.toll`."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from paddler.errors import QueueFull
from paddler.facts import Facts
from paddler.prompts import Prompt
from paddler.scheduling.decisions import KEPT
from paddler.scheduling.lines import Need, Waiter
from paddler.scheduling.policies import Prefix
from paddler.scheduling.scheduler import Scheduler
from paddler.scheduling.slots import Lease
from paddler.scheduling.toll import Toll
from paddler.values import Model
from tests.scenes import QUARANTINE, Scene

BOUND = 20.0
#: Bytes of each block of a prompt here, and tokens of it.
BLOCK, TOKENS = 4000, 1000


def prompt(*blocks: str, size: int = BLOCK, session: int | None = None) -> Prompt:
    """A prompt of these blocks."""
    chain = [hash(blocks[: i + 1]) for i in range(len(blocks))]
    ends = [size * (i + 1) for i in range(len(blocks))]
    return Prompt(chain, ends, size * len(blocks), 0, session)


class TollCase(SynchronousTestCase):
    """A scheduler with the policy."""

    def setUp(self) -> None:
        self.scene = Scene()
        self.scene.scheduler = self.scheduler(Prefix(BOUND))

    def scheduler(self, policy: Prefix, seed: int = 1) -> Scheduler:
        """One of nobody and nothing."""
        return Scheduler(policy, Random(seed), 1000, 3, QUARANTINE)

    @property
    def toll(self) -> Toll:
        """What grants."""
        granting = self.scene.scheduler._granting
        assert isinstance(granting, Toll)
        return granting

    def ask(
        self, *blocks: str, weight: int = 1, model: str | None = None, size: int = BLOCK
    ) -> Waiter:
        """A request with a prompt comes, in the way in which the balancer asks."""
        scene = self.scene
        known = prompt(*blocks, size=size) if blocks else None
        waiter = Waiter(weight, scene.now, Need(model), known)
        lease = scene.scheduler.grant_at_once(waiter, scene.now)
        if lease is None:
            scene.took(scene.scheduler.request(waiter, scene.now))
        else:
            scene.leases[waiter] = lease
        return waiter

    def end(self, waiter: Waiter, cached: int = 0, speed: float = 500.0) -> None:
        """It is answered, whole."""
        lease, now = self.scene.leases[waiter], self.scene.now
        self.scene.scheduler.answers(lease, now)
        evaluated = (waiter.prompt.size // 4 if waiter.prompt else 0) - cached
        facts = Facts(cached, evaluated, 10, speed, 20.0)
        self.scene.took(self.scene.scheduler.release(lease, now, facts))

    def has(self, waiter: Waiter) -> str | None:
        """Who has it; None: nobody."""
        lease = self.scene.leases.get(waiter)
        return None if lease is None else lease.upstream.name


class ChoosingTests(TollCase):
    """Where a prompt goes."""

    def test_next_turn(self) -> None:
        """A chat goes on where it was, though others have more idle slots."""
        for name in "abc":
            self.scene.hear(name, slots=4)
        first = self.ask("s", "u")
        where = self.has(first)
        self.end(first)
        for turn in range(6):
            self.ask(f"other {turn}")
        blocks = ["s", "u"]
        for turn in range(5):
            blocks += [f"a{turn}", f"u{turn}"]
            going_on = self.ask(*blocks)
            self.assertEqual(self.has(going_on), where)
            self.end(going_on, cached=TOKENS * (len(blocks) - 2))

    def test_new_chats(self) -> None:
        """New chats spread over those with idle slots."""
        for name in "abc":
            self.scene.hear(name, slots=2)
        chats = [self.ask(f"chat {n}", "u") for n in range(6)]
        self.assertEqual(sorted(map(str, map(self.has, chats))), ["a", "a", "b", "b", "c", "c"])

    def test_waits_for_its_server(self) -> None:
        """Where its own is full, a long chat waits for it and a short one does not."""
        self.scene.hear("a", slots=1)
        long, short = self.ask(*"stuvwxyz"), None
        self.end(long)
        self.scene.hear("b", slots=1)
        self.scene.hear("c", slots=1)
        running = self.ask(*"stuvwxyz", "more")
        self.assertEqual(self.has(running), "a")
        self.scene.now += 10.0
        self.scene.scheduler.answers(self.scene.leases[running], self.scene.now)
        waits = self.ask(*"stuvwxyz", "less")
        self.assertIsNone(self.has(waits))
        short = self.ask("short", size=400)
        self.assertIn(self.has(short), ("b", "c"))
        self.end(running)
        self.assertEqual(self.has(waits), "a")

    def test_shared_system_prompt(self) -> None:
        """What many chats begin with does not bind them all to the first server that had it."""
        for name in "abcd":
            self.scene.hear(name, slots=4)
        chats = [self.ask("system", f"chat {n}", size=800) for n in range(12)]
        self.assertEqual({self.has(chat) for chat in chats}, set("abcd"))

    def test_speed(self) -> None:
        """A server that is known to be slow gets fewer; an unknown one is as the others are."""
        self.scene.hear("slow", slots=8)
        for n in range(9):
            self.end(self.ask(f"s{n}"), speed=50.0)
        self.scene.hear("quick", slots=8)
        self.scene.hear("slow", slots=8)
        paces = self.toll.paces
        quick = next(u for u in self.scene.scheduler._fleet.upstreams if u.name == "quick")
        self.assertEqual(paces.speed(paces.of(quick)), 50.0)
        paces.learn(quick, Facts(0, 500, 10, 5000.0, 20.0))
        for n in range(6):
            self.assertEqual(self.has(self.ask(f"new {n}", "x")), "quick")

    def test_slow_at_first(self) -> None:
        """A server whose first answer was slow is not left out for ever at little load."""
        for name in "abc":
            self.scene.hear(name, slots=4, interval_s=6000.0)
        went: list[str | None] = []
        for n in range(120):
            # Four at a time, every five seconds.
            asked = [self.ask(f"{who} {n}", "x") for who in "stuv"]
            for waiter in asked:
                where = self.has(waiter)
                self.end(waiter, speed=5.0 if where == "a" and n == 0 else 500.0)
                went.append(where)
            self.scene.now += 5.0
        self.assertIn("a", went[:4])
        self.assertNotIn("a", went[4:24])
        self.assertGreater(went[-100:].count("a"), 20)

    def test_session(self) -> None:
        """A session that is named goes where it was, whatever its text looks like."""
        for name in "abc":
            self.scene.hear(name, slots=4)
        scene = self.scene
        where = set()
        for turn in range(6):
            self.ask(f"other {turn}")
            known = prompt(f"text {turn}", "x", session=7)
            lease = scene.scheduler.grant_at_once(Waiter(1, scene.now, prompt=known), scene.now)
            assert lease is not None
            where.add(lease.upstream.name)
            scene.took(scene.scheduler.release(lease, scene.now, Facts(1990, 10, 10)))
        self.assertEqual(len(where), 1)

    def test_other_models(self) -> None:
        """Who waits for one model keeps nobody from another."""
        self.scene.hear("a", slots=1, models=("m",))
        self.scene.hear("b", slots=1, models=("n",))
        self.ask("x", model="m")
        waits = [self.ask(f"y{n}", model="m") for n in range(50)]
        self.assertEqual(self.has(self.ask("z", model="n")), "b")
        self.assertEqual({self.has(waiter) for waiter in waits}, {None})

    def test_sleeping(self) -> None:
        """One that sleeps is woken when none that is awake has room, and has nothing cached."""
        self.scene.hear("a", slots=1)
        self.scene.hear("b", slots=1, sleeping=True)
        first = self.ask("s", "u")
        self.assertEqual(self.has(first), "a")
        self.assertEqual(self.has(self.ask("t", "u")), "b")

    def test_many_upstreams(self) -> None:
        """Among hundreds of servers the one that has the chat is found."""
        for n in range(300):
            self.scene.hear(f"gpu-{n}", slots=2)
        chats = [self.ask(f"chat {n}", "u") for n in range(200)]
        where = list(map(self.has, chats))
        self.assertGreater(len(set(where)), 150)
        for chat in chats:
            self.end(chat)
        again = [self.has(self.ask(f"chat {n}", "u", "a", "v")) for n in range(200)]
        self.assertGreater(sum(a == b for a, b in zip(where, again, strict=True)), 195)

    def test_many_waiting_for_theirs(self) -> None:
        """Among many servers, too, those who wait for theirs get it in the moment it has room."""
        for n in range(20):
            self.scene.hear(f"gpu-{n}", slots=1, interval_s=600.0)
        chats = [self.ask(*f"{n}tuvwxyz") for n in range(20)]
        where = list(map(self.has, chats))
        for chat in chats[:15]:
            self.end(chat)
        again = [self.ask(*f"{n}tuvwxyz", "more") for n in range(15)]
        self.assertEqual(list(map(self.has, again)), where[:15])
        self.end(chats[15])
        self.scene.now += 10.0
        for chat in again:
            self.scene.scheduler.answers(self.scene.leases[chat], self.scene.now)
        waits = [self.ask(*f"{n}tuvwxyz", "less") for n in range(15)]
        self.assertEqual(set(map(self.has, waits)), {None})
        for n in (3, 11, 7):
            self.scene.now += 0.01
            self.end(again[n])
            self.assertEqual(self.has(waits[n]), where[n])

    def test_without_prompts(self) -> None:
        """Requests without prompts are granted as by idle slots, with the same chance."""
        granted = []
        for policy in (None, Prefix()):
            self.scene = Scene(seed=5)
            if policy is not None:
                self.scene.scheduler = self.scheduler(policy, seed=5)
            for name in "abcd":
                self.scene.hear(name, slots=3)
            waiters = [self.scene.ask(weight) for weight in (1, 2, 1, 1, 3, 1, 1, 2, 1, 1)]
            for waiter in waiters[:4]:
                self.scene.end(waiter)
            granted.append([self.has(waiter) for waiter in waiters])
        self.assertEqual(granted[0], granted[1])


class ForgettingTests(TollCase):
    """Servers whose caches are gone."""

    def waiting_for_a(self) -> Waiter:
        """Somebody who waits for the full server that has its chat, with another one idle."""
        self.scene.hear("a", slots=1, n_ctx=16384, models=("m",))
        self.end(self.ask(*"stuvwxyz"))
        running = self.ask(*"stuvwxyz", "more")
        self.scene.hear("b", slots=1)
        self.scene.now += 10.0
        self.scene.scheduler.answers(self.scene.leases[running], self.scene.now)
        waits = self.ask(*"stuvwxyz", "less")
        self.assertIsNone(self.has(waits))
        return waits

    def test_restart_seen(self) -> None:
        """Nobody waits for a cache that is gone, by what an agent says of its server."""
        for told in (
            {"issues": ("unreachable",)},
            {"issues": ("loading",)},
            {"n_ctx": 512},
            {"models": ("other",)},
            {"sleeping": True},
        ):
            self.setUp()
            waits = self.waiting_for_a()
            self.scene.hear("a", slots=1, **told)
            self.assertEqual(self.has(waits), "b", told)

    def test_not_known_for_now(self) -> None:
        """A report that says less than the one before says nothing of the cache."""
        waits = self.waiting_for_a()
        self.scene.hear("a", slots=0, issues=("timeout",))
        self.scene.hear("a", slots=1, busy=1)
        self.assertGreater(self.toll.heads.used, 0)
        self.scene.now += 0.1
        again = self.ask("t", "u", size=400)
        self.assertIsNotNone(again)
        kept = [self.toll.heads.kept(u)[0] for u in self.scene.scheduler._fleet.upstreams]
        self.assertGreater(kept[0], 8 * TOKENS)
        self.scene.cancel(waits)

    def test_died(self) -> None:
        """A server that died with a request has nothing any more."""
        waits = self.waiting_for_a()
        running = next(w for w in self.scene.leases if self.has(w) == "a" and not self.over(w))
        self.scene.fail(running, "died", back=True)
        self.assertEqual(self.has(waits), "b")

    def over(self, waiter: Waiter) -> bool:
        """It has ended."""
        return self.scene.leases[waiter].ended

    def test_refused(self) -> None:
        """A prompt that is too long for a server pushes nothing out there, and is not there."""
        self.scene.hear("a", slots=2, n_ctx=8192)
        chats = [self.ask(f"chat {n}", "x", "y") for n in range(10)]
        for n, waiter in enumerate(chats):
            if n >= 2:
                self.assertIsNone(self.has(waiter))
        for waiter in chats:
            self.end(waiter)
        heads, (upstream,) = self.toll.heads, self.scene.scheduler._fleet.upstreams
        before, _ = heads.kept(upstream)
        long = self.ask(*(f"long {n}" for n in range(500)))
        self.scene.took(self.scene.scheduler.release(self.scene.leases[long], self.scene.now))
        self.assertEqual(heads.kept(upstream)[0], before)
        self.assertEqual(before, 30 * TOKENS + 10 * 10)

    def test_errors_say_nothing_of_the_time(self) -> None:
        """What is refused at once says nothing of how long requests hold their slots."""
        self.scene.hear("a", slots=2)
        (upstream,) = self.scene.scheduler._fleet.upstreams
        for blocks in ((), ("x", "y")):
            for _ in range(100):
                waiter = self.ask(*blocks)
                self.scene.now += 0.001
                lease = self.scene.leases[waiter]
                self.scene.took(self.scene.scheduler.release(lease, self.scene.now))
        self.assertIsNone(self.toll.paces.of(upstream).hold)

    def test_agent_leaves(self) -> None:
        """With its agent goes all that was known of a server."""
        waits = self.waiting_for_a()
        self.scene.leave("a")
        self.assertEqual(self.has(waits), "b")
        self.assertEqual(len(self.toll.paces._paces), 1)

    def test_nothing_is_left(self) -> None:
        """When all has ended and everybody has left, nothing is kept."""
        waits = self.waiting_for_a()
        self.scene.cancel(waits)
        for waiter in list(self.scene.leases):
            if not self.over(waiter):
                self.end(waiter)
        for name in "ab":
            self.scene.leave(name)
        toll = self.toll
        self.assertEqual((toll.heads.used, toll.paces._paces), (0, {}))


class FairnessTests(TollCase):
    """Who is passed over."""

    def hear(self, name: str, slots: int = 1, busy: int = 0) -> None:
        """A report of an agent that is missed only much later."""
        self.scene.hear(name, slots=slots, busy=busy, interval_s=600.0)

    def passed_over(self) -> Waiter:
        """Somebody who waits by its own choice with a slot free."""
        self.hear("a")
        self.end(self.ask(*"stuvwxyz"))
        running = self.ask(*"stuvwxyz", "more")
        self.hear("b")
        self.scene.now += 10.0
        self.scene.scheduler.answers(self.scene.leases[running], self.scene.now)
        return self.ask(*"stuvwxyz", "less")

    def test_bound(self) -> None:
        """Who could have had a slot for as long as the bound gets the next, whichever it is."""
        waits = self.passed_over()
        scene = self.scene
        since = scene.now
        for _ in range(3):
            scene.now += BOUND / 4
            self.hear("a")
            self.hear("b")
            self.assertIsNone(self.has(waits))
            due = scene.scheduler.next_event
            assert due is not None
            self.assertLessEqual(due, since + BOUND)
        scene.now = since + BOUND
        scene.took(scene.scheduler.pass_time(scene.now))
        self.assertEqual(self.has(waits), "b")
        decision = list(self.toll.decisions)[-1]
        self.assertEqual((decision.why, decision.waited_seconds), ("fairness", BOUND))

    def test_heavy_among_many(self) -> None:
        """What takes all of a small server is granted that, though larger ones have more idle."""
        for _ in range(2):
            for number in range(20):
                self.hear(f"large {number}", slots=8, busy=4)
            self.scene.now += 1.0
        for blocks in (("x", "y"), ()):
            self.hear("small", slots=2)
            self.assertEqual(self.has(heavy := self.ask(*blocks, weight=8)), "small")
            self.end(heavy)

    def test_longer_than_it_costs(self) -> None:
        """Nobody waits for much longer than evaluating its prompt elsewhere would have taken."""
        self.hear("a")
        for n in range(60):
            self.end(self.ask(f"quick {n}"))
        self.end(self.ask("s", "t", size=2000))
        running = self.ask("s", "t", "more", size=2000)
        self.hear("b")
        self.scene.now += 5.0
        self.scene.scheduler.answers(self.scene.leases[running], self.scene.now)
        waits = self.ask("s", "t", "less", size=2000)
        self.assertIsNone(self.has(waits))
        for _ in range(12):
            self.scene.now += 1.0
            self.hear("a", busy=1)
        self.assertEqual(self.has(waits), "b")

    def test_behind_many_who_wait(self) -> None:
        """Whom something free suits gets it, however many wait by choice before it."""
        for name in "abc":
            self.hear(name, slots=4)
        large = [f"large {n}" for n in range(120)]
        self.end(self.ask(*large))
        running = [self.ask(*large, f"running {n}") for n in range(4)]
        where = {self.has(waiter) for waiter in running}
        self.assertEqual(len(where), 1)
        waiting = [self.ask(*large, f"waits {n}") for n in range(60)]
        self.assertEqual({self.has(waiter) for waiter in waiting}, {None})
        for waiter in (self.ask("new"), self.ask()):
            self.assertNotIn(self.has(waiter), {None, *where})

    def test_nobody_may_wait(self) -> None:
        """Where there is no place to wait, what is free is better than nothing."""
        self.scene.scheduler = Scheduler(Prefix(BOUND), Random(1), 0, 3, QUARANTINE)
        self.assertEqual(self.has(self.passed_over()), "b")
        self.assertRaises(QueueFull, self.ask, "any")

    def test_no_timer_for_nobody(self) -> None:
        """Where nobody is passed over, time changes nothing."""
        waits = self.passed_over()
        self.scene.cancel(waits)
        self.assertIsNone(self.toll.due)

    def test_in_order(self) -> None:
        """Those who were passed over for too long come as they arrived."""
        self.hear("a")
        running = self.ask("r")
        dear = [self.ask(*f"{n}stuvwxyz") for n in range(3)]
        cheap = [self.ask(f"cheap {n}", size=80) for n in range(3)]
        order = []
        for _ in range(6):
            self.end(running)
            running = next(w for w in (*dear, *cheap) if self.has(w) and w not in order)
            order.append(running)
            self.scene.now += BOUND / 2
            self.hear("a", busy=1)
        self.assertEqual(order[:1], cheap[:1])
        dear_order = [waiter for waiter in order if waiter in dear]
        self.assertEqual(dear_order, dear)
        self.assertLess(order.index(dear[0]), order.index(cheap[2]))

    def test_heavy(self) -> None:
        """A request that needs several slots gets them, though lighter ones keep coming."""
        for name in "ab":
            self.hear(name, slots=2)
        light = [self.ask(f"light {n}", size=80) for n in range(4)]
        heavy = self.ask("heavy", weight=2)
        for step in range(6):
            self.scene.now += 1.0
            light.append(self.ask(f"more {step}", size=80))
            running = next(w for w in light if self.has(w) and not self.over(w))
            self.end(running)
            if self.has(heavy) is not None:
                break
        self.assertIsNotNone(self.has(heavy))

    def over(self, waiter: Waiter) -> bool:
        """It has ended."""
        return self.scene.leases[waiter].ended


class DecisionTests(TollCase):
    """Why requests went where they went."""

    def whys(self) -> list[str]:
        """The reasons, the oldest first."""
        return [decision.why for decision in self.toll.decisions]

    def test_reasons(self) -> None:
        """New chats, chats that go on, and those that go elsewhere as theirs is busy."""
        self.scene.hear("a", slots=1)
        first = self.ask("s", "u")
        self.end(first)
        self.scene.hear("b", slots=1)
        again = self.ask("s", "u", "v")
        self.assertEqual(self.has(again), "a")
        short = self.ask("s", "w", size=400)
        self.assertEqual(self.has(short), "b")
        self.end(short)
        self.ask("s", "u", size=400)
        self.assertEqual(self.whys()[:2], ["new", "prefix"])
        last = list(self.toll.decisions)[-1]
        self.assertEqual((last.agent, last.why), ("b", "load"))
        self.assertLess(last.cached_tokens, last.most_cached_tokens)
        self.assertEqual(last.next_agent, "a")
        assert last.cost_seconds is not None and last.next_cost_seconds is not None
        self.assertLess(last.cost_seconds, last.next_cost_seconds)
        self.assertRegex(
            last.reason,
            r"Somebody had 100 % of its prompt, but would have cost more or could not take it\. "
            r"It cost \d+ ms there, and \d\.\d s at the next best\.",
        )

    def test_costs(self) -> None:
        """What it cost and would have cost elsewhere, as far as anybody asked."""
        self.scene.hear("a", slots=2, models=("m",))
        self.end(self.ask("s", "u"))
        self.scene.hear("b", slots=2, models=("m",))
        self.end(self.ask("s", "u", "v"))
        self.end(self.ask("x", "y"))
        self.ask(model="m")
        only, clearly, new, none = self.toll.decisions
        self.assertEqual((only.why, only.cost_seconds, only.next_cost_seconds), ("new", 4.0, None))
        self.assertIn("It cost 4.0 s there; no other server could take it.", only.reason)
        self.assertEqual((clearly.agent, clearly.why, clearly.next_agent), ("a", "prefix", None))
        self.assertIn("It cost 2.0 s there, and at least 6.0 s anywhere else.", clearly.reason)
        self.assertEqual({new.agent, new.next_agent}, {"a", "b"})
        self.assertEqual((new.cost_seconds, new.next_cost_seconds), (4.0, 4.0))
        self.assertEqual((none.why, none.model, none.cost_seconds), ("idle", "m", None))
        self.assertEqual(none.reason, "It has no prompt to go by: most idle slots first.")

    def test_next_best(self) -> None:
        """The next best is one that could have had it: not one that drains."""
        for name in "abc":
            self.scene.hear(name, slots=1)
        chat = self.ask(*"stuvwxyz")
        where = self.has(chat)
        self.end(chat)
        self.scene.drain(str(where))
        self.ask(*"stuvwxyz", "more")
        told = list(self.toll.decisions)[-1]
        self.assertNotIn(where, (told.agent, told.next_agent))
        self.assertIsNotNone(told.next_agent)
        self.assertTrue(told.reason.startswith("Somebody had 89 % of its prompt, but would have "))

    def test_model(self) -> None:
        """Where none is named, the server's is told, if it has one."""
        aliased = Model("m", ("alias",))
        for details, told in (((aliased,), "m"), ((Model("m"), Model("n")), None), ((), None)):
            self.setUp()
            self.scene.hear("a", model_details=details)
            self.ask("s")
            self.assertEqual([each.model for each in self.toll.decisions], [told])

    def test_conversation(self) -> None:
        """Where a conversation is there is no choice."""
        self.scene.hear("a")
        self.scene.hear("b")
        upstream = next(u for u in self.scene.scheduler._fleet.upstreams if u.name == "b")
        waiter = Waiter(1, self.scene.now, Need(where=upstream), prompt("s"))
        self.scene.scheduler.grant_at_once(waiter, self.scene.now)
        (told,) = self.toll.decisions
        self.assertEqual((told.agent, told.why), ("b", "conversation"))
        self.assertTrue(told.reason.startswith("Its conversation is there. It cost "))

    def test_few_are_kept(self) -> None:
        """Only the last are told, the newest first."""
        self.scene.hear("a", slots=1)
        for n in range(KEPT + 50):
            self.end(self.ask(f"s{n}"))
        told = self.scene.scheduler.decisions()
        self.assertEqual((len(told), told[0].prompt_tokens), (KEPT, TOKENS))


class RandomTests(TollCase):
    """Anything, in any order."""

    def test_laws(self) -> None:
        """Nothing is granted that is not there, everybody is served, and nothing is left."""
        for seed in range(8):
            self.setUp()
            self.walk(Random(seed))

    def walk(self, random: Random) -> None:
        """Some thousand steps."""
        scene, asked, ended = self.scene, [], set()
        for step in range(600):
            scene.now += random.choice((0.0, 0.01, 0.3, 2.0))
            kind = random.random()
            running = [w for w in scene.leases if w not in ended]
            if kind < 0.1:
                name = random.choice("abcd")
                issues = random.choice(((), (), (), (), ("unreachable",)))
                slots = random.choice((2, 2, 2, 4))
                scene.hear(name, slots=slots, issues=issues, busy=None, interval_s=600.0)
            elif kind < 0.6 and len(asked) - len(scene.leases) < 60:
                chat = random.randrange(30)
                blocks = ["s" * (chat % 3), str(chat), *map(str, range(random.randrange(9)))]
                weight = random.choice((1, 1, 1, 1, 2, 9))
                known = blocks if random.random() < 0.9 else []
                asked.append(self.ask(*known, weight=weight))
            elif running:
                waiter = random.choice(running)
                if random.random() < 0.1:
                    del scene.leases[waiter]
                    lease = self.lease_of(waiter)
                    scene.took(
                        scene.scheduler.fault(
                            lease.upstream, "refused", waiter, "it", scene.now, lease, waiter
                        )
                    )
                else:
                    ended.add(waiter)
                    self.end(waiter, cached=random.choice((0, 0, 100)))
            self.leases = dict(scene.leases)
            scene.took(scene.scheduler.pass_time(scene.now))
            self.leases = dict(scene.leases)
            due = self.toll.due
            self.assertTrue(due is None or due > scene.now, step)
            for upstream in scene.scheduler._fleet._by_address.values():
                own = [
                    w
                    for w in scene.leases
                    if w not in ended and self.leases[w].upstream is upstream
                ]
                self.assertEqual(upstream.in_flight, sum(self.leases[w].slots for w in own))
            running = [self.leases[w] for w in scene.leases if w not in ended and w.prompt]
            for upstream, pace in self.toll.paces._paces.items():
                unanswered = sum(lease.upstream is upstream for lease in running)
                self.assertEqual(pace.unanswered, unanswered, step)
        self.serve_all(asked, ended)

    def lease_of(self, waiter: Waiter) -> Lease:
        """As it was before the last step."""
        return self.leases[waiter]

    def serve_all(self, asked: list[Waiter], ended: set[Waiter]) -> None:
        """With servers that are well everybody is served, and no slot stays free meanwhile."""
        scene = self.scene
        for name in "abcd":
            scene.hear(name, slots=2, busy=None, interval_s=600.0)
        for _ in range(5 * len(asked)):
            running = [w for w in scene.leases if w not in ended]
            if not running:
                break
            ended.add(running[0])
            self.end(running[0])
            scene.now += BOUND
            scene.took(scene.scheduler.pass_time(scene.now))
        self.assertEqual(len(ended), len(asked))
        self.assertFalse(any(p.unanswered for p in self.toll.paces._paces.values()))
