"""Layouts that only held-out documents use: the same labels, arranged as no training layout arranges them."""

from decimal import Decimal

from documents.draft import Draft, layout, lines
from documents.layouts_office import bookings, letter_body
from documents.layouts_trade import net_and_tax, priced
from documents.prose import CLOSINGS, GREETINGS, POLICIES, SMALL_PRINT, SUBJECTS, THANKS
from documents.words import ITEMS, SERVICES


@layout("invoice", "service", held_out=True)
def invoice_craftsman(d: Draft) -> list[str]:
    """Hours and material, a salutation, and the sender's name under the closing."""
    hours, rate = d.rng.randint(1, 9), d.price(38, 90)
    material, cost = priced(d, ITEMS, 2, 4, 60)
    sums, d.amount = net_and_tax(d, cost + hours * rate)
    return lines(
        d.recipient()[:2],
        f"{d.label('invoice')} {d.code('####')}",
        GREETINGS[d.language].format(d.person),
        f"{d.pick(SERVICES)} {d.earlier()}: {hours} h x {d.number(rate)}",
        material,
        sums,
        f"{d.label('total')}: {d.total}",
        d.pick(CLOSINGS),
        d.from_whom,
        d.dated("date"),
    )


@layout("receipt", "shop", "service", held_out=True)
def receipt_fuel(d: Draft) -> list[str]:
    """A filling station: litres and unit price, total before the date, the name below a greeting."""
    litres, unit = d.price(12, 60), d.price(1.4, 2.1)
    d.amount = (litres * unit).quantize(Decimal("0.01"))
    at = f"{d.rng.randint(6, 22):02}:{d.rng.randint(0, 59):02}"
    return lines(
        d.pick(THANKS),
        d.from_whom,
        f"{d.code('#')}  Super E10  {d.number(litres)} l x {d.number(unit)}",
        f"{d.label('total')}  {d.total}",
        f"{d.label('vat')} {d.number(d.price(2, 15))}",
        f"{at}  {d.today}",
        d.address(),
    )


@layout("letter", "insurer", "office", held_out=True)
def letter_reference(d: Draft) -> list[str]:
    """A letter with a block of references on top; the amount in it is a sum insured."""
    subject, body = letter_body(d)
    return lines(
        d.recipient(),
        f"{d.label('customer')}: {d.code('## ### ###')}   {d.label('date')}: {d.today}" if d.shows_date else "",
        f"{d.from_whom} / {d.sender.phone}",
        f"{subject} - {d.pick(POLICIES)}",
        f"max. {d.money(Decimal(d.rng.randint(2, 40) * 500))}",
        body,
        d.pick(CLOSINGS),
    )


@layout("statement", "bank", held_out=True)
def statement_card(d: Draft) -> list[str]:
    """A card account: bookings first, balances last, newest on top."""
    opening = d.price(100, 3000)
    rows, d.amount = bookings(d, d.rng.randint(3, 6), opening)
    return lines(
        f"{d.person} - {d.code('**** ####')}",
        f"{d.label('statement')}, {d.label('date')} {d.today}" if d.shows_date else d.label("statement"),
        rows,
        f"{d.label('closing')}: {d.total} ({d.label('opening')}: {d.money(opening)})",
        f"{d.from_whom} | {d.sender.street} | {d.sender.city}",
    )


@layout("contract", "service", "utility", held_out=True)
def contract_membership(d: Draft) -> list[str]:
    """A form: one line a field, signed on top, the provider in the middle."""
    d.amount = d.price(12, 140)
    return lines(
        f"{d.label('contract')} - {d.pick(SUBJECTS)}",
        d.dated("signed"),
        f"{d.label('customer')}: {d.person}",
        f"{d.label('deposit')}: {d.money(d.price(20, 300))}",
        d.from_whom,
        f"{d.label('fee')} {d.total}, {d.label('start')} {d.later()}",
        d.pick(SMALL_PRINT),
    )
