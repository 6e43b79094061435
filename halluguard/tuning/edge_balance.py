"""Choose pairs so that every name is as often first as second.

A pair (p, n) is one question about object p, answered yes, and one about object n, answered no, of the same image. Read
as an edge from p to n, balance means that every name has as many edges out as in. Then neither the name nor the image
reveals the answer. Surplus edges are removed along shortest paths from names with too many yes to names with too many
no; removing a path changes the balance of its two ends only.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from collections.abc import Hashable, Sequence


def balanced(pairs: Sequence[tuple[Hashable, Hashable]], seed: int = 0) -> list[int]:
    """Indices of the pairs to keep, ascending; every name is then first as often as it is second.

    >>> balanced([("dog", "cat"), ("cat", "dog"), ("dog", "cup")])
    [0, 1]

    `seed` decides which of several equal pairs is removed. Few pairs are removed where the input is nearly balanced.
    """
    rng = random.Random(seed)
    edges: dict[Hashable, dict[Hashable, list[int]]] = {}
    surplus: Counter[Hashable] = Counter()
    for index, (first, second) in enumerate(pairs):
        edges.setdefault(first, {}).setdefault(second, []).append(index)
        surplus[first] += 1
        surplus[second] -= 1
    removed: set[int] = set()
    for start in sorted((name for name in surplus if surplus[name] > 0), key=str):
        while surplus[start] > 0:
            path = _to_deficit(edges, surplus, start)
            for first, second in itertools.pairwise(path):
                same = edges[first][second]
                removed.add(same.pop(rng.randrange(len(same))))
                if not same:
                    del edges[first][second]
            surplus[start] -= 1
            surplus[path[-1]] += 1
    return [index for index in range(len(pairs)) if index not in removed]


def _to_deficit(
    edges: dict[Hashable, dict[Hashable, list[int]]], surplus: Counter[Hashable], start: Hashable
) -> list[Hashable]:
    """Names on a shortest path to a name that is second too often; one exists, because the sums of both sides agree."""
    came_from: dict[Hashable, Hashable] = {start: start}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        if surplus[name] < 0:
            path = [name]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
        for other in edges.get(name, ()):
            if other not in came_from:
                came_from[other] = name
                queue.append(other)
    raise AssertionError("a name with more edges out than in must reach one with more in than out")
