"""`paddler.llamaserver` and `paddler.tinymodel`: what a demo on this machine needs."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from paddler.llamaserver import LlamaServer, find_llama_server, free_port, free_ports
from paddler.tinymodel import Shape, write_tiny_model

__all__ = ["FindTests", "PortTests", "TinyModelTests"]


class FindTests(SynchronousTestCase):
    """Which llama-server is taken."""

    def test_given(self) -> None:
        """The one that is given is taken, and nothing in its stead where it can't be run."""
        path = Path(self.mktemp())
        self.assertIsNone(find_llama_server(path))
        path.write_text("#!/bin/sh\n")
        self.assertIsNone(find_llama_server(path))
        path.chmod(0o755)
        found = find_llama_server(path)
        assert found is not None
        self.assertEqual(found.path, path.absolute())

    def test_command(self) -> None:
        """It serves the loopback only; more options come last, where they win."""
        words = LlamaServer(Path("/x/llama-server"), {}).command(Path("m.gguf"), 5, "-np", "2")
        self.assertEqual(words, "/x/llama-server -m m.gguf --host 127.0.0.1 --port 5 -np 2".split())


class PortTests(SynchronousTestCase):
    """Ports that nothing listens on."""

    def test_different(self) -> None:
        """Ports that are asked for differ, together or one after the other."""
        ports = [*free_ports(2000), *(free_port() for _ in range(2000))]
        self.assertEqual(len(set(ports)), 4000)
        wanted = free_port()
        self.assertEqual(len(set(free_ports(3, [wanted, wanted]))), 3)

    def test_wanted(self) -> None:
        """The one that is wanted is given while it is free."""
        port = free_port()
        self.assertEqual(free_port(port), port)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            self.assertNotEqual(free_port(port), port)


class TinyModelTests(SynchronousTestCase):
    """The model file. That llama-server loads it is shown by every test that starts one."""

    def test_same_bytes(self) -> None:
        """The same arguments give the same bytes, another seed gives others."""
        paths = [Path(self.mktemp()) for _ in range(3)]
        for path, seed in zip(paths, (1, 1, 2), strict=True):
            write_tiny_model(path, seed=seed)
        first, second, third = (path.read_bytes() for path in paths)
        self.assertEqual(first, second)
        self.assertNotEqual(first, third)
        self.assertEqual(first[:4], b"GGUF")

    def test_heads(self) -> None:
        """Heads that don't divide the width are refused."""
        self.assertRaises(ValueError, Shape, heads=5)
