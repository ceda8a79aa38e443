"""What the page shows is what is so, after whatever has happened in whatever order."""

from __future__ import annotations

from random import Random

import attrs

from paddler.scheduling.views import AgentView
from tests.paging import PretendedCase
from tests.pretending import pretended_agent

__all__ = ["TruthTests"]

#: All that rows say, by name; and all that squares say.
_ROWS = """
return Object.fromEntries([...document.querySelectorAll('tbody tr')].map(row => [
  row.querySelector('.name').textContent,
  [row.querySelector('.st span').textContent, row.querySelector('.num').textContent,
   [...row.querySelectorAll('.c')].map(c => c.className.slice(2)).join('')]]));
"""
_SQUARES = "return [...document.querySelectorAll('.t')].map(t => t.ariaLabel).sort()"
_LEGEND = "return [...document.querySelectorAll('.legend b')].map(b => Number(b.textContent))"


def row_of(agent: AgentView) -> list[str]:
    """What the page's row of an agent has to say."""
    out = agent.slots_total - agent.slots_processing
    cells = (
        "o" * (agent.in_flight - agent.promised)
        + "p" * agent.promised
        + "f" * agent.foreign_busy
        + "l" * agent.client_left
        + ("u" if agent.draining else "i") * out
    )
    word = agent.state.capitalize()
    if agent.draining and not agent.slots_processing:
        word = "Drained"
    return [word, f"{agent.slots_processing} / {agent.slots_total}", cells]


class TruthTests(PretendedCase):
    """A fleet in which everything changes."""

    def change(self, random: Random) -> None:
        """One thing happens, or a burst of them."""
        for _ in range(random.choice((1, 1, 1, 30))):
            number = random.randrange(1, 60)
            agent = self.there.agents.get(f"id{number}")
            if agent is not None and random.random() < 0.2:
                self.there.tell(left=[agent.agent_id])
                continue
            agent = agent or pretended_agent(number)
            if random.random() < 0.2:
                models = (random.choice(("tiny", "large", "")),)
                name = f"{random.choice('abc')}{number}-{random.randrange(100)}"
                agent = attrs.evolve(agent, agent_name=name, models=models)
            total = random.choice((1, 4, 4, 20))
            ours, foreign, left = (random.randrange(total) for _ in range(3))
            foreign = min(foreign, total - ours)
            left = min(left, total - ours - foreign)
            busy, draining = ours + foreign + left, random.random() < 0.1
            state = "draining" if draining else "full" if busy == total else "ready"
            changes = {"state": state, "draining": draining, "slots_total": total}
            counts = {"in_flight": ours, "foreign_busy": foreign, "client_left": left}
            promised = random.randrange(ours + 1)
            agent = attrs.evolve(agent, **changes, **counts, promised=promised)
            self.there.tell(attrs.evolve(agent, slots_processing=busy))

    async def check(self, script: str, truth: object) -> None:
        """Wait until the page says this."""

        async def look() -> object:
            return await self.do(self.browser.run, script)

        for _ in range(100):
            seen = await look()
            if seen == truth:
                return
        self.assertEqual(seen, truth)

    async def test_random_events(self) -> None:
        """Three hundred times agents come, go, are renamed and busy: rows, map, bar, title."""
        random = Random(5)
        await self.open()
        await self.sees("#live", "Live")
        for turn in range(300):
            self.change(random)
            if turn % 10:
                continue
            agents = list(self.there.agents.values())
            rows = {a.agent_name: row_of(a) for a in agents}
            await self.check(_ROWS, rows)
            cells = "".join(cells for _, _, cells in rows.values())
            await self.check(_LEGEND, [cells.count(k) for k in "opfliu"])
            busy = sum(a.slots_processing for a in agents)
            usable = len(cells) - cells.count("u")
            await self.check("return document.title", f"{busy}/{usable} busy \u2013 paddler")
        await self.press("#as-map")
        for _ in range(20):
            self.change(random)
            squares = []
            for agent in self.there.agents.values():
                word, ratio, _ = row_of(agent)
                squares.append(f"{agent.agent_name}, {word}, {ratio.replace('/', 'of')} busy")
            await self.check(_SQUARES, sorted(squares))
