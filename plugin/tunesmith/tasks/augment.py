"""New training rows from old ones: numbers change alike in the document and in the answer."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.schema import Field
from tunesmith.tasks.style import Style, parse_object
from tunesmith.tasks.values import amounts_in, dates_in

_DATE_PARTS = re.compile(r"\d+")


def augment_row(row: Row, fields: Sequence[Field], style: Style, rng: Random) -> Row:
    """A copy of the row. Values that the last user message does not contain as written stay as they are."""
    answer = parse_object(row.answer, fenced=True)
    user = next((i for i in reversed(range(len(row.messages))) if row.messages[i]["role"] == "user"), None)
    messages: list[Message] = [m.copy() for m in row.messages]
    if answer is None or user is None:
        return Row(messages, dict(row.provenance), row.weight)
    text = messages[user]["content"]
    for f in fields:
        value = answer.get(f.name)
        if not isinstance(value, str) or not any(c.isdigit() for c in value):
            continue
        if f.kind == "money":
            text, answer[f.name] = _mentioned(text, value, rng, money=True)
        elif f.kind == "date":
            text, answer[f.name] = _mentioned(text, value, rng, money=False)
        elif f.kind == "string" and f.grounding in ("numbers", "pieces"):
            text, answer[f.name] = _verbatim(text, value, rng)
    messages[user]["content"] = text
    messages[-1]["content"] = style.dump(answer)
    return Row(messages, {**row.provenance, "augmented": True}, row.weight)


def _verbatim(text: str, value: str, rng: Random) -> tuple[str, str]:
    pattern = re.compile(r"(?<![\w.,])" + r"\s+".join(map(re.escape, value.split())) + r"(?![\w])(?![.,]\d)")
    if not pattern.search(text):
        return text, value
    new = _date_like(value, rng) or _digits(value, rng)
    return pattern.sub(lambda m: _copy_spaces(m.group(), new), text), new


def _copy_spaces(old: str, new: str) -> str:
    """`new` with the white space of `old` between its words (a value may run over a line break)."""
    gaps = re.findall(r"\s+", old)
    words = new.split()
    return "".join(w + g for w, g in zip(words, [*gaps, ""], strict=False))


def _digits(value: str, rng: Random) -> str:
    """Same shape, other digits: no new leading zero, old zeros at the front stay."""
    out = []
    for i, c in enumerate(value):
        leads = c.isdigit() and not value[i - 1 : i].isdigit() if i else c.isdigit()
        if not c.isdigit() or (leads and c == "0"):
            out.append(c)
        else:
            out.append(str(rng.randint(1 if leads else 0, 9)))
    return "".join(out)


def _date_like(value: str, rng: Random) -> str | None:
    """Another valid date in the same notation; None when the value is no single date."""
    found = [m for m in dates_in(value) if m.end - m.start == len(value.strip())]
    if not found:
        return None
    old = date.fromisoformat(found[0].value)
    new = old + timedelta(days=rng.choice([-1, 1]) * rng.randint(1, 700))
    return _rewrite(value, old, new)


def _rewrite(written: str, old: date, new: date) -> str | None:
    """The date as written, with the day, month and year of `new`; None when a part is a word or is ambiguous."""
    parts = [(m.start(), m.end()) for m in _DATE_PARTS.finditer(written)]
    if len(parts) == 2:  # the month is a word: keep it, change the day and the year
        new = new.replace(month=old.month, day=min(new.day, 28))
        values: list[tuple[int, int]] = [(old.day, new.day), (old.year, new.year)]
    elif len(parts) == 3:
        values = [(old.year, new.year), (old.month, new.month), (old.day, new.day)]
    else:
        return None
    out, at = "", 0
    for start, end in parts:
        number = int(written[start:end])
        match = next((v for v in values if number in (v[0], v[0] % 100 if end - start == 2 else v[0])), None)
        if match is None:
            return None
        values.remove(match)
        width = end - start
        shown = match[1] % 100 if match[0] > 31 and width == 2 else match[1]
        out += written[at:start] + (f"{shown:0{width}d}" if written[start] == "0" or width >= 2 else str(shown))
        at = end
    return out + written[at:]


def _mentioned(text: str, value: str, rng: Random, *, money: bool) -> tuple[str, str]:
    """Replaces every mention of a canonical value whose notation allows it; all or none."""
    spans = [m for m in (amounts_in if money else dates_in)(text) if m.value == value]
    spans = list({m.start: m for m in spans}.values())
    if not spans:
        return text, value
    if money:
        new_value = _digits(value, rng)
        shown = [_money_as(text[m.start : m.end], new_value) for m in spans]
    else:
        old = date.fromisoformat(value)
        new = old + timedelta(days=rng.choice([-1, 1]) * rng.randint(1, 700))
        new = new.replace(month=old.month, day=min(new.day, 28))
        new_value = new.isoformat()
        shown = [_rewrite(text[m.start : m.end], old, new) for m in spans]
    if any(s is None for s in shown):
        return text, value
    for m, s in sorted(zip(spans, shown, strict=True), key=lambda p: -p[0].start):
        text = text[: m.start] + (s or "") + text[m.end :]
    return text, new_value


def _money_as(written: str, value: str) -> str | None:
    """The digits of `value` in the notation of `written`; None when their numbers differ."""
    digits = [c for c in value if c.isdigit()]
    if sum(c.isdigit() for c in written) != len(digits) or re.search(r"[^\d.,'’\s]", written):
        return None
    rest = iter(digits)
    return "".join(next(rest) if c.isdigit() else c for c in written)
