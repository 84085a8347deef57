"""Dates and amounts: one canonical way to write them, and where a text mentions them.

Canonical: dates are ISO 8601 (`2025-03-19`), amounts plain decimals with two digits (`1234.50`).
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar jänner janvier janv",
            "february feb februar février fevrier févr fev",
            "march mar märz maerz mär marz mrz mars",
            "april apr avril avr",
            "may mai",
            "june jun juni juin",
            "july jul juli juillet juil",
            "august aug août aout",
            "september sep sept septembre",
            "october oct oktober okt octobre",
            "november nov novembre",
            "december dec dezember dez décembre decembre déc",
        ),
        start=1,
    )
    for name in names.split()
}
# What a scanner reads where a digit stood.
_CONFUSED = str.maketrans({"O": "0", "o": "0", "l": "1", "I": "1", "|": "1", "S": "5", "B": "8", "Z": "2"})
_D = r"[0-9OolI|SBZ]"
_NOT = r"(?![0-9A-Za-z])"
_NUMERIC_DATE = re.compile(rf"(?<![0-9A-Za-z])({_D}{{1,4}})\s?([./-])\s?({_D}{{1,2}})\s?\2\s?({_D}{{2,4}})(?![0-9])")
_WORD_DATE = re.compile(
    rf"(?<![0-9A-Za-z])({_D}{{1,2}})(?:st|nd|rd|th|er|\.)?[\s-]*(?:of |de )?([^\W\d_]{{3,9}})\.?,?[\s-]*"
    rf"((?:19|20|2O)?{_D}{{2}}){_NOT}"
)
_US_DATE = re.compile(
    rf"(?<![^\W_])([^\W\d_]{{3,9}})\.?\s*({_D}{{1,2}})(?:st|nd|rd|th)?,?\s*((?:19|20|2O){_D}{{2}})(?![0-9])"
)
_AMOUNT = re.compile(
    r"(?:(?<![0-9A-Za-z.,])|(?<=RM)|(?<=EUR)|(?<=USD)|(?<=GBP)|(?<=CHF))"
    rf"({_D}{{1,3}}(?:[.,'’\u00a0\u202f ]{_D}{{3}})+|{_D}+)"
    rf"(?:\s?([.,])\s?({_D}{{2}}))?(?![0-9OolI])(?![.,'’]{_D})"
)
_CURRENCY = re.compile(r"€|\$|£|¥|CHF|EUR|USD|GBP|RM|Fr\.", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A canonical value and the span of the text it was read from."""

    value: str
    start: int
    end: int


def _day(year: str, month: int, day: str) -> str | None:
    y = int(year)
    if len(year) == 2:
        y += 2000 if y < 70 else 1900
    try:
        return date(y, month, int(day)).isoformat() if 1900 <= y <= 2100 else None
    except ValueError:
        return None


def _digits(text: str) -> str | None:
    """Digits with scanner's confusions mended; None when nothing in it was a digit to begin with."""
    mended = text.translate(_CONFUSED)
    return mended if mended.isdigit() and any(c.isdigit() for c in text) else None


def _readings(m: re.Match[str]) -> list[tuple[str, str]]:
    """(order, ISO date) for each order of day, month and year in which the three numbers are a date."""
    a, b, c = (_digits(m[i]) for i in (1, 3, 4))
    if a is None or b is None or c is None:
        return []
    possible = {"ymd": (a, b, c)} if len(a) == 4 else {"dmy": (c, b, a), "mdy": (c, a, b)}
    return [
        (order, iso)
        for order, (year, month, day) in possible.items()
        if len(day) <= 2 and len(year) in (2, 4) and (iso := _day(year, int(month), day))
    ]


def date_orders(value: str) -> set[str]:
    """The orders in which a written value, as a whole, is a date: dmy, mdy, ymd, or "words" where the month is a word;
    none when it is no date."""
    if m := _NUMERIC_DATE.fullmatch(value):
        return {order for order, _ in _readings(m)}
    return {"words"} if any((f.start, f.end) == (0, len(value)) for f in dates_in(value)) else set()


def dates_in(text: str) -> list[Mention]:
    """Every date that the text may mean, in order; an ambiguous one (03/04/2025) gives both readings."""
    found = [Mention(iso, m.start(), m.end()) for m in _NUMERIC_DATE.finditer(text) for _, iso in _readings(m)]
    for pattern, order in ((_WORD_DATE, (3, 2, 1)), (_US_DATE, (3, 1, 2))):
        for m in pattern.finditer(text):
            year_, word, day_ = _digits(m[order[0]]), m[order[1]].casefold(), _digits(m[order[2]])
            month_ = _MONTHS.get(unicodedata.normalize("NFC", word))
            if year_ and day_ and month_ and (iso := _day(year_, month_, day_)):
                found.append(Mention(iso, m.start(), m.end()))
    return sorted(set(found), key=lambda f: (f.start, f.end, f.value))


def amounts_in(text: str) -> list[Mention]:
    """Every amount of money the text may mean: numbers with two decimals, whole ones beside a currency."""
    found: list[Mention] = []
    for m in _AMOUNT.finditer(text):
        whole = _digits(re.sub(r"[^0-9A-Za-z|]", "", m[1]))
        cents = _digits(m[3]) if m[3] else ""
        if whole is None or cents is None or len(whole) > 12:
            continue
        before, after = text[max(0, m.start() - 6) : m.start()], text[m.end() : m.end() + 5]
        if not cents and not (_CURRENCY.search(before) or _CURRENCY.search(after) or after[:2] in (".-", ",-")):
            continue
        value = f"{int(whole)}.{cents or '00'}"
        found.append(Mention(value, m.start(), m.end()))
        if re.search(r"[-−–]\s?\W{0,3}$", before) or re.match(r"[-−](?!\w)", after):
            found.append(Mention("-" + value, m.start(), m.end()))
    return found


def canonical_date(value: Any) -> str | None:
    """ISO date of a date, a datetime or one written date; None when it is none (or ambiguous)."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        readings = {m.value for m in dates_in(text) if m.end - m.start >= len(text) - 1}
        return readings.pop() if len(readings) == 1 else None


def canonical_money(value: Any) -> str | None:
    """`1234.50` for a number or a written amount (`EUR1.234,5`, `$12`, `USD-3.00`); None when it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        text = str(value)
    elif isinstance(value, str):
        text = re.sub(r"[^\d.,\-−]", "", _CURRENCY.sub("", value)).replace("−", "-")
        text = _decimal_point(text)
    else:
        return None
    try:
        number = Decimal(text)
        return f"{number:.2f}" if number.is_finite() and abs(number) < 10**12 else None
    except InvalidOperation:
        return None


def _decimal_point(text: str) -> str:
    """Digits with at most a decimal point: the last separator is decimal unless three digits follow it."""
    sign = "-" if text.startswith("-") or text.endswith("-") else ""
    body = text.strip("-").strip(".,") if text.strip("-").strip(".,") else ""
    parts = re.split(r"[.,]", body)
    grouped = len(parts) > 1 and len(parts[-1]) == 3 and len({c for c in body if c in ".,"}) == 1
    if len(parts) == 1 or grouped:
        return sign + "".join(parts)
    return f"{sign}{''.join(parts[:-1])}.{parts[-1]}"


def mentions(kind: str, text: str) -> list[str]:
    """Canonical dates (kind "date") or amounts ("money") of a text, in its order, each once."""
    found = dates_in(text) if kind == "date" else amounts_in(text)
    return list(dict.fromkeys(m.value for m in found))
