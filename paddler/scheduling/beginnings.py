"""Which upstreams have which beginnings of prompts: one index by hash, over all of them."""

from __future__ import annotations

import attrs
import msgspec

from paddler.scheduling.slots import Upstream

__all__ = ["Beginnings"]

#: Beginnings are shared where so many others are known to go on differently. One may be the same
#: chat, in which something was said anew.
OTHERS = 2

#: Bytes of this process's memory, as measured: for a hash, and for each time that it is held.
_NODE, _HOLD = 310, 20


class _Node(msgspec.Struct, eq=False, gc=False):
    """The end of a block.

    :param holders: how many prompts of each upstream have it.
    :param ways: how many different ways to go on from it have been seen, up to their ends; so
        that there are never more than from the block before.
    """

    holders: dict[Upstream, int]
    ways: int


@attrs.define(eq=False)
class Beginnings:
    """Hashes of beginnings, and who has them. Who has one has all those before it in its chain."""

    #: Bytes of memory, about.
    used: int = attrs.field(default=0, init=False)
    _nodes: dict[int, _Node] = attrs.field(factory=dict, init=False)

    def holders(self, value: int) -> dict[Upstream, int]:
        """Who has a hash; nobody may change what this gives."""
        node = self._nodes.get(value)
        return {} if node is None else node.holders

    def look(self, chain: list[int]) -> tuple[int, int, dict[Upstream, int]]:
        """What is known of a chain.

        :returns: the last block that anybody has, the last of those that other chats have too,
            -1 where there is none, and who has the first of these; see `holders`.
        """
        nodes, deepest, node = self._nodes, len(chain) - 1, None
        # A chat that goes on has little that is new.
        while deepest >= 0 and (node := nodes.get(chain[deepest])) is None:
            deepest -= 1
        if node is None:
            return -1, -1, {}
        if node.ways >= OTHERS:
            return deepest, deepest, node.holders
        low, high, middle = 0, deepest, 0
        while low < high:
            # It goes on as others do, and so is one of the ways itself.
            if nodes[chain[middle]].ways > OTHERS:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return deepest, low - 1, node.holders

    def depth(self, chain: list[int], upstream: Upstream, deepest: int | None = None) -> int:
        """The last block that an upstream has; -1: there is none.

        :param deepest: what `look` said of the chain; where it would say something else now,
            that does not matter.
        """
        nodes, low, high = self._nodes, 0, len(chain)
        if deepest is not None and (deepest + 1 == high or chain[deepest + 1] not in nodes):
            # Mostly it has as much as anybody, or nothing.
            if deepest < 0:
                return -1
            if (node := nodes.get(chain[deepest])) is not None and upstream in node.holders:
                return deepest
            if (node := nodes.get(chain[0])) is None or upstream not in node.holders:
                return -1
            low, high = 1, deepest
        while low < high:
            middle = (low + high) // 2
            node = nodes.get(chain[middle])
            if node is not None and upstream in node.holders:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def several(self, chain: list[int], deepest: int, shared: int) -> int:
        """The last block that more than one upstream has; -1: there is none.

        :param deepest: what `look` says of the chain.
        :param shared: likewise; behind that mostly one alone has it.
        """
        nodes, low, high, middle = self._nodes, 0, deepest + 1, min(shared + 1, deepest)
        while low < high:
            if len(nodes[chain[middle]].holders) > 1:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return low - 1

    def add(self, chain: list[int], upstream: Upstream, begin: int = 0) -> None:
        """An upstream has a prompt.

        :param begin: it has those before this block from another prompt, whose place this takes.
        """
        nodes, last = self._nodes, len(chain) - 1
        first = -1
        for depth in range(begin, last + 1):
            node = nodes.get(chain[depth])
            if node is None:
                nodes[chain[depth]] = _Node({upstream: 1}, int(depth < last))
                self.used += _NODE
                first = depth if first < 0 else first
            else:
                node.holders[upstream] = node.holders.get(upstream, 0) + 1
        self.used += _HOLD * (last + 1 - begin)
        if first > 0:
            above = nodes[chain[first - 1]]
            if above.ways:
                self._another_way(chain, first)
            else:
                above.ways = 1

    def differ(self, chain: list[int]) -> None:
        """Two prompts end behind the last of these blocks, with something else there."""
        last = self._nodes[chain[-1]]
        last.ways = last.ways or 1
        self._another_way(chain, len(chain))

    def _another_way(self, chain: list[int], end: int) -> None:
        """From the last block before `end` somebody went on as nobody had."""
        nodes = self._nodes
        for depth in range(end - 1, -1, -1):
            node = nodes[chain[depth]]
            if node.ways > OTHERS:
                break  # as many as matter, from all those before it too
            node.ways += 1

    def remove(self, chain: list[int], upstream: Upstream) -> None:
        """An upstream has a prompt no more."""
        nodes = self._nodes
        for value in chain:
            node = nodes[value]
            count = node.holders[upstream] - 1
            if count:
                node.holders[upstream] = count
                continue
            del node.holders[upstream]
            if not node.holders:
                del nodes[value]
                self.used -= _NODE
        self.used -= _HOLD * len(chain)
