"""The dashboard's files: what is served, as what, and to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

import paddler.balancer.dashboard
from paddler.balancer.dashboard.files import FILES, POLICY, dashboard_files
from paddler.scheduling.slots import State
from paddler.values import Issue
from tests.managing import Got, ManagementCase

__all__ = ["FilesTests", "ServingTests"]

_STATIC = Path(paddler.balancer.dashboard.__file__).parent / "static"
_RELATIVE = re.compile(r"""(?:href|src)="([^"#][^"]*)\"""")


class ServingTests(ManagementCase):
    """The dashboard on the management server."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(token="secret", dashboard=True)

    def get(self, path: str = "/dashboard", method: str = "GET", **headers: str) -> Got:
        """Ask for one of its files, without a token."""
        return self.ask(method, path, **headers)

    def test_every_file(self) -> None:
        """All that is listed is served as it is, with its type, and nothing may be run inline."""
        for name, content_type in FILES.items():
            got = self.get("/dashboard" + ("" if name == "index.html" else f"/{name}"))
            self.assertEqual(got.code, 200, name)
            self.assertEqual(got.body, (_STATIC / name).read_bytes(), name)
            self.assertEqual(got.header("content-type"), content_type.decode(), name)
            self.assertEqual(got.header("content-security-policy"), POLICY.decode(), name)
            self.assertEqual(got.header("x-content-type-options"), "nosniff", name)

    def test_policy(self) -> None:
        """A page may load from here and ask here, and nothing else."""
        self.assertIn("default-src 'none'", POLICY.decode())
        self.assertNotIn("unsafe", POLICY.decode())
        self.assertNotIn("*", POLICY.decode())
        self.assertIn("frame-ancestors 'none'", POLICY.decode())

    def test_kept_by_browsers(self) -> None:
        """A browser asks each time, and gets a file anew only when it has changed."""
        got = self.get("/dashboard/main.js")
        self.assertEqual(got.header("cache-control"), "no-cache")
        etag = got.header("etag") or ""
        self.assertTrue(etag)
        same = self.get("/dashboard/main.js", if_none_match=etag)
        self.assertEqual((same.code, same.body, same.header("etag")), (304, b"", etag))
        other = self.get("/dashboard/main.js", if_none_match='"another"')
        self.assertEqual((other.code, other.body), (200, got.body))

    def test_head(self) -> None:
        """HEAD says the same without the file."""
        got, head = self.get(), self.get(method="HEAD")
        self.assertEqual((head.code, head.body), (200, b""))
        for name in ("content-type", "content-security-policy", "etag"):
            self.assertEqual(head.header(name), got.header(name))

    def test_nothing_else_on_the_disk(self) -> None:
        """Only listed files are served, however a path is written; for the rest a token is due."""
        for path in (
            "/dashboard/files.py",
            "/dashboard/index.html",
            "/dashboard/static/main.js",
            "/dashboard/vendor",
            "/dashboard/vendor/",
            "/dashboard/../health",
            "/dashboard/%2e%2e/files.py",
            "/dashboard/vendor%2fuPlot.min.css",
            "/dashboard//main.js",
        ):
            got = self.get(path)
            self.assertEqual(got.error, (401, "unauthorized"), path)
            got = self.get(path, authorization="Bearer secret")
            self.assertEqual(got.error, (404, "not_found"), path)

    def test_token(self) -> None:
        """The files need no token, for a browser has none to show; what they ask for does."""
        self.assertEqual(self.get().code, 200)
        for path in ("/api/v1/agents", "/api/v1/balancer", "/api/v1/demand"):
            self.assertEqual(self.get(path).error, (401, "unauthorized"), path)
            self.assertEqual(self.get(path, authorization="Bearer secret").code, 200, path)
        drain = self.ask("POST", "/api/v1/agents/a1/drain")
        self.assertEqual(drain.error, (401, "unauthorized"))

    def test_token_without_a_dashboard(self) -> None:
        """Where it is not enabled, its paths are as closed as any."""
        self.serve(token="secret")
        for path in ("/dashboard", "/dashboard/", "/dashboard/main.js"):
            self.assertEqual(self.get(path).error, (401, "unauthorized"), path)

    def test_slash(self) -> None:
        """With a slash it leads to the page, relative, so that a path before it stays."""
        asking = self.treq.get("http://127.0.0.1:8085/dashboard/", allow_redirects=False)
        self.treq.flush()
        response = self.successResultOf(asking)
        self.assertEqual(response.code, 302)
        self.assertEqual(response.headers.getRawHeaders("location"), ["../dashboard"])


class FilesTests(SynchronousTestCase):
    """The files themselves."""

    def test_all_are_listed(self) -> None:
        """What is in the folder is served, and what is served is in the folder."""
        found = {str(p.relative_to(_STATIC)) for p in _STATIC.rglob("*") if p.is_file()}
        self.assertEqual(found, set(FILES))
        self.assertEqual(len(dashboard_files()), len(FILES))

    def test_relative_and_ours(self) -> None:
        """The page names only relative addresses, and each file that it loads is there."""
        page = (_STATIC / "index.html").read_text()
        named = _RELATIVE.findall(page)
        self.assertIn("dashboard/main.js", named)
        for address in named:
            self.assertFalse(address.startswith(("/", "http:", "https:", "data:")), address)
            if address.startswith("dashboard/"):
                self.assertIn(address.removeprefix("dashboard/"), FILES)

    def test_nothing_inline(self) -> None:
        """Neither markup nor scripts hold what the policy forbids, or what makes text markup."""
        page = (_STATIC / "index.html").read_text()
        self.assertEqual(re.findall(r"<style|style=|\son\w+=|javascript:", page), [])
        self.assertNotIn("<script>", page)
        for path in _STATIC.glob("*.js"):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
                self.assertNotIn(word, text, path.name)
            self.assertEqual(re.findall(r"""['"`](?:https?:)?//""", text), [], path.name)

    def test_modules(self) -> None:
        """Each module begins with what it is for, is of a size to read, and imports only ours."""
        for path in _STATIC.glob("*.js"):
            text = path.read_text()
            self.assertTrue(text.startswith("/* "), path.name)
            self.assertLess(text.count("\n"), 300, path.name)
            for imported in re.findall(r"from '([^']*)'", text):
                self.assertIn(imported.removeprefix("./"), FILES, path.name)

    def test_words(self) -> None:
        """Every state and every issue has words, and every such issue something to do."""
        text = (_STATIC / "words.js").read_text()
        states, _, rest = text.partition("/** Cells in the order")
        for state in get_args(State):
            self.assertIn(f"{state}: '", states)
        issues = rest.partition("export const ISSUES")[2]
        for issue in get_args(Issue):
            entry = issues.partition(f"\n  {issue}: {{")[2].partition("\n  },")[0]
            for part in ("short: '", "title: '", "why: '", "todo: '", "fix: "):
                self.assertIn(part, entry, issue)

    def test_licence(self) -> None:
        """What is not ours comes with its licence."""
        licence = (_STATIC / "vendor" / "uPlot.LICENSE.txt").read_text()
        self.assertIn("MIT License", licence)
        self.assertIn("Leon Sorokin", licence)
