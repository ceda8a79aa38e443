"""The shape of the house, read from its sources: who may import whom, and how long files are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commands import ROOT

__all__ = ["ArchitectureTests"]

#: The modules that wire everything; they alone may import the reactor.
_ROOTS = ("paddler.cli", "paddler.demo", "paddler.agent.plugin", "paddler.balancer.plugin")

#: Which rooms each room may import from. Modules right inside paddler/ that are no roots are
#: facts: whoever needs them may have them, and they know nothing of the others.
_MAY_IMPORT = {
    "facts": {"facts"},
    "scheduling": {"facts", "scheduling"},
    "agent": {"facts", "agent"},
    "balancer": {"facts", "scheduling", "balancer"},
    "terminal": {"facts", "terminal"},
    "roots": {"facts", "scheduling", "agent", "balancer", "terminal", "roots"},
}

#: What a room without I/O and without a clock has no use for.
_NOT_PURE = {
    "asyncio",
    "datetime",
    "http",
    "os",
    "pathlib",
    "select",
    "selectors",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "time",
    "treq",
    "twisted",
    "urllib",
}

#: Modules that install the global reactor when they are imported.
_INSTALL_A_REACTOR = {"prometheus_client.twisted", "twisted.web.proxy"}

_MOST_LINES = 300


def _sources() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted((ROOT / "paddler").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import in it: the statement, and the full name of what is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node, f"{'.' * node.level}{node.module or ''}.{alias.name}"


class ArchitectureTests(SynchronousTestCase):
    """Rules that hold for every module."""

    def setUp(self) -> None:
        self.sources = _sources()
        self.trees = {name: ast.parse(path.read_text()) for name, path in self.sources.items()}

    def room(self, module: str) -> str:
        """The room that a module is in."""
        parts = module.split(".")
        if module in _ROOTS or module == "paddler.__main__":
            return "roots"
        return parts[1] if len(parts) > 1 and parts[1] in _MAY_IMPORT else "facts"

    def test_reads_something(self) -> None:
        """The sources are found, so that the other tests say something."""
        for name in ("paddler", "paddler.errors", "paddler.scheduling", *_ROOTS):
            self.assertIn(name, self.sources)

    def test_arrows(self) -> None:
        """No module imports from a room above its own, and none relatively."""
        wrong = []
        for name, tree in self.trees.items():
            for _, imported in _imports(tree):
                if imported.startswith("."):
                    wrong.append(f"{name}: a relative import of {imported}")
                elif imported.split(".")[0] == "paddler":
                    module = imported if imported in self.sources else imported.rpartition(".")[0]
                    if self.room(module) not in _MAY_IMPORT[self.room(name)]:
                        wrong.append(f"{name} imports {imported}")
        self.assertEqual(wrong, [])

    def test_reactor(self) -> None:
        """The reactor is imported by the roots alone, and there inside functions alone."""
        wrong = []
        for name, tree in self.trees.items():
            inside = {
                id(node)
                for function in ast.walk(tree)
                if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
                for node in ast.walk(function)
            }
            for node, imported in _imports(tree):
                if imported.startswith("twisted.internet.reactor") and (
                    self.room(name) != "roots" or id(node) not in inside
                ):
                    wrong.append(name)
                if any(imported.startswith(module) for module in _INSTALL_A_REACTOR):
                    wrong.append(f"{name} imports {imported}")
        self.assertEqual(wrong, [])

    def test_scheduling_is_pure(self) -> None:
        """The scheduler imports nothing that does I/O or tells the time."""
        wrong = [
            f"{name} imports {imported}"
            for name, tree in self.trees.items()
            if self.room(name) == "scheduling"
            for _, imported in _imports(tree)
            if imported.split(".")[0] in _NOT_PURE
        ]
        self.assertEqual(wrong, [])

    def test_all(self) -> None:
        """Every module says what it gives to others, and what it is for."""
        wrong = []
        for name, tree in self.trees.items():
            assigned = [
                target.id
                for node in tree.body
                if isinstance(node, (ast.Assign, ast.AnnAssign))
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                if isinstance(target, ast.Name)
            ]
            if "__all__" not in assigned:
                wrong.append(f"{name} has no __all__")
            if not ast.get_docstring(tree):
                wrong.append(f"{name} has no docstring")
        self.assertEqual(wrong, [])

    def test_length(self) -> None:
        """No module is longer than a reader can hold."""
        lengths = {name: len(path.read_text().splitlines()) for name, path in self.sources.items()}
        self.assertEqual({n: length for n, length in lengths.items() if length > _MOST_LINES}, {})
