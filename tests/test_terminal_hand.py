"""`paddler.terminal.hand`: keys, and what follows from them."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.terminal.hand import Deed, kept, pressed
from paddler.terminal.ordering import Order, matching
from paddler.terminal.scene import Link, Scene
from paddler.terminal.screen import draw
from tests.terminal_scenes import NOW, agent, fleet_of, scene, troubled, troubled_fleet

__all__ = ["KeptTests", "KeyTests", "OrderTests"]

_NAMED = {"enter", "escape", "tab", "backspace", "up", "down", "left", "right", "pageup"}
_NAMED |= {"pagedown", "home", "end", "ctrl+c", "ctrl+u"}


def _press(shown: Scene, *keys: str) -> tuple[Scene, Deed | None]:
    """Press keys one after the other; the last one's deed."""
    deed = None
    for key in keys:
        char = None if key in _NAMED else key
        shown, deed = pressed(key, char, shown, draw(shown, 80, 24))
    return shown, deed


def _choices(*keys: str, **choices: Any) -> Any:
    return _press(scene(troubled_fleet(), **choices), *keys)[0].choices


class KeyTests(SynchronousTestCase):
    """One key after the other."""

    def test_move(self) -> None:
        """Arrows, letters, pages and ends move the mark, and stop at the ends."""
        for keys, expected in (
            (["down"], "id0005"),
            (["j", "j", "k"], "id0005"),
            (["up"], "id0003"),
            (["end"], "id0012"),
            (["G", "down"], "id0012"),
            (["pagedown"], "id0006"),
            (["end", "home"], "id0003"),
            (["end", "pageup", "g"], "id0003"),
        ):
            self.assertEqual(_choices(*keys).selected, expected, keys)

    def test_move_in_the_map(self) -> None:
        """In the map left and right go along, up and down to the next line."""
        fleet = fleet_of([agent(n, models=("m",)) for n in range(100)])
        shown = scene(fleet, map=True, selected="id0000")
        for keys, expected in (
            (["right"], "id0001"),
            (["down"], "id0040"),
            (["down", "left"], "id0039"),
            (["down", "down", "down", "up"], "id0040"),
            (["left"], "id0000"),
        ):
            self.assertEqual(_press(shown, *keys)[0].choices.selected, expected, keys)

    def test_filter(self) -> None:
        """`/` asks for a text; enter keeps it, escape drops it, backspace takes back."""
        typing = _choices("/", "g", "x", "backspace", "p")
        self.assertEqual((typing.asked, typing.typed, typing.text), ("filter", "gp", ""))
        kept_text = _choices("/", "g", "p", "enter")
        self.assertEqual((kept_text.asked, kept_text.text), ("", "gp"))
        self.assertEqual(_choices("/", "g", "enter", "/", "x", "escape").text, "")
        self.assertEqual(_choices("/", "g", "ctrl+u", "q", "enter").text, "q")
        self.assertEqual(_choices("/", "g", "enter", "escape").text, "")

    def test_drain(self) -> None:
        """`d` asks, and `y` alone drains; it is the agent that was asked of, whoever is marked."""
        shown, deed = _press(scene(troubled_fleet(), selected="id0001"), "d")
        self.assertEqual((shown.choices.asked, deed), ("drain", None))
        moved = attrs.evolve(shown, choices=attrs.evolve(shown.choices, selected="id0002"))
        after, deed = _press(moved, "y")
        self.assertEqual((after.choices.asked, deed), ("", Deed("drain", "id0001")))
        for key in ("n", "enter", "escape", "d", "q"):
            after, deed = _press(shown, key)
            self.assertEqual((after.choices.asked, deed), ("", None))
            self.assertEqual(after.choices.note, "Not drained.")

    def test_drained_already(self) -> None:
        """What is drained is not drained again."""
        self.assertIn("r resumes", _choices("d", selected="id0008").note)

    def test_resume(self) -> None:
        """`r` resumes one that was drained, and says so of another."""
        shown = scene(troubled_fleet(), selected="id0008")
        self.assertEqual(_press(shown, "r")[1], Deed("resume", "id0008"))
        after, deed = _press(scene(troubled_fleet(), selected="id0001"), "r")
        self.assertEqual((after.choices.note, deed), ("gpu-01 is not drained.", None))

    def test_not_connected(self) -> None:
        """Without a connection nothing is drained or resumed."""
        shown = scene(troubled_fleet(), Link(ever=True), selected="id0008")
        for key in ("d", "r"):
            after, deed = _press(shown, key)
            self.assertEqual((after.choices.note, deed), ("Not connected.", None))

    def test_copy(self) -> None:
        """`c` copies what mends the marked agent, if something is to be mended."""
        after, deed = _press(scene(troubled_fleet()), "c")
        self.assertEqual(deed, Deed("copy", "--local-llamacpp-api-key-file FILE"))
        self.assertIn("lets it: --local-llamacpp", after.choices.note)
        after, deed = _press(scene(troubled_fleet(), selected="id0001"), "c")
        self.assertEqual((after.choices.note, deed), ("Nothing to mend at gpu-01.", None))

    def test_switches(self) -> None:
        """Tab, enter, `?`, `m`, `a` and `s` switch, and switch back."""
        self.assertTrue(_choices("tab").trouble_only)
        self.assertFalse(_choices("tab", "tab").trouble_only)
        self.assertTrue(_choices("enter").details)
        self.assertFalse(_choices("enter", "escape").details)
        self.assertTrue(_choices("?").help)
        self.assertFalse(_choices("?", "?").help)
        self.assertTrue(_choices("m").map)
        self.assertFalse(_choices("m", "m").map)
        self.assertTrue(_choices("a").ascii)
        self.assertEqual([_choices(*"w" * n).minutes for n in range(4)], [15, 5, 1, 15])
        self.assertTrue(_choices("L").log)
        self.assertFalse(_choices("L", "L").log)
        self.assertEqual([_choices(*"s" * n).sort for n in (1, 2, 3)], ["load", "name", "trouble"])

    def test_ascii_only(self) -> None:
        """A terminal that shows nothing else is not sent anything else."""
        choices = _choices("a", ascii=True, ascii_only=True)
        self.assertTrue(choices.ascii)
        self.assertIn("plain ASCII characters only", choices.note)

    def test_first_steps(self) -> None:
        """While there is no agent, 1, 2 and 3 copy what makes one, in one line; later nothing."""
        for key, word in (("1", "llama-server "), ("2", "paddler agent "), ("3", "curl ")):
            _, deed = _press(scene(fleet_of([])), key)
            assert deed is not None
            self.assertEqual(deed.kind, "copy")
            self.assertTrue(deed.of.startswith(word))
            self.assertNotIn("\n", deed.of)
            self.assertIsNone(_press(scene(troubled_fleet()), key)[1])

    def test_paste(self) -> None:
        """What is pasted is typed, without what is no text, and not without end."""
        shown = _press(scene(troubled_fleet()), "/")[0]
        for pasted, typed in (("gpu-\n\x1b01", "gpu-01"), ("x" * 9999, "x" * 200)):
            after, _ = pressed("paste", pasted, shown, draw(shown, 80, 24))
            self.assertEqual(after.choices.typed, typed)

    def test_quit(self) -> None:
        """`q` ends it, and Ctrl-C even where a text is asked for."""
        self.assertEqual(_press(scene(troubled_fleet()), "q")[1], Deed("quit"))
        self.assertEqual(_press(scene(troubled_fleet()), "/", "ctrl+c")[1], Deed("quit"))

    def test_nobody_there(self) -> None:
        """Without agents no key does harm."""
        shown = scene(fleet_of([]))
        for key in ("d", "r", "c", "enter", "down", "pageup", "end", "tab", "s", "m", "?", "x"):
            shown, deed = _press(shown, key)
            self.assertIsNone(deed)


class KeptTests(SynchronousTestCase):
    """The mark when the list changes."""

    def test_kept(self) -> None:
        """The same agent stays marked; when it is gone, the one that has its place."""
        for selected, before, now, expected in (
            ("b", "abc", "cba", "b"),
            ("b", "abc", "ac", "c"),
            ("c", "abc", "a", "a"),
            ("", "", "xy", "x"),
            ("a", "a", "", ""),
        ):
            self.assertEqual(kept(selected, list(before), list(now)), expected)


class OrderTests(SynchronousTestCase):
    """Which agents are listed, and how."""

    def test_trouble(self) -> None:
        """Severe, warned, draining, serving, resting; then by name, with numbers as numbers."""
        listed = Order().of(
            [*troubled(), agent(100, "full"), agent(13, "sleeping")], "trouble", NOW
        )
        self.assertEqual(
            [a.agent_name[4:] for a in listed],
            "03 05 07 10 08 01 02 04 06 09 11 100 12 13".split(),
        )

    def test_load(self) -> None:
        """By load the order stays for five seconds, whatever happens."""
        order = Order()
        one, two = agent(1, in_flight=3), agent(2, in_flight=1)
        first = [a.agent_id for a in order.of([one, two], "load", NOW)]
        self.assertEqual(first, ["id0001", "id0002"])
        one, two = agent(1, in_flight=0), agent(2, in_flight=4)
        self.assertEqual([a.agent_id for a in order.of([one, two], "load", NOW + 4.9)], first)
        self.assertEqual([a.agent_id for a in order.of([one, two], "load", NOW + 5.0)], first[::-1])

    def test_matching(self) -> None:
        """A filter looks at name, address, state and model, in any case."""
        for text, count in (
            ("GPU-1", 3),
            ("10.0.4.4:", 1),
            ("draining", 1),
            ("gemma", 4),
            ("", 12),
        ):
            self.assertEqual(len(matching(troubled(), text, False, NOW)), count, text)
        self.assertEqual(len(matching(troubled(), "", True, NOW)), 4)
