"""What is worst for a regular expression, made from it: each of its repeats pumped up, and broken off at the end."""

import itertools
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import FrameType
from typing import Any

KEPT = {24: None, 300: 40, 3000: 12}  # at each size, how many of the worst go on to the next
REPEATS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)
PROBES = "a1Z_ -.,:/@\"\\'\n[({x0e+é"
CLASSES = {
    kinds.CATEGORY_DIGIT: "17",
    kinds.CATEGORY_NOT_DIGIT: "a -",
    kinds.CATEGORY_SPACE: " \n",
    kinds.CATEGORY_NOT_SPACE: "a1-",
    kinds.CATEGORY_WORD: "a1_",
    kinds.CATEGORY_NOT_WORD: " -.",
}


def members(items: Sequence[Any]) -> str:
    """Some characters of a set such as [a-z_], of all its kinds."""
    if items and items[0][0] is kinds.NEGATE:
        rejected = set("".join(map(member, items[1:])))
        return "".join(c for c in PROBES if c not in rejected and not _in_range(c, items[1:]))
    return "".join(dict.fromkeys("".join(map(member, items))))


def member(item: Any) -> str:
    kind, value = item
    if kind is kinds.LITERAL:
        return chr(value)
    if kind is kinds.RANGE:
        return chr(value[0]) + chr(value[1])
    return CLASSES.get(value, "a") if kind is kinds.CATEGORY else "a"


def _in_range(c: str, items: Sequence[Any]) -> bool:
    ranges = (value for kind, value in items if kind is kinds.RANGE)
    return any(low <= ord(c) <= high for low, high in ranges)


def characters(node: Any) -> str:
    """Some characters that a node for one character takes; empty for any other node."""
    kind, value = node
    if kind is kinds.IN:
        return members(value)
    if kind is kinds.LITERAL:
        return chr(value)
    if kind is kinds.NOT_LITERAL:
        return "".join(c for c in PROBES if c != chr(value))
    return PROBES if kind is kinds.ANY else ""


def inner(node: Any) -> list[Any]:
    """The sequences inside a node, one for each alternative."""
    kind, value = node
    if kind in REPEATS:
        return [value[2]]
    if kind is kinds.SUBPATTERN:
        return [value[3]]
    if kind is kinds.ATOMIC_GROUP:
        return [value]
    return list(value[1]) if kind is kinds.BRANCH else []


def sample(nodes: Iterable[Any]) -> str:
    """A text that the sequence may match; what looks around is passed over."""
    text = ""
    for node in nodes:
        kind, value = node
        least = max(value[0], 1) if kind in REPEATS else 1
        options = inner(node)
        text += (sample(options[0]) if options else characters(node)[:1]) * min(least, 80)
    return text


def pumps(nodes: Sequence[Any], before: str) -> Iterator[tuple[str, str]]:
    """(start, piece to repeat) for every repeat, at any depth."""
    for place, node in enumerate(nodes):
        start = before + sample(nodes[:place])
        if node[0] in REPEATS and node[1][1] >= 10:
            body = node[1][2]
            some = characters(body[0])[:7] if len(body) == 1 else ""
            pieces = [*some, *("".join(pair) for pair in itertools.permutations(some, 2))]
            yield from ((start, piece) for piece in [sample(body), *pieces] if piece)
            yield from (("", start + piece) for piece in [sample(body), *some] if piece)
            yield from (("", start + 10 * piece) for piece in some)
        for option in inner(node):
            yield from pumps(option, start)


def texts(pattern: "re.Pattern[str]") -> list[tuple[str, str, str]]:
    """(start, piece, end): the text of any size is the start, the piece as often as it fits, and the end."""
    tree = parser.parse(pattern.pattern, pattern.flags)
    whole = sample(tree)
    found = [*pumps(list(tree), ""), *(("", whole[:n]) for n in range(1, min(len(whole), 60) + 1))]
    found += [("", c) for c in PROBES]
    ends = ("", "!", "\n\x00a")
    return [(start, piece, end) for start, piece in dict.fromkeys(found) for end in ends]


class _TooSlow(Exception):
    pass


def _ended(_signal: int, _frame: FrameType | None) -> None:
    raise _TooSlow


def seconds(
    pattern: "re.Pattern[str]", ways: Iterable[str], text: str, most: float, clock: Callable[[], float]
) -> float:
    """By the clock; `most` when that much of the processor's time was not enough. `ways`: finditer (as search, sub and
    split do), match, fullmatch."""
    signal.signal(signal.SIGVTALRM, _ended)
    began = clock()
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, most)
        for way in ways:
            found = getattr(pattern, way)(text)
            if way == "finditer":
                list(found)
    except _TooSlow:
        return most
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return clock() - began


def worst(pattern: "re.Pattern[str]", ways: Iterable[str], size: int, most: float) -> tuple[float, str]:
    """The longest time on a text of `size` characters, and how that text begins. `most` when it is not done then, even
    if the text was shorter."""
    left = texts(pattern)
    for length in (*KEPT, size):
        timed = []
        for start, piece, end in left:
            text = start + piece * ((length - len(start) - len(end)) // len(piece)) + end
            # Which texts go on is a matter of microseconds, which some kernels do not count for a process. A busy
            # machine must not decide it either, so the best of three counts.
            short = length < size
            clock = time.perf_counter if short else time.process_time
            took = min(seconds(pattern, ways, text, most, clock) for _ in range(3 if short else 1))
            timed.append((took, (start, piece, end)))
            if timed[-1][0] >= most:
                return most, text[:40]
        timed.sort(reverse=True)
        left = [parts for _, parts in timed[: KEPT.get(length)]]
    return timed[0][0], "".join(timed[0][1])[:40]
