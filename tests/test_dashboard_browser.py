"""The dashboard as people see it: a real Chromium before a real balancer and llama-servers."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from paddler.values import Address, Report
from tests.browsing import FAR_HOST
from tests.llamas import fetch
from tests.paging import STREAM, PageCase
from tests.prefixed import PrefixProxy
from tests.proxying import post

__all__ = ["ConnectionTests", "FleetTests", "TokenTests"]


class FleetTests(PageCase):
    """Agents, their slots, and what is done about them."""

    async def test_agents_appear(self) -> None:
        """An empty page tells what to type; it turns into the fleet when an agent reports."""
        await self.open()
        await self.sees("#say", "No agents yet.")
        await self.sees("#live", "Live")
        told = await self.sees("#empty", "Add the first agent")
        here = f"--management-host 127.0.0.1 --management-port {self.management} "
        self.assertIn(here, told)
        self.assertIn(f"curl http://127.0.0.1:{self.public}/v1/chat/completions", told)
        self.assertIn("name this one\u2019s address in place of 127.0.0.1", told)
        await self.one()
        row = await self.sees("tbody tr", "gpu-1", "Ready", "0 / 2", "on time")
        self.assertIn("Drain", row)
        await self.sees("#say", "0 of 2 slots busy. Nobody is waiting.")
        await self.until("return document.querySelector('#empty').hidden", "the fleet alone")
        title = await self.until("return document.title", "a title")
        self.assertEqual(title, "0/2 busy – paddler")

    async def test_streamed_answer(self) -> None:
        """While a real answer streams its slot is busy, in cells and in words, and free after."""
        await self.one()
        await self.open()
        await self.sees("tbody tr", "0 / 2")
        client = await self.stream()
        await self.sees("tbody tr", "1 / 2")
        await self.sees("#say", "1 of 2 slots busy")
        cells = "return [...document.querySelectorAll('tbody .c')].map(c => c.className).join()"
        await self.until(f"{cells.replace('return ', 'return (')}) === 'c o,c i'", "a busy cell")
        label = "return document.querySelector('tbody .cells').getAttribute('aria-label')"
        self.assertEqual(await self.until(label, "a label"), "2 slots: 1 answering")
        client.transport.abortConnection()
        await self.sees("tbody tr", "0 / 2")

    async def test_killed_server(self) -> None:
        """A server that is killed is red within 3 s, with what to do; it comes back by itself."""
        llama = await self.one()
        await self.open()
        await self.sees("tbody tr", "Ready")
        client = await self.connect()
        llama.signal(signal.SIGKILL)
        client.send(post("/completion", STREAM))
        await self.sees("tbody tr.bad", "gpu-1", "Unreachable", within=3.0)
        await self.sees("#say", "No agent can take a request")
        await self.sees("#attention", "llama-server does not answer", "--host 0.0.0.0", "Copy")
        # The balancer was refused and its agent was; that is one trouble.
        await self.sees("#attention", "Not even its agent, beside it, gets an answer.")
        self.assertEqual(len(await self.do(self.browser.texts, ".issue h2")), 1)
        await llama.stop()
        await llama.start()
        await self.sees("tbody tr", "Ready", within=15)
        await self.until("return document.querySelector('#attention').hidden", "peace")

    async def test_drain_and_resume(self) -> None:
        """Draining is asked for first, and can be taken back; the harmless button has focus."""
        await self.one()
        await self.open()
        await self.sees("tbody tr", "Ready")
        await self.press("tbody .act")
        await self.sees("#ask", "Drain gpu-1?", "Nothing runs on it", "the last agent")
        focus = await self.until("return document.activeElement.innerText", "focus")
        self.assertEqual(focus, "Keep serving")
        await self.press("#asknot")
        await self.until("return !document.querySelector('#ask').open", "a closed dialog")
        self.assertFalse((await self.agents())[0]["draining"])
        await self.press("tbody .act")
        await self.press("#askgo")
        await self.sees("tbody tr", "Drained", "safe to stop", "Resume")
        self.assertTrue((await self.agents())[0]["draining"])
        await self.press("tbody .act")
        await self.sees("#ask", "Send requests to gpu-1 again?")
        await self.press("#askgo")
        await self.sees("tbody tr", "Ready", "Drain")
        self.assertFalse((await self.agents())[0]["draining"])

    async def test_draining_with_answers(self) -> None:
        """Running answers are counted down while an agent drains."""
        await self.one()
        await self.open()
        await self.sees("tbody tr", "Ready")
        client = await self.stream()
        await self.sees("tbody tr", "1 / 2")
        await self.press("tbody .act")
        await self.sees("#ask", "Its 1 running answer finishes; 0 of 2 slots stay.")
        await self.press("#askgo")
        await self.sees("tbody tr", "Draining", "1 answer left", "Resume")
        client.transport.abortConnection()
        await self.sees("tbody tr", "Drained", "safe to stop")

    async def test_waiting(self) -> None:
        """Who waits is said first, with how long, before there is an agent and after."""
        await self.open()
        await self.sees("#say", "No agents yet.")
        waiting = await self.connect()
        waiting.send(post("/completion", STREAM))
        await self.sees("#say", "No agents yet. 1 request waiting, the oldest for 1 s")
        await self.one()
        await waiting.until(b"data: ")
        other = await self.stream()
        third = await self.connect()
        third.send(post("/completion", STREAM))
        await self.sees("#say", "Full: 2 of 2 slots busy. 1 request waiting")
        await self.sees(".tile:nth-child(2)", "Waiting", "1 of 1,000 at most", "oldest")
        await self.sees("tbody tr", "Full", "2 / 2")
        for client in (third, other, waiting):
            client.transport.abortConnection()
        await self.sees("#say", "Nobody is waiting")

    async def test_hostile_name(self) -> None:
        """A name that is markup, or turns text round, is shown as it is and does nothing."""
        name = "<img src=x onerror=document.title='owned'>\u202egpj.exe"
        await self.report(name, models=("<script>document.title='owned'</script>",))
        await self.open()
        await self.sees("tbody .name", "<img src=x onerror=document.title='owned'>")
        text = await self.until("return document.querySelector('.name').textContent", "a name")
        self.assertEqual(text, name)
        await self.press("#as-map")
        await self.sees(".map", "<script>document.title='owned'</script>")
        await self.press(".t")
        await self.sees("#ask", "Drain <img src=x")
        found = await self.until("return [document.querySelectorAll('img').length]", "no image")
        self.assertEqual(found, [0])
        title = await self.until("return document.title", "a title")
        self.assertEqual(title, "0/2 busy – paddler")
        await self.press("#asknot")

    async def test_keyboard(self) -> None:
        """`/` goes to the filter, Escape clears it; arrow keys go over the map, Enter asks."""
        for slots in range(1, 6):
            await self.report(f"gpu-{slots}", slots)
        await self.open()
        await self.until("return document.querySelectorAll('tbody tr').length === 5", "5 rows")
        await self.type("body", "/")
        await self.type("#find", "gpu-4")
        await self.until("return document.querySelectorAll('tbody tr').length === 1", "1 row")
        await self.type("#find", "\ue00c")
        await self.until("return document.querySelectorAll('tbody tr').length === 5", "5 rows")
        await self.press("#as-map")
        await self.until("return document.querySelectorAll('.t').length === 5", "5 squares")
        await self.do(self.browser.run, "document.querySelector('.t').focus()")
        await self.type(".t", "\ue014")
        await self.sees(".inspect", "gpu-2", "0 of 2 busy")
        await self.type(".t:focus", "\ue007")
        await self.sees("#ask", "Drain gpu-2?", "13 of 15 slots stay")
        await self.type("#asknot", "\ue00c")
        await self.until("return !document.querySelector('#ask').open", "a closed dialog")


class ConnectionTests(PageCase):
    """Between the page and the balancer."""

    allowed = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET")

    async def test_lost_and_found(self) -> None:
        """A balancer that goes away is said so at once, what was known stays; it is found again."""
        await self.report("gpu-1")
        await self.open()
        await self.sees("#live", "Live")
        await self.sees("tbody tr", "gpu-1")
        await self.balancer.stopService()
        await self.sees("#live", "Not connected")
        await self.sees("#say", "Connection lost", "trying again in")
        await self.sees("#saymore", "Below is how things stood at", "/health tells which")
        hidden = "return getComputedStyle(document.querySelector('tbody .act')).visibility"
        self.assertEqual(await self.until(hidden, "a row"), "hidden")
        await self.start_balancer()
        await self.sees("#live", "Live", within=15)
        await self.sees("#say", "No agents yet")
        await self.report("gpu-2")
        await self.sees("tbody tr", "gpu-2")

    async def test_copying(self) -> None:
        """A page from afar over plain http may not use the clipboard: the text is marked."""
        url = f"http://{FAR_HOST}:{self.management}/dashboard"
        await self.do(self.browser.open, url)
        told = await self.sees("#empty", "Add the first agent")
        self.assertIn(f"--management-host {FAR_HOST} --management-port {self.management}", told)
        self.assertNotIn("in place of", told)
        self.assertIn(f"curl http://{FAR_HOST}:{self.public}/v1/chat/completions", told)
        await self.press("#empty .cmd button")
        await self.sees("#empty .cmd button", "Press Ctrl+C")
        marked = await self.until("return getSelection().toString()", "marked text")
        self.assertEqual(
            marked, "llama-server -m model.gguf --host 0.0.0.0 --port 8088 --parallel 4"
        )

    async def test_below_a_path(self) -> None:
        """Behind a proxy that serves it below a path everything works, draining too."""
        proxy = PrefixProxy(self.management, "/ops/paddler")
        self.addCleanup(proxy.stop)
        await self.open("/ops/paddler/dashboard", proxy.port)
        # The proxy may know nothing of agents, so they are sent to the balancer itself.
        await self.sees(
            "#empty", f"--management-host 127.0.0.1 --management-port {self.management} "
        )
        await self.report("gpu-1")
        await self.open("/ops/paddler/dashboard/", proxy.port)
        await self.sees("#live", "Live")
        await self.sees("tbody tr", "gpu-1", "Ready")
        await self.press("tbody .act")
        await self.press("#askgo")
        await self.sees("tbody tr", "Drained")
        await self.open("/ops/paddler/dashboard", proxy.port)
        await self.sees("tbody tr", "gpu-1", "Drained")
        outside = [path for path in proxy.asked if not path.startswith("/ops/paddler/")]
        self.assertEqual(outside, [])


class TokenTests(PageCase):
    """A management server that asks for a token."""

    allowed = ("401 (Unauthorized)",)

    async def start_balancer(self, *arguments: str) -> Any:
        """Start one with a token."""
        file = Path(self.mktemp())
        file.write_text("open-sesame")
        file.chmod(0o600)
        return await super().start_balancer(f"--management-token-file={file}", *arguments)

    async def test_token(self) -> None:
        """The page comes without it and asks for it; it is kept in the tab, and used for all."""
        await self.open()
        await self.sees("#say", "This balancer asks for its token.")
        await self.type("#tokenin", "wrong\ue007")
        await self.sees("#tokenno", "did not take this token")
        await self.type("#tokenin", "open-sesame\ue007")
        await self.sees("#say", "No agents yet.")
        # A link shows no token, so there are none; an agent has to.
        self.assertEqual(await self.do(self.browser.text, "#links"), "")
        await self.sees(
            "#empty", f"--management-port {self.management} --management-token-file FILE"
        )
        report = Report("gpu-1", Address("127.0.0.1", 1), 600.0, 2, slots_busy=0)
        headers = {"Authorization": "Bearer open-sesame"}
        path = "/api/v1/agent_status_update/a1"
        await fetch(self.management, path, report.to_json(), headers)
        await self.sees("tbody tr", "gpu-1", "Ready")
        await self.press("tbody .act")
        await self.press("#askgo")
        await self.sees("tbody tr", "Drained")
        await self.open()
        await self.sees("tbody tr", "gpu-1", "Drained")
        kept = await self.until("return [localStorage.length, sessionStorage.length]", "storage")
        self.assertEqual(kept, [0, 1])
        await self.do(self.browser.run, "sessionStorage.clear()")
