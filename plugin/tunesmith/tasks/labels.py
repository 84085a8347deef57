"""Labels as answers: a bare text, or a JSON list of several."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunesmith import json_safely
from tunesmith.errors import BadInput
from tunesmith.tasks.stretches import literal

LONGEST = 80  # characters of a label
MOST = 200  # labels of an upload
USED_TO = 5  # rows for each label of an upload, on average
SEVERAL_SHARE = 0.98  # of an upload's labels have been seen more than once
STYLE_SHARE = 0.95


@dataclass(frozen=True)
class LabelStyle:
    """How a list of labels is written."""

    item: str = ", "
    ascii: bool = False

    def dump(self, labels: Sequence[str]) -> str:
        return json.dumps(list(labels), ensure_ascii=self.ascii, separators=(self.item, ":"))

    def grammar(self, labels: Sequence[str]) -> str:
        """GBNF of a list of these labels, each at most once and in this order."""
        comma, end = literal(self.item), len(labels)
        rules = ['root ::= "[" first-0 "]"']
        for i, label in enumerate(labels):
            text = literal(json.dumps(label, ensure_ascii=self.ascii))
            rules.append(f"first-{i} ::= {text} more-{i + 1} | first-{i + 1}")
            rules.append(f"more-{i} ::= {comma} {text} more-{i + 1} | more-{i + 1}")
        return "\n".join([*rules, f'first-{end} ::= ""', f'more-{end} ::= ""']) + "\n"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_labels(given: Any) -> list[str]:
    """The recipe's closed list. Raises BadInput."""
    if given is None:
        return []
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(x, str) and x.strip() for x in given):
        raise BadInput(
            f"task.labels is {given!r}.",
            param="task.labels",
            hint="List at least two texts, such as [invoice, letter].",
        )
    labels = [label.strip() for label in given]
    twice = [label for label, n in Counter(label.casefold() for label in labels).items() if n > 1]
    if twice:
        raise BadInput(f"The label {twice[0]!r} is listed twice.", param="task.labels", hint="Name each label once.")
    return labels


def parse_labels(answer: str, multi: bool) -> list[str] | None:
    """The labels of an answer; None when it is no answer of this form (a list, or one short line)."""
    text = answer.strip()
    if not multi:
        return [text] if text and "\n" not in text else None
    try:
        found = json_safely.loads(text)
    except json_safely.NotJson:
        return None
    return found if isinstance(found, list) and all(isinstance(label, str) for label in found) else None


def several_labels(answers: Sequence[str]) -> bool:
    """Whether all answers are JSON lists of texts."""
    return bool(answers) and all(a.lstrip().startswith("[") and parse_labels(a, True) is not None for a in answers)


def looks_like_labels(answers: Sequence[str], multi: bool) -> bool:
    """Few short answers, each seen several times."""
    parsed = [parse_labels(answer, multi) for answer in answers]
    counts = Counter(label for found in parsed for label in found or [])
    if None in parsed or not 2 <= len(counts) <= MOST or counts.total() < USED_TO * len(counts):
        return False
    if any(len(label) > LONGEST or label[0] in "{[<`" for label in counts if label) or "" in counts:
        return False
    recurring = sum(count for count in counts.values() if count > 1)
    return recurring >= SEVERAL_SHARE * counts.total()


def learn_labels(answers: Sequence[str], multi: bool) -> list[str]:
    """Every label of these answers: by name, unless their lists keep to another order."""
    lists = [found for answer in answers if (found := parse_labels(answer, multi))]
    known = sorted({label for found in lists for label in found})
    if all(found == sorted(found) for found in lists):
        return known
    place = dict.fromkeys(known, 0.0)
    for found in lists:
        for index, label in enumerate(found):
            place[label] += (2 * index - len(found) + 1) / len(lists)
    return sorted(known, key=place.__getitem__)


def learn_style(answers: Sequence[str], order: Sequence[str]) -> LabelStyle | None:
    """The style that reproduces the lists in this order of labels; None when there is no single one."""
    rank = {label: index for index, label in enumerate(order)}
    for style in (LabelStyle(), LabelStyle(","), LabelStyle(", ", True), LabelStyle(",", True)):
        hits = 0
        for answer in answers:
            found = parse_labels(answer, True) or []
            hits += style.dump(sorted(found, key=lambda label: rank.get(label, 0))) == answer.strip()
        if hits >= STYLE_SHARE * max(1, len(answers)):
            return style
    return None
