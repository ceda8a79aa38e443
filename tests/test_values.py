"""Reports as they come over the wire."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from paddler.errors import MalformedReport
from paddler.values import Address, Model, Report, agent_id_for
from tests.commands import python

GOOD = {
    "agent_name": "gpu-01",
    "external": {"host": "10.0.0.1", "port": 8088},
    "interval_s": 1,
    "slots_total": 4,
}


class ReportTests(SynchronousTestCase):
    """Reading reports."""

    def read(self, **changes: object) -> Report:
        """A good report, changed."""
        return Report.from_json(json.dumps({**GOOD, **changes}).encode())

    def test_least(self) -> None:
        """What may be left out has a meaning then."""
        report = self.read()
        self.assertEqual(report.external, Address("10.0.0.1", 8088, "http"))
        self.assertIsNone(report.slots_busy)
        self.assertEqual((report.issues, report.models, report.sleeping), ((), (), False))

    def test_round_trip(self) -> None:
        """A report survives the wire."""
        report = self.read(
            slots_busy=2, slots_age_s=0.5, issues=["slots_disabled"], models=["a"], n_ctx=1
        )
        self.assertEqual(Report.from_json(report.to_json()), report)

    def test_says_again(self) -> None:
        """Whatever is another says more, but for the slots in use and the agent's version."""
        report = self.read()
        others: dict[str, object] = {
            "agent_name": "b",
            "external": Address("10.0.0.1", 8089),
            "interval_s": 2.0,
            "slots_total": 5,
            "slots_busy": 1,
            "slots_age_s": 0.5,
            "n_ctx": 1,
            "sleeping": True,
            "issues": ("timeout",),
            "models": ("a",),
            "model_details": (Model("a", meta={"n": 1}),),
            "router": True,
            "version": "2",
        }
        self.assertEqual(set(others), {field.name for field in attrs.fields(Report)})
        for name, value in others.items():
            changed = attrs.evolve(report, **{name: value})  # type: ignore[arg-type]
            same = name in ("slots_busy", "slots_age_s", "version")
            self.assertEqual(changed.says_again(report), same, name)
            self.assertTrue(attrs.evolve(changed).says_again(changed))

    def test_unknown_fields(self) -> None:
        """A newer agent may say more."""
        self.assertEqual(self.read(later={"x": 1}), self.read())

    def test_bad_fields(self) -> None:
        """The field that is wrong is named."""
        for field, value in (
            ("agent_name", ""),
            ("agent_name", "a\nb"),
            ("agent_name", "a\n"),
            ("agent_name", "x" * 129),
            ("agent_name", "a\x85b"),
            ("agent_name", "a\u2028b"),
            ("external.host", {"host": "[::1]", "port": 1}),
            ("agent_name", 3),
            ("external", None),
            ("external.host", {"host": "a b", "port": 1}),
            ("external.host", {"host": "a/b", "port": 1}),
            ("external.host", {"host": "a..b", "port": 1}),
            ("external.host", {"host": "a" * 64, "port": 1}),
            ("external.host", {"host": "\u00fc..c", "port": 1}),
            ("external.port", {"host": "a", "port": 0}),
            ("external.port", {"host": "a", "port": "1"}),
            ("external.scheme", {"host": "a", "port": 1, "scheme": "ftp"}),
            ("interval_s", 0),
            ("interval_s", 1e9),
            ("slots_total", -1),
            ("slots_total", 1.5),
            ("slots_total", 10**9),
            ("slots_busy", -1),
            ("slots_age_s", -1),
            ("issues", "loading"),
            ("issues[0]", ["nothing"]),
            ("models[0]", [1]),
            ("sleeping", "no"),
        ):
            name = field.split(".")[0].split("[")[0]
            error = self.assertRaises(MalformedReport, self.read, **{name: value})
            self.assertTrue(str(error).startswith(field + ": "), (field, str(error)))

    def test_missing_field(self) -> None:
        """A field that must be there is named."""
        for field in GOOD:
            rest = {name: value for name, value in GOOD.items() if name != field}
            error = self.assertRaises(MalformedReport, Report.from_json, json.dumps(rest).encode())
            self.assertIn(f"`{field}`", str(error))

    def test_not_json(self) -> None:
        """What is no JSON object is refused, whatever it is."""
        for text in (b"", b"[]", b"{", b"\xff", b'{"agent_name":"\xff"}', b"nan", b"[" * 99999):
            self.assertRaises(MalformedReport, Report.from_json, text)

    def test_out_of_reach(self) -> None:
        """What it takes is loaded beforehand: in a chroot Python's own files are out of reach."""
        read = f"Report.from_json({json.dumps(GOOD)!r}.encode())"
        script = (
            "import sys; from paddler.values import Report; "
            f"before = set(sys.modules); {read}; print(sorted(set(sys.modules) - before))"
        )
        ended = python("-c", script)
        self.assertEqual((ended.code, ended.out, ended.err), (0, "[]\n", ""))


class AddressTests(SynchronousTestCase):
    """Addresses in words."""

    def test_words(self) -> None:
        """Host and port; IPv6 in brackets."""
        self.assertEqual(str(Address("a_b.example", 1)), "a_b.example:1")
        self.assertEqual(str(Address("::1", 8088, "https")), "[::1]:8088")

    def test_authority(self) -> None:
        """In a URL and in Host a scheme's own port is left out, as every client does."""
        for address, authority in (
            (Address("169.254.169.254", 80), "169.254.169.254"),
            (Address("fd00::80", 80), "[fd00::80]"),
            (Address("h", 443, "https"), "h"),
            (Address("h", 443), "h:443"),
            (Address("h", 8080), "h:8080"),
        ):
            self.assertEqual(address.authority, authority)


class AgentIdTests(SynchronousTestCase):
    """Ids of agents."""

    def test_stable(self) -> None:
        """The same for the same name and address, and not for others."""
        one = agent_id_for("a", Address("h", 1))
        self.assertEqual(one, agent_id_for("a", Address("h", 1)))
        others = {agent_id_for("b", Address("h", 1)), agent_id_for("a", Address("h", 2))}
        self.assertNotIn(one, others)
        self.assertRegex(one, "^[0-9a-f]{16}$")
