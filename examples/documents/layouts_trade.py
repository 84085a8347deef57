"""Invoices and receipts that training sees."""

from decimal import Decimal

from documents.draft import Draft, layout, lines
from documents.prose import THANKS
from documents.words import ITEMS, SERVICES


def priced(d: Draft, choices: dict[str, list[str]], count: int, low: float, high: float) -> tuple[list[str], Decimal]:
    """Item lines and their sum."""
    rows, total = [], Decimal(0)
    for name in d.rng.sample(choices[d.language], count):
        price = d.price(low, high)
        total += price
        rows.append(f"{name} {d.number(price)}")
    return rows, total


def net_and_tax(d: Draft, net: Decimal) -> tuple[list[str], Decimal]:
    rate = Decimal("0.19") if d.language == "de" else Decimal("0.2")
    tax = (net * rate).quantize(Decimal("0.01"))
    return [f"{d.label('subtotal')} {d.money(net)}", f"{d.label('vat')} {d.money(tax)}"], net + tax


@layout("invoice", "service", "shop")
def invoice_classic(d: Draft) -> list[str]:
    """Sender, recipient, numbers, items, net, tax, total, due date."""
    items, net = priced(d, SERVICES if d.sender.trade == "service" else ITEMS, d.rng.randint(1, 3), 8, 400)
    sums, d.amount = net_and_tax(d, net)
    return lines(
        d.from_whom,
        d.address(),
        d.recipient(),
        f"{d.label('invoice')} {d.code('20##-####')}",
        d.dated("date"),
        f"{d.label('delivery')}: {d.earlier()}" if d.rng.random() < 0.5 else "",
        items,
        sums,
        f"{d.label('total')} {d.total}",
        f"{d.label('due')}: {d.later()}",
        f"IBAN {d.sender.iban}" if d.rng.random() < 0.4 else "",
    )


@layout("invoice", "service", "shop", "utility")
def invoice_compact(d: Draft) -> list[str]:
    """Title and date on one line, one position, tax included."""
    d.amount = d.price(15, 900)
    return lines(
        f"{d.label('invoice')} {d.code()}  {d.today}",
        f"{d.from_whom} - {d.sender.city} - Tel. {d.sender.phone}",
        f"{d.label('customer')}: {d.person}",
        f"{d.pick(SERVICES)} {d.earlier()}",
        f"{d.label('total')}: {d.total} ({d.label('vat')}: {d.number(d.price(1, 14))})",
        f"{d.label('due')} {d.later()}",
    )


@layout("invoice", "utility")
def utility_bill(d: Draft) -> list[str]:
    """Consumption over a period; advance payments already made; what is left to pay."""
    whole, paid = d.price(300, 2400), d.price(80, 250)
    d.amount = whole - paid
    return lines(
        d.label("page"),
        d.from_whom,
        f"{d.label('customer')} {d.code('### ### ##')}",
        d.dated("date"),
        f"{d.label('period')}: {d.earlier(300, 360)} - {d.earlier(5, 20)}",
        f"{d.rng.randint(400, 4200)} kWh  {d.money(whole)}",
        f"- {d.money(paid)}",
        f"{d.label('total')}: {d.total}",
        f"{d.label('due')}: {d.later()}",
    )


@layout("invoice", "shop")
def invoice_online(d: Draft) -> list[str]:
    """An online order: two dates, shipping, the sender only in the footer."""
    items, net = priced(d, ITEMS, d.rng.randint(1, 3), 5, 150)
    shipping = d.price(3, 8)
    d.amount = net + shipping
    head = [f"{d.label('order_date')}: {d.earlier(1, 5)}", *d.dated("date")]
    d.rng.shuffle(head)
    return lines(
        f"{d.label('number')} {d.code('###-#######')}",
        head,
        d.recipient()[:1],
        items,
        f"{d.label('subtotal')}: {d.money(net)}",
        f"{d.label('shipping')}: {d.money(shipping)}",
        f"{d.label('total')}: {d.total}",
        f"{d.from_whom}, {d.sender.street}, {d.sender.city}",
    )


@layout("receipt", "shop")
def receipt_till(d: Draft) -> list[str]:
    """A till receipt: items, total, cash and change, date at the end."""
    items, d.amount = priced(d, ITEMS, d.rng.randint(2, 6), 0.5, 30)
    cash = (d.amount // 10 + 1) * 10
    at = f"{d.rng.randint(8, 20):02}:{d.rng.randint(0, 59):02}"
    return lines(
        d.from_whom,
        d.address(),
        f"Tel {d.sender.phone}" if d.rng.random() < 0.5 else "",
        items,
        f"{d.label('total')} {d.total}",
        f"{d.label('cash')} {d.number(cash)}",
        f"{d.label('change')} {d.number(cash - d.amount)}",
        f"{d.label('receipt_date')} {d.today} {at}" if d.shows_date else "",
        d.pick(THANKS),
    )


@layout("receipt", "shop", "service")
def receipt_card(d: Draft) -> list[str]:
    """A card slip."""
    d.amount = d.price(4, 260)
    card = d.rng.choice(["VISA", "Mastercard", "girocard", "CB"])
    return lines(
        f"{card} **** {d.code('####')}",
        d.from_whom,
        f"Terminal {d.code('########')}  {d.today}",
        f"{d.label('total')} {d.total}",
        f"Auth {d.code('######')} OK",
    )


@layout("receipt", "office", "service")
def receipt_fee(d: Draft) -> list[str]:
    """A fee paid at the counter, with the date on top."""
    d.amount = d.price(5, 120)
    return lines(
        f"{d.sender.city} {d.today}",
        f"{d.label('number')} {d.code('##/####')}",
        f"{d.pick(SERVICES)}: {d.total}",
        f"{d.label('cash')}: {d.money(d.amount)}",
        d.person,
        d.from_whom,
    )
