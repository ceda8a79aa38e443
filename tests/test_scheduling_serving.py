"""Which upstreams serve what: `paddler.scheduling.serving`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from paddler.scheduling.lines import ANYTHING, Need
from paddler.scheduling.serving import REMEMBERED, Kinds
from paddler.scheduling.slots import Upstream
from tests.scenes import new_upstream, report

__all__ = ["KindsTests"]


class KindsTests(SynchronousTestCase):
    """`Kinds`."""

    def setUp(self) -> None:
        self.kinds = Kinds()
        self.upstreams: dict[str, Upstream] = {}

    def hear(self, name: str, slots: int = 2, busy: int = 0, **more: Any) -> None:
        """An upstream is as its agent reports."""
        told = report(name, slots, busy, **more)
        upstream = self.upstreams.setdefault(name, new_upstream(told))
        upstream.hear(told, 0.0)
        self.kinds.put(upstream)
        self.kinds.index(upstream)

    def serving(self, model: str | None = None, n_ctx: int = 0) -> str:
        """The names of those that serve a need."""
        servers = self.kinds.servers(Need(model, n_ctx))
        return "".join(sorted(upstream.name for upstream in servers.upstreams))

    def idle(self, need: Need = ANYTHING) -> list[tuple[int, str]]:
        """Idle slots, and who has so many."""
        levels = self.kinds.servers(need).awake.levels()
        return [(idle, "".join(sorted(u.name for u in level))) for idle, level in levels]

    def test_nobody(self) -> None:
        """Without upstreams nothing serves anything."""
        self.assertEqual((self.serving(), self.serving("m"), self.idle()), ("", "", []))

    def test_models(self) -> None:
        """A name is served by those that report it, be it an alias."""
        self.hear("a", models=("m",))
        self.hear("b", models=("m", "chat"))
        self.hear("c", models=("n", "chat"))
        self.hear("d")
        for model, expected in ((None, "abcd"), ("m", "ab"), ("chat", "bc"), ("n", "c"), ("x", "")):
            self.assertEqual(self.serving(model), expected, model)

    def test_context(self) -> None:
        """A context must be known to hold what is needed."""
        self.hear("a", n_ctx=2048)
        self.hear("b", n_ctx=8192, models=("m",))
        self.hear("c")
        needs = ((0, "abc"), (2048, "ab"), (2049, "b"), (8192, "b"), (8193, ""))
        for n_ctx, expected in needs:
            self.assertEqual(self.serving(None, n_ctx), expected, n_ctx)
        self.assertEqual((self.serving("m", 8192), self.serving("m", 9000)), ("b", ""))

    def test_router(self) -> None:
        """A router is not asked without a model while there is another, and ends `one_model`."""
        self.hear("a", models=("m",))
        self.assertTrue(self.kinds.one_model)
        self.hear("r", models=("m",), router=True)
        self.assertEqual((self.serving(), self.serving("m")), ("a", "ar"))
        self.assertFalse(self.kinds.one_model)
        self.kinds.take_out(self.upstreams["a"])
        self.assertEqual((self.serving(), self.serving("m")), ("r", "r"))

    def test_larger(self) -> None:
        """A larger context is one that some upstream has, told by the sizes that there are."""
        self.hear("a", n_ctx=2048, models=("m",))
        self.hear("b", n_ctx=8192, models=("m",))
        self.hear("c", n_ctx=32768, models=("n",))
        self.hear("d", models=("m",))
        for need, n_ctx, expected in (
            (ANYTHING, 3000, Need(None, 2049)),
            (ANYTHING, 2049, Need(None, 2049)),
            (ANYTHING, 9000, Need(None, 8193)),
            (ANYTHING, 32769, None),
            (Need("m"), 3000, Need("m", 2049)),
            (Need("m"), 9000, None),
            (Need("n", 8193), 3000, Need("n", 8193)),
        ):
            self.assertEqual(self.kinds.larger(need, n_ctx), expected, (need, n_ctx))
        self.upstreams["b"].draining = True
        self.assertIsNone(self.kinds.larger(Need("m"), 3000))

    def test_few_kinds(self) -> None:
        """Those that serve the same are one kind, and have one index."""
        for name in "abcdefgh":
            self.hear(name, models=("m", "chat"))
        self.hear("z", models=("n",))
        self.assertEqual([len(k.upstreams) for k in self.kinds.servers(ANYTHING).kinds], [8, 1])
        self.assertEqual(len(self.kinds.servers(Need("chat")).kinds), 1)

    def test_idle(self) -> None:
        """Idle slots are found over all kinds, most first."""
        self.hear("a", 4, 1, models=("m",))
        self.hear("b", 4, 2, models=("n",))
        self.hear("c", 4, 1, models=("n",))
        self.hear("d", 4, 4, models=("n",))
        self.assertEqual(self.idle(), [(3, "ac"), (2, "b")])
        self.assertEqual(self.idle(Need("n")), [(3, "c"), (2, "b")])
        (_, level), *_ = self.kinds.servers(ANYTHING).awake.levels()
        self.assertEqual((len(level), [level[0].name, level[1].name]), (2, ["a", "c"]))
        self.assertRaises(IndexError, level.__getitem__, 2)

    def test_asleep(self) -> None:
        """One that sleeps stands apart, until it is awake."""
        self.hear("a", sleeping=True)
        servers = self.kinds.servers(ANYTHING)
        self.assertEqual([len(list(i.levels())) for i in (servers.awake, servers.asleep)], [0, 1])
        self.hear("a")
        self.assertEqual([len(list(i.levels())) for i in (servers.awake, servers.asleep)], [1, 0])

    def test_changes(self) -> None:
        """An upstream that serves something else now is found by that, and by no old name."""
        self.hear("a", models=("m",))
        self.assertEqual((self.serving("m"), self.serving("n")), ("a", ""))
        self.hear("a", models=("n",))
        self.assertEqual((self.serving("m"), self.serving("n")), ("", "a"))
        self.assertEqual((self.idle(Need("m")), self.idle(Need("n"))), ([], [(2, "a")]))

    def test_gone(self) -> None:
        """One that is gone serves nothing, and its kind goes with the last of it."""
        self.hear("a", models=("m",))
        self.hear("b", models=("m",))
        for name, left in (("a", "b"), ("a", "b"), ("b", "")):
            self.kinds.take_out(self.upstreams[name])
            self.assertEqual(self.serving("m"), left)
        self.assertEqual(self.kinds.servers(ANYTHING).kinds, ())

    def test_many_needs(self) -> None:
        """What serves a need is remembered for so many needs, not for all that are ever asked."""
        self.hear("a", models=("m",))
        for number in range(REMEMBERED + 10):
            self.kinds.servers(Need(f"x{number}"))
        self.assertLessEqual(len(self.kinds._servers), REMEMBERED)
        self.assertEqual(self.serving("m"), "a")
