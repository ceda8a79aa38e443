"""Who is believed to have how much of a prompt."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from paddler.facts import Facts
from paddler.prompts import Prompt
from paddler.scheduling.beginnings import Beginnings
from paddler.scheduling.caches import TOKENS_KEPT
from paddler.scheduling.heads import HOLDERS, Heads, Seen
from paddler.scheduling.slots import Upstream
from tests.scenes import new_upstream, report

MUCH = 2**30
#: Bytes of each block here, and tokens of it.
BLOCK, TOKENS = 400, 100.0
#: Bytes of what is too short for one, and tokens of it.
SHORT, FEW = 40, 10.0


def prompt(
    *blocks: str, last: int = BLOCK, session: int | None = None, tails: tuple[str, ...] = ()
) -> Prompt:
    """A prompt of these blocks, and behind them of what is too short for one."""
    chain = [hash(blocks[: i + 1]) for i in range(len(blocks))]
    ends = [BLOCK * (i + 1) for i in range(len(blocks))]
    behind = [hash((blocks, tails[: i + 1])) for i in range(len(tails))]
    size = BLOCK * len(blocks) + SHORT * len(tails)
    return Prompt(chain, ends, size, last if len(blocks) > 1 else 0, session, behind)


class HeadsCase(SynchronousTestCase):
    """Some upstreams and a memory."""

    def setUp(self) -> None:
        self.a, self.b, self.c = (new_upstream(report(name)) for name in "abc")
        self.heads = Heads(MUCH)

    def send(self, upstream: Upstream, *blocks: str, session: int | None = None) -> Seen:
        """A prompt goes to an upstream; its answer has no tokens."""
        seen = self.heads.see(prompt(*blocks, session=session))
        self.held = self.heads.sent(seen, upstream)
        return seen

    def missing(self, upstream: Upstream, *blocks: str) -> float:
        """The tokens that it would have to evaluate."""
        return sum(self.heads.missing(self.heads.see(prompt(*blocks)), upstream))


class MatchTests(HeadsCase):
    """The longest match."""

    def test_nobody(self) -> None:
        """What was never sent anywhere is to be evaluated anywhere, and for this chat alone."""
        seen = self.heads.see(prompt("s", "u"))
        self.assertEqual(seen.there, {})
        self.assertEqual(self.heads.missing(seen, self.a), (2 * TOKENS, 0.0))

    def test_longest(self) -> None:
        """Each upstream has to evaluate what it has not seen."""
        self.send(self.a, "s", "u1", "a1", "u2")
        self.send(self.b, "s", "v1")
        for blocks, a, b, c in (
            (("s", "u1", "a1", "u2", "a2", "u3"), 2, 5, 6),
            (("s", "w"), 1, 1, 2),
            (("t", "u1"), 2, 2, 2),
        ):
            for upstream, missing in ((self.a, a), (self.b, b), (self.c, c)):
                self.assertEqual(self.missing(upstream, *blocks), missing * TOKENS, blocks)

    def test_all_there(self) -> None:
        """A token at least is always evaluated."""
        for blocks in (("s",), ("s", "u1"), ("s", "u1", "a1")):
            self.send(self.a, *blocks)
            self.assertEqual(self.missing(self.a, *blocks), 1.0)

    def test_answer(self) -> None:
        """What a server answered is there too."""
        self.send(self.a, "s", "u1")
        assert self.held is not None
        self.heads.answered(self.held, Facts(0, 200, 90))
        self.assertEqual(self.missing(self.a, "s", "u1", "a1", "u2"), 110.0)
        # The last message is new, however much was thought before the answer.
        self.heads.answered(self.held, Facts(0, 200, 900))
        self.assertEqual(self.missing(self.a, "s", "u1", "a1", "u2"), TOKENS)

    def test_many_holders(self) -> None:
        """Of very many holders some are found, and of the others it is told when asked."""
        upstreams = [new_upstream(report(f"u{n}")) for n in range(3 * HOLDERS)]
        for upstream in upstreams:
            self.send(upstream, "s", upstream.name)
        seen = self.heads.see(prompt("s", "mine"))
        self.assertEqual((len(seen.there), seen.whole), (HOLDERS, False))
        for upstream in (*upstreams, self.a):
            missing = sum(self.heads.missing(seen, upstream))
            self.assertEqual(missing, (1 + (upstream is self.a)) * TOKENS)

    def test_short(self) -> None:
        """A prompt without a block is not remembered."""
        self.assertIsNone(self.heads.sent(self.heads.see(Prompt([], [], 20)), self.a))
        self.assertEqual(self.heads.used, 0)

    def test_session(self) -> None:
        """A session's last server is known by its name, whatever its text looks like."""
        self.send(self.a, "s", "u1", session=7)
        seen = self.heads.see(prompt("t", "u1", "a1", session=7))
        self.assertEqual(sum(self.heads.missing(seen, self.a)), TOKENS)
        self.assertEqual(sum(self.heads.missing(seen, self.b)), 3 * TOKENS)
        other = self.heads.see(prompt("t", "u1", "a1", session=8))
        self.assertEqual(sum(self.heads.missing(other, self.a)), 3 * TOKENS)

    def test_one_name_for_all(self) -> None:
        """Where all chats are called alike, the name says nothing, and no chat is lost for it."""
        first = [f"first {n}" for n in range(9)]
        self.send(self.a, *first)
        for chat in range(9):
            self.send(self.a, *(f"{chat} {n}" for n in range(9)), session=7)
            assert self.held is not None
            self.heads.answered(self.held, Facts(0, 900, 0))
        seen = self.heads.see(prompt(*(f"new {n}" for n in range(9)), session=7))
        self.assertEqual(sum(self.heads.missing(seen, self.a)), 9 * TOKENS)
        self.assertEqual(self.missing(self.a, *first, "more"), TOKENS)
        self.assertNotIn(None, self.heads._no_sessions)

    def test_session_everywhere(self) -> None:
        """However many have a session, few of them are looked at."""
        for number in range(100):
            self.send(new_upstream(report(f"n{number}")), "s", str(number), session=7)
        seen = self.heads.see(prompt("t", session=7))
        self.assertLessEqual(len(seen.there), HOLDERS)
        self.assertLessEqual(len(self.heads.holders(seen)), 2 * HOLDERS)


class SharedTests(HeadsCase):
    """What other chats begin with too."""

    def shared(self, *blocks: str) -> float:
        """The tokens of a prompt that are."""
        return self.heads.see(prompt(*blocks)).shared

    def test_system_prompt(self) -> None:
        """What several chats began with is shared; what one went on with is not."""
        self.send(self.a, "s", "u1")
        self.assertEqual(self.shared("s", "w"), 0.0)
        self.send(self.a, "s", "v1")
        self.assertEqual(self.shared("s", "w"), TOKENS)
        self.assertEqual(self.shared("s", "u1", "a1"), 0.0)
        self.send(self.b, "s", "w")
        self.assertEqual(self.shared("s", "u1", "a1"), TOKENS)
        seen = self.heads.see(prompt("s", "x"))
        self.assertEqual(self.heads.missing(seen, self.a), (TOKENS, 0.0))
        self.assertEqual(self.heads.missing(seen, self.c), (TOKENS, TOKENS))

    def test_short_questions(self) -> None:
        """One long prompt behind which others ask short questions is shared, too."""
        for question in ("one", "two"):
            self.assertEqual(self.shared("s", "t"), 0.0)
            seen = self.heads.see(prompt("s", "t", tails=(question,)))
            self.held = self.heads.sent(seen, self.a)
        seen = self.heads.see(prompt("s", "t", tails=("three",)))
        self.assertEqual(seen.shared, 2 * TOKENS)
        self.assertEqual(self.heads.missing(seen, self.a), (FEW, 0.0))
        self.assertEqual(self.heads.missing(seen, self.b), (FEW, 2 * TOKENS))

    def test_one_chat_with_short_turns(self) -> None:
        """What one chat goes on with is no other chat's, however short it is."""
        said: tuple[str, ...] = ()
        for turn in range(6):
            said += (f"u{turn}", f"a{turn}")
            seen = self.heads.see(prompt("s", "t", tails=said, last=SHORT))
            self.assertEqual(seen.shared, 0.0)
            self.held = self.heads.sent(seen, self.a)
            assert self.held is not None
            self.heads.answered(self.held, Facts(0, 200 + 20 * (turn + 1), 5))
            again = self.heads.see(prompt("s", "t", tails=said, last=SHORT))
            self.assertEqual(sum(self.heads.missing(again, self.a)), FEW)

    def test_one_chat(self) -> None:
        """A chat shares nothing with itself, also where something is said anew in it."""
        for blocks in (("s",), ("s", "u1"), ("s", "u1", "a1", "u2"), ("s", "u1", "a1", "x2")):
            self.send(self.a, *blocks)
        self.assertEqual(self.shared("s", "u1", "a1", "u2", "a2"), 0.0)


class AgeTests(HeadsCase):
    """What is forgotten."""

    def test_least_recently_used(self) -> None:
        """Beyond what a cache holds, the least recently used is out first."""
        big = int(TOKENS_KEPT / TOKENS / 2)
        first = ["one"] * (big - 2)
        self.send(self.a, *first)
        self.send(self.a, *["two"] * (big - 2))
        self.send(self.a, *first, "more")
        self.send(self.a, *["three"] * 100)
        self.assertEqual(self.missing(self.a, "two", "two"), 2 * TOKENS)
        self.assertEqual(self.missing(self.a, "one", "two"), TOKENS)
        self.assertLessEqual(self.heads.kept(self.a)[0], TOKENS_KEPT)

    def test_goes_on(self) -> None:
        """A chat that goes on takes its own place, not another's."""
        blocks = ["s"]
        for turn in range(50):
            blocks.append(str(turn))
            self.send(self.a, *blocks)
            self.assertEqual(self.heads.kept(self.a)[0], len(blocks) * TOKENS)

    def test_forget(self) -> None:
        """A server that has restarted has nothing, and what was seen before says nothing."""
        self.send(self.a, "s", "u")
        self.send(self.b, "s", "u", session=7)
        before = self.heads.generation
        self.heads.forget(self.a)
        self.assertNotEqual(self.heads.generation, before)
        self.assertEqual(self.missing(self.a, "s", "u", "v"), 3 * TOKENS)
        self.assertEqual(self.missing(self.b, "s", "u", "v"), TOKENS)
        self.heads.forget(self.b)
        self.assertEqual(self.heads.used, 0)
        self.heads.forget(self.c)

    def test_bounded(self) -> None:
        """All together takes no more memory than it may, and says about what it takes."""
        limit = 400_000
        self.heads = Heads(limit)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for chat in range(2000):
            upstream = (self.a, self.b, self.c)[chat % 3]
            self.send(upstream, "s", str(chat), *map(str, range(chat % 17)), session=chat)
        self.held = None
        taken = tracemalloc.get_traced_memory()[0] - before
        self.assertLessEqual(self.heads.used, limit)
        self.assertGreater(self.heads.used, limit * 0.9)
        self.assertLess(taken, limit * 1.2)
        self.assertGreater(taken, limit * 0.4)


class AnswerTests(HeadsCase):
    """What answers put right."""

    def answer(self, upstream: Upstream, *blocks: str, cached: int, evaluated: int) -> None:
        """A prompt is sent and answered."""
        self.send(upstream, *blocks)
        assert self.held is not None
        self.heads.answered(self.held, Facts(cached, evaluated, 0))

    def test_bytes_per_token(self) -> None:
        """How many bytes a token has is learnt."""
        for chat in range(300):
            self.answer(self.a, str(chat), "u", "v", cached=0, evaluated=600)
        self.assertAlmostEqual(self.heads.bytes_per_token, 2.0, places=2)

    def test_no_sense(self) -> None:
        """One answer that makes no sense changes little of it."""
        for chat in range(300):
            self.answer(self.a, str(chat), "u", "v", cached=0, evaluated=300)
        self.answer(self.a, "odd", "u", "v", cached=2**40, evaluated=2**40)
        self.assertGreater(self.heads.bytes_per_token, 3.0)

    def test_restart_that_nobody_saw(self) -> None:
        """Several prompts in a row that were gone say that the others are gone too."""
        for chat in "klmnop":
            self.answer(self.a, chat, *"uvw", cached=0, evaluated=400)
            self.answer(self.b, chat, *"uvw", cached=0, evaluated=400)
        for chat in "klmn":
            self.assertEqual(self.missing(self.a, "p", *"uvwxy"), 2 * TOKENS)
            self.answer(self.a, chat, *"uvwxy", cached=0, evaluated=600)
        self.assertEqual(self.missing(self.a, "p", *"uvwxy"), 6 * TOKENS)
        self.assertEqual(self.missing(self.b, "p", *"uvwxy"), 2 * TOKENS)
        # What was evaluated since then is there.
        self.assertEqual(self.missing(self.a, "k", *"uvwxyz"), TOKENS)

    def test_now_and_then(self) -> None:
        """A prompt that is gone now and then says nothing of the others."""
        for turn in range(40):
            cached = 0 if turn % 3 == 0 else 300
            evaluated = (turn + 4) * 100 - cached
            self.answer(self.a, *["s"] * (turn + 4), cached=cached, evaluated=evaluated)
        self.assertEqual(self.missing(self.a, *["s"] * 50), 7 * TOKENS)

    def test_room(self) -> None:
        """Less is believed where the oldest is gone, and more where it is still there."""
        for cached, grows in ((0, False), (20_000, True)):
            heads = self.heads = Heads(MUCH)
            for chat in "klmn":
                self.send(self.a, *[chat] * 150)
            for turn in range(3):
                self.answer(self.a, *["k"] * 150, str(turn), cached=cached, evaluated=15_100)
                for chat in "lmn":
                    self.send(self.a, *[chat] * 150, str(turn))
            self.assertEqual(heads.kept(self.a)[1] > TOKENS_KEPT, grows)
            self.assertNotEqual(heads.kept(self.a)[1], TOKENS_KEPT)

    def test_late(self) -> None:
        """An answer that comes after its server was forgotten changes nothing."""
        self.send(self.a, "s", "u")
        held = self.held
        assert held is not None
        self.heads.forget(self.a)
        self.heads.answered(held, Facts(0, 200, 10))
        self.assertEqual(self.heads.kept(self.a), (0.0, TOKENS_KEPT))

    def test_says_nothing_of_the_cache(self) -> None:
        """An answer that says only how long it is teaches only that."""
        self.answer_to("s", "u", facts=Facts(0, None, 50))
        self.assertEqual(self.missing(self.a, "s", "u", "a", "v"), 150.0)

    def answer_to(self, *blocks: str, facts: Facts) -> None:
        """A prompt is sent and answered."""
        self.send(self.a, *blocks)
        assert self.held is not None
        self.heads.answered(self.held, facts)


class BeginningsTests(HeadsCase):
    """The index."""

    def test_counts(self) -> None:
        """A beginning that two prompts of a server have stays until both are gone."""
        index = Beginnings()
        one, other = prompt("s", "u").chain, prompt("s", "v").chain
        index.add(one, self.a)
        index.add(other, self.a)
        index.remove(one, self.a)
        self.assertEqual((index.depth(one, self.a), index.depth(other, self.a)), (0, 1))
        index.remove(other, self.a)
        self.assertEqual((index.look(other), index.used), ((-1, -1, {}), 0))
