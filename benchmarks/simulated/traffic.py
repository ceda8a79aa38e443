"""What clients ask for: chats, drawn before the run, so that every balancer gets the same."""

from __future__ import annotations

from random import Random

import attrs

__all__ = ["TRAFFICS", "Chat", "Fleet", "Traffic", "Turn", "draw"]


@attrs.frozen
class Fleet:
    """The servers.

    :param prefill: tokens of a prompt that one evaluates in a second.
    :param decode: tokens of an answer in a second, each slot.
    :param batch: tokens of a prompt that are evaluated for each token of the other slots.
    :param room: tokens that one keeps.
    :param slow: how many times slower every second one is.
    """

    servers: int = 8
    slots: int = 4
    prefill: float = 800.0
    decode: float = 25.0
    batch: int = 2048
    room: int = 64_000
    slow: float = 1.0

    def pace(self, server: int) -> float:
        """How fast one is, as a share of the fastest."""
        return 1.0 if server % 2 == 0 else 1 / self.slow


@attrs.frozen
class Traffic:
    """A kind of traffic; tokens, and seconds.

    :param turns: a chat's, on the mean; 0: each chat is a single one.
    :param systems: the lengths of system prompts.
    :param group: the length of the one that all chats have; 0: each has its own.
    :param asks: the least and the mean beyond it, of what a user says.
    :param answers: likewise.
    :param think: the mean from an answer to the chat's next turn.
    :param bursts: three in four chats start in a fifth of the time.
    """

    turns: float = 6.0
    systems: tuple[int, ...] = (200, 800, 2000)
    group: int = 0
    asks: tuple[int, int] = (20, 150)
    answers: tuple[int, int] = (10, 150)
    think: float = 20.0
    bursts: bool = False
    fleet: Fleet = Fleet()


#: The kinds that are measured, as the table calls them.
TRAFFICS = {
    "chats": Traffic(),
    "one system prompt": Traffic(group=4000, asks=(10, 50), answers=(10, 60)),
    "single turns": Traffic(turns=0),
    "bursts": Traffic(bursts=True),
    "half at a third": Traffic(fleet=Fleet(slow=3.0)),
    "tight caches": Traffic(fleet=Fleet(room=32_000)),
}
#: Of a burst and the quiet time after it, in seconds, and how much of that the burst is.
CYCLE, BURST = 120.0, 0.2


@attrs.frozen
class Turn:
    """What a user says, in tokens, how long the answer is, and the seconds before it is said."""

    ask: int
    answer: int
    think: float


@attrs.frozen
class Chat:
    """One chat.

    :param system: tokens of its system prompt.
    """

    starts: float
    system: int
    turns: tuple[Turn, ...]


def draw(traffic: Traffic, load: float, seed: int, chats: int) -> tuple[list[Chat], float]:
    """The chats of a run, and for how long new ones come.

    :param load: the share of the fleet's time that would be used if each prompt were evaluated
        once and all slots were full.
    :param chats: how many.
    """
    random, fleet = Random(seed * 7919 + 13), traffic.fleet
    drawn, work = [], 0.0
    for _ in range(chats if traffic.turns else chats * 5):
        turns = max(1, int(random.expovariate(1 / traffic.turns))) if traffic.turns else 1
        system = traffic.group or random.choice(traffic.systems)
        said = tuple(
            Turn(
                int(random.expovariate(1 / traffic.asks[1])) + traffic.asks[0],
                int(random.expovariate(1 / traffic.answers[1])) + traffic.answers[0],
                random.expovariate(1 / traffic.think),
            )
            for _ in range(turns)
        )
        drawn.append((system, said))
        work += _work(traffic, system, said)
    lasts = work / sum(map(fleet.pace, range(fleet.servers))) / load
    starts = sorted(_start(traffic, random, lasts) for _ in drawn)
    return [Chat(s, *chat) for s, chat in zip(starts, drawn, strict=True)], lasts


def _work(traffic: Traffic, system: int, turns: tuple[Turn, ...]) -> float:
    """Seconds of a whole server that a chat takes at best."""
    fleet, work, before = traffic.fleet, 0.0, 0
    if not traffic.group:
        work = system / fleet.prefill
    for turn in turns:
        # All that are kept begin with the same prompt, so that what follows it is rarely found.
        evaluated = turn.ask + (before if traffic.group else 0)
        work += evaluated / fleet.prefill + turn.answer / (fleet.slots * fleet.decode)
        before += turn.ask + turn.answer
    return work


def _start(traffic: Traffic, random: Random, lasts: float) -> float:
    at = random.random() * lasts
    if traffic.bursts and random.random() < 0.75:
        at = at // CYCLE * CYCLE + at % CYCLE * BURST
    return at
