"""Secrets and personal data in rows: found by pattern and, where a kind has one, by its checksum."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tunesmith.datasets import presidio
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row

Action = Literal["report", "redact", "drop"]


@dataclass(frozen=True)
class Kind:
    """`hints`: one of these stands, in some case, in every text that can match; looking for it first is cheaper.
    `value`: the part of a match that is private, or None when it only looks so."""

    pattern: re.Pattern[str]
    secret: bool
    hints: tuple[str, ...] = ()
    value: Callable[[str], str | None] = field(default=lambda found: found)


# ISO 13616: characters of an IBAN by country.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26,
    "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25,
    "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip


def iban(found: str) -> str | None:
    """The IBAN at the beginning of a match: as long as its country's are, and with the remainder 1 of modulo 97."""
    wanted, end = _IBAN_LENGTHS.get(found[:2], 0), 0
    for end, _ in enumerate(found, start=1):
        if end - found[:end].count(" ") == wanted:
            break
    text = found[:end].replace(" ", "")
    if len(text) != wanted or int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 != 1:
        return None
    return found[:end]


def card(found: str) -> str | None:
    """A card number: its digits are not all alike and end in a valid Luhn check digit."""
    digits = [int(c) for c in found if c.isdigit()]
    doubled = [d if n % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for n, d in enumerate(reversed(digits))]
    return found if len(set(digits)) > 1 and sum(doubled) % 10 == 0 else None


def _password(found: str) -> str | None:
    """Letters with digits or signs: not just the next word of a sentence."""
    mixed = re.search(r"[^\W\d_]", found) and re.search(r"[\d!#$%&*+=?@^~]", found)
    return found if mixed else None


def _phone(found: str) -> str | None:
    return found if 8 <= sum(c.isdigit() for c in found) <= 15 else None


# The group "value", where there is one, is what is redacted. Patterns begin with a character, and look behind it
# afterwards: so the engine skips to the places where they can match, three times as fast.
KINDS: dict[str, Kind] = {
    "private_key": Kind(
        re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----|\Z)", re.S),
        True,
        ("private key-----",),
    ),
    "api_key": Kind(
        re.compile(
            r"\b(?:sk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|sk_(?:live|test)_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}"
            r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}|glpat-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}"
            r"|AIza[A-Za-z0-9_-]{35}|xox[abprs]-[A-Za-z0-9-]{10,}|ya29\.[A-Za-z0-9_-]{20,})"
        ),
        True,
        ("sk-", "sk_", "akia", "gh", "glpat-", "hf_", "aiza", "xox", "ya29."),
    ),
    "token": Kind(
        re.compile(
            r"\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
            r"|\b[Bb]earer\s+(?P<value>[A-Za-z0-9._~+/-]{20,}=*)"
        ),
        True,
        ("eyj", "bearer"),
    ),
    "url_password": Kind(re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]+:(?P<value>[^\s/@]+)@"), True, ("://",)),
    "password": Kind(
        re.compile(
            r"(?i:\b(?:password|passwd|passphrase|passwort|kennwort|netzwerkschl(?:ü|ue)ssel|mot de passe|contraseña"
            r"|wachtwoord|wpa2?[ -]key|api[_ -]?key|client[_ -]?secret)\b[\"']?\s*[:=]\s*[\"']?)"
            r"(?P<value>[^\s\"',;]{6,80})"
        ),
        True,
        (
            "passw",
            "passphrase",
            "kennwort",
            "netzwerkschl",
            "mot de passe",
            "contraseña",
            "wachtwoord",
            "wpa",
            "api",
            "client",
        ),
        value=_password,
    ),
    "iban": Kind(re.compile(r"[A-Z](?<!\w.)[A-Z]\d{2}(?: ?[A-Z0-9]){11,30}\b"), False, value=iban),
    "card": Kind(
        re.compile(
            r"[3-6](?<![\w.,/-].)(?:\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|(?<=3)[47]\d{2}([ -]?)\d{6}\2\d{5})"
            r"(?![\w/-]|[ .,]\d)"
        ),
        False,
        value=card,
    ),
    "email": Kind(re.compile(r"\b[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b"), False, ("@",)),
    "phone": Kind(
        re.compile(
            r"\+(?<![\w.,/+-]\+)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,6}+\)?){2,6}(?![\w,])"
            r"|[TtFfPpMmHh](?<!\w.)(?i:el|elefon|éléphone|ax|hone|ob|obile?|andy)\b\.?\s*+:?\s*+"
            r"(?P<value>0[\d /()-]{6,18}\d)(?!\w)"
        ),
        False,
        ("+", "tel", "tél", "phone", "fax", "mob", "handy"),
        value=_phone,
    ),
}
SECRETS = tuple(name for name, kind in KINDS.items() if kind.secret)
PERSONAL = (*(name for name in KINDS if name not in SECRETS), *presidio.ENTITIES)


def check_kinds(given: Mapping[str, Action]) -> dict[str, Action]:
    """The actions, if every key is a kind of personal data. Raises ValueError."""
    for name in given:
        if name not in PERSONAL:
            raise ValueError(f"there is no kind of personal data {name!r}; kinds are: {', '.join(PERSONAL)}")
    return dict(given)


def find(text: str) -> dict[str, list[str]]:
    """What was found, by kind: the exact strings, each once."""
    found: dict[str, list[str]] = {}
    small = text.lower()
    for name, kind in KINDS.items():
        if kind.hints and not any(hint in small for hint in kind.hints):
            continue
        matches = {m.groupdict().get("value") or m.group() for m in kind.pattern.finditer(text)}
        if values := sorted(value for match in matches if (value := kind.value(match))):
            found[name] = values
    return found


@dataclass
class Guard:
    """Looks at every row, counts rows by kind, and does what the recipe says: report, redact or drop.

    `more` finds what the patterns do not, see `presidio.finder`.
    """

    secrets: Action = "redact"
    personal: Action | Mapping[str, Action] = "report"
    more: Callable[[str], dict[str, list[str]]] | None = None
    rows: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    with_secret: int = 0
    with_personal: int = 0

    def action(self, kind: str) -> Action:
        if kind in SECRETS:
            return self.secrets
        return self.personal if isinstance(self.personal, str) else self.personal.get(kind, "report")

    def check(self, row: Row) -> Row:
        """The row, redacted alike in prompt and answer where so asked. Raises BadInput when it is to be dropped."""
        text = "\n".join(m["content"] for m in row.messages)
        found = find(text) | (self.more(text) if self.more else {})
        if not found:
            return row
        self.rows.update(found.keys())
        self.with_secret += any(kind in SECRETS for kind in found)
        self.with_personal += any(kind not in SECRETS for kind in found)
        dropped = [kind for kind in found if self.action(kind) == "drop"]
        if dropped:
            self.actions["dropped"] += 1
            raise BadInput(
                f"The row holds {' and '.join(dropped)}.",
                code="private_data",
                hint="Remove it at the source, or let the recipe redact it: dataset: {secrets: redact}.",
            )
        redacted = {v: f"[{kind}]" for kind, vs in found.items() if self.action(kind) == "redact" for v in vs}
        if not redacted:
            return row
        self.actions["redacted"] += 1
        return replace(row, messages=[{**m, "content": _without(m["content"], redacted)} for m in row.messages])

    def summary(self) -> dict[str, dict[str, int]]:
        """Rows by kind, and what was done: never what was found."""
        return {"rows": dict(sorted(self.rows.items())), "actions": dict(sorted(self.actions.items()))}


def _without(text: str, redacted: Mapping[str, str]) -> str:
    for value in sorted(redacted, key=len, reverse=True):
        text = text.replace(value, redacted[value])
    return text
