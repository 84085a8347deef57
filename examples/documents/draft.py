"""A document while it is being written: who sends it to whom, when, in which notation, and how much it is about."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from documents.words import HELD_OUT_NAMES, LABELS, MONTHS, NAMES, PEOPLE, STREETS, TRADES

CURRENCIES = {"en": ("£", "GBP"), "de": ("€", "EUR"), "fr": ("€", "EUR")}
_DATE_STYLES = {
    "en": ["{d} {month} {y}", "{month} {d}, {y}", "{d:02}/{m:02}/{y}", "{y}-{m:02}-{d:02}", "{d:02} {mon} {y}"],
    "de": ["{d:02}.{m:02}.{y}", "{d}. {month} {y}", "{d:02}.{m:02}.{yy:02}", "{y}-{m:02}-{d:02}", "{d}.{m}.{y}"],
    "fr": ["{d:02}/{m:02}/{y}", "{d} {month} {y}", "{d:02}.{m:02}.{y}", "{d:02}/{m:02}/{yy:02}", "{d:02}-{m:02}-{y}"],
}
_MONEY_STYLES = {
    "en": ["£{}", "{} GBP", "{}", "GBP {}"],
    "de": ["{} €", "{} EUR", "{}", "EUR {}"],
    "fr": ["{} €", "{} EUR", "{}", "{}€"],
}


@dataclass(frozen=True)
class Sender:
    name: str
    trade: str
    language: str
    street: str
    city: str
    phone: str
    iban: str


@dataclass
class Draft:
    rng: Random
    sender: Sender
    day: date
    amount: Decimal | None = None
    shows_date: bool = True
    shows_sender: bool = True
    protected: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.language = self.sender.language
        self.person = self.rng.choice(PEOPLE[self.language])
        self.date_style = self.rng.choice(_DATE_STYLES[self.language])
        self.money_style = self.rng.choice(_MONEY_STYLES[self.language])

    def label(self, key: str) -> str:
        return self.rng.choice(LABELS[self.language][key])

    def pick(self, choices: dict[str, list[str]]) -> str:
        return self.rng.choice(choices[self.language])

    def date(self, day: date) -> str:
        month = MONTHS[self.language][day.month - 1]
        return self.date_style.format(d=day.day, m=day.month, y=day.year, yy=day.year % 100, month=month, mon=month[:3])

    @property
    def today(self) -> str:
        """The document's own date as written; empty when this document shows none."""
        if not self.shows_date:
            return ""
        written = self.date(self.day)
        self.protected.add(written)
        return written

    def dated(self, label: str) -> list[str]:
        """A line with the document's date, or nothing."""
        return [f"{self.label(label)}: {self.today}"] if self.shows_date else []

    def later(self, low: int = 10, high: int = 40) -> str:
        return self.date(self.day + timedelta(days=self.rng.randint(low, high)))

    def earlier(self, low: int = 2, high: int = 30) -> str:
        return self.date(self.day - timedelta(days=self.rng.randint(low, high)))

    def number(self, value: Decimal) -> str:
        whole, cents = f"{value:,.2f}".split(".")
        mark, point = {"en": (",", "."), "de": (".", ","), "fr": (" ", ",")}[self.language]
        return whole.replace(",", mark) + point + cents

    def money(self, value: Decimal) -> str:
        return self.money_style.format(self.number(value))

    def price(self, low: float, high: float) -> Decimal:
        return Decimal(str(round(self.rng.uniform(low, high), 2))).quantize(Decimal("0.01"))

    @property
    def total(self) -> str:
        assert self.amount is not None
        written = self.money(self.amount)
        self.protected.add(written)
        return written

    @property
    def from_whom(self) -> str:
        """The sender's name; empty when the scan has cut it off."""
        if not self.shows_sender:
            return ""
        self.protected.add(self.sender.name)
        return self.sender.name

    def code(self, pattern: str = "####-##") -> str:
        return "".join(str(self.rng.randint(0, 9)) if c == "#" else c for c in pattern)

    def address(self) -> list[str]:
        return [f"{self.sender.street}, {self.sender.city}"]

    def recipient(self) -> list[str]:
        street = f"{self.pick(STREETS)} {self.rng.randint(1, 90)}"
        return [self.person, street, self.code("#####") + " Talheim"]


def lines(*parts: str | list[str]) -> list[str]:
    """Flat list of lines without empty ones."""
    flat = [line for part in parts for line in ([part] if isinstance(part, str) else part)]
    return [line for line in flat if line.strip()]


def make_senders(rng: Random, *, held_out: bool) -> list[Sender]:
    """Every trade with some names. Held-out senders share no proper name with the others."""
    senders = []
    for language, trades in TRADES.items():
        names = (HELD_OUT_NAMES if held_out else NAMES)[language]
        for trade, patterns in trades.items():
            for name in rng.sample(names, 2 if held_out else 8):
                street = f"{rng.choice(STREETS[language])} {rng.randint(1, 120)}"
                city = f"{rng.randint(10000, 99999)} {rng.choice(['Westmere', 'Talheim', 'Rivemont', 'Altburg'])}"
                phone = f"0{rng.randint(20, 99)} {rng.randint(100000, 999999)}"
                iban = f"{rng.choice(['DE', 'FR', 'GB'])}{rng.randint(10, 99)} {rng.randint(1000, 9999)} 0000"
                senders.append(Sender(rng.choice(patterns).format(name), trade, language, street, city, phone, iban))
    unique = {sender.name: sender for sender in senders}
    return sorted(unique.values(), key=lambda s: s.name)


@dataclass(frozen=True)
class Layout:
    name: str
    kind: str
    trades: tuple[str, ...]
    held_out: bool
    write: Callable[[Draft], list[str]]


LAYOUTS: dict[str, Layout] = {}


def layout(kind: str, *trades: str, held_out: bool = False) -> Callable[[Callable[[Draft], list[str]]], Layout]:
    """Registers a layout: the document type it writes, who sends such documents, and whether training may see it."""

    def register(write: Callable[[Draft], list[str]]) -> Layout:
        made = Layout(write.__name__, kind, trades, held_out, write)
        LAYOUTS[made.name] = made
        return made

    return register
