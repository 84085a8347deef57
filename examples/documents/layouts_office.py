"""Letters, contracts and statements that training sees."""

from datetime import timedelta
from decimal import Decimal

from documents.draft import Draft, layout, lines
from documents.prose import BETWEEN, CLOSINGS, GREETINGS, LETTERS, POLICIES, SMALL_PRINT, SUBJECTS
from documents.words import BOOKINGS


def letter_body(d: Draft) -> tuple[str, str]:
    subject, body = d.rng.choice(LETTERS[d.language])
    return subject, body.format(day=d.later(), past=d.earlier(), sum=d.money(d.price(20, 900)))


def bookings(d: Draft, count: int, start: Decimal) -> tuple[list[str], Decimal]:
    """Booking lines and the balance after them."""
    rows, balance = [], start
    for _ in range(count):
        value = d.price(5, 400) * d.rng.choice([1, -1])
        if balance + value < 0:
            value = -value
        balance += value
        day = d.day - timedelta(days=d.rng.randint(1, 28))
        rows.append(
            f"{day.day:02}.{day.month:02}. {d.pick(BOOKINGS)} {'-' if value < 0 else '+'}{d.number(abs(value))}"
        )
    return rows, balance


@layout("letter", "office", "utility", "insurer")
def letter_formal(d: Draft) -> list[str]:
    """Sender, recipient, place and date, subject, body, closing. Amounts in the body are not the letter's."""
    subject, body = letter_body(d)
    return lines(
        d.from_whom,
        d.address(),
        d.recipient(),
        f"{d.sender.city.split()[1]}, {d.today}" if d.shows_date else "",
        subject,
        GREETINGS[d.language].format(d.person),
        body,
        d.pick(SMALL_PRINT) if d.rng.random() < 0.3 else "",
        d.pick(CLOSINGS),
        d.from_whom if d.rng.random() < 0.5 else "",
    )


@layout("letter", "office", "service", "bank")
def letter_notice(d: Draft) -> list[str]:
    """A short notice: the date on top, the sender under it."""
    subject, body = letter_body(d)
    return lines(
        d.dated("date"),
        subject.upper(),
        body,
        d.pick(CLOSINGS),
        d.from_whom,
        f"Tel. {d.sender.phone}",
    )


@layout("contract", "utility", "service")
def contract_service(d: Draft) -> list[str]:
    """Between two parties: subject, start, fee (not always), place and date at the end."""
    with_fee = d.rng.random() < 0.75
    d.amount = d.price(9, 120) if with_fee else None
    return lines(
        f"{d.label('contract')} {d.code('V-#####')}",
        BETWEEN[d.language].format(a=d.from_whom, b=d.person) if d.shows_sender else d.person,
        d.pick(SUBJECTS),
        f"{d.label('start')}: {d.later()}",
        f"{d.label('fee')}: {d.total}" if with_fee else "",
        d.pick(SMALL_PRINT) if d.rng.random() < 0.5 else "",
        d.dated("signed"),
    )


@layout("contract", "insurer")
def contract_policy(d: Draft) -> list[str]:
    """An insurance policy: sum insured (a distractor), premium, issue date."""
    d.amount = d.price(30, 700)
    insured = Decimal(d.rng.randint(5, 90) * 1000)
    return lines(
        d.from_whom,
        f"{d.label('contract')}: {d.pick(POLICIES)} {d.code('##.###.###')}",
        d.person,
        f"{d.label('start')} {d.later()}",
        f"max. {d.money(insured)}",
        f"{d.label('premium')}: {d.total}",
        d.dated("date"),
    )


@layout("contract", "office", "bank")
def contract_letting(d: Draft) -> list[str]:
    """A letting: date on top, monthly fee and deposit."""
    d.amount = d.price(40, 990)
    return lines(
        f"{d.label('contract')}  {d.today}",
        BETWEEN[d.language].format(a=d.from_whom, b=d.person) if d.shows_sender else d.person,
        f"{d.label('start')}: {d.later()}",
        f"{d.label('deposit')}: {d.money(d.amount * 3)}",
        f"{d.label('fee')}: {d.total}",
    )


@layout("statement", "bank")
def statement_bank(d: Draft) -> list[str]:
    """Opening balance, bookings, closing balance."""
    opening = d.price(200, 5000)
    rows, d.amount = bookings(d, d.rng.randint(2, 5), opening)
    return lines(
        d.from_whom,
        f"{d.label('statement')} {d.rng.randint(1, 12)}/{d.day.year}",
        d.person,
        d.dated("date"),
        f"{d.label('opening')} {d.money(opening)}",
        rows,
        f"{d.label('closing')} {d.total}",
    )


@layout("statement", "bank", "insurer")
def statement_yearly(d: Draft) -> list[str]:
    """A yearly statement: the closing balance first, then how it came about."""
    opening, paid = d.price(500, 9000), d.price(50, 900)
    d.amount = opening + paid
    year = d.day.year - 1
    return lines(
        f"{d.label('statement')} {year}",
        f"{d.from_whom} - {d.sender.city}",
        d.dated("date"),
        f"{d.label('customer')} {d.code('### ###')} {d.person}",
        f"{d.label('closing')} 31.12.{year}: {d.total}",
        f"{d.label('opening')} 01.01.{year}: {d.money(opening)}",
        f"{d.pick(BOOKINGS)} +{d.money(paid)}",
    )
