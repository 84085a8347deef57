"""Which rows are trained on in which step: fixed by the seed, so that a resumed training sees the same."""

from random import Random


def order_of(rows: int, samples: int, seed: int) -> list[int]:
    """Numbers of `samples` rows: each pass visits every row once, in an order of its own."""
    result: list[int] = []
    number = 0
    while len(result) < samples:
        shuffled = list(range(rows))
        Random(f"{seed}/{number}").shuffle(shuffled)  # noqa: S311
        result += shuffled
        number += 1
    return result[:samples]


def shares(lengths: list[int], most: int) -> list[list[int]]:
    """Indices of `lengths` dealt into at most `most` lists of about the same sum, longest first."""
    dealt: list[list[int]] = [[] for _ in range(min(most, len(lengths)))]
    sums = [0] * len(dealt)
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = sums.index(min(sums))
        dealt[least].append(index)
        sums[least] += lengths[index]
    return dealt


def micro_batches(lengths: list[int], most_tokens: int) -> list[list[int]]:
    """Indices of `lengths` grouped so that no group exceeds `most_tokens` (a longer row stands alone)."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not groups or lengths[index] > room:
            groups.append([])
            room = most_tokens
        groups[-1].append(index)
        room -= lengths[index]
    return groups
