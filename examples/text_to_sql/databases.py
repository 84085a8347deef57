"""Small household databases: a table of things that belong to a table of others. The last three are held out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """`words`: what people call it. `kind`: text, number or date; `values`: texts, or the range of numbers."""

    name: str
    words: str
    kind: str
    values: tuple[str, ...] | tuple[int, int] = ()

    @property
    def type(self) -> str:
        return {"text": "TEXT", "number": "REAL", "date": "DATE"}[self.kind]


@dataclass(frozen=True)
class Table:
    name: str
    one: str
    many: str
    label: Column
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Schema:
    name: str
    parent: Table
    child: Table
    key: str  # the child's column that refers to the parent
    held_out: bool = False


def _text(name: str, words: str, *values: str) -> Column:
    return Column(name, words, "text", values)


def _number(name: str, words: str, low: int, high: int) -> Column:
    return Column(name, words, "number", (low, high))


def _date(name: str, words: str) -> Column:
    return Column(name, words, "date")


def _table(name: str, one: str, many: str, label: Column, *columns: Column) -> Table:
    return Table(name, one, many, label, columns)


SCHEMAS = (
    Schema(
        "bills",
        _table(
            "vendors", "vendor", "vendors", _text("name", "name", "Nordlicht Energie", "Aqua Nova", "Bell & Wire"),
            _text("city", "city", "Bremen", "Lyon", "Graz"), _text("trade", "trade", "power", "water", "phone"),
        ),
        _table(
            "bills", "bill", "bills", _text("number", "number", "R-1001", "R-2040", "INV-77"),
            _number("amount", "amount", 10, 400), _date("due_date", "due date"), _date("paid_on", "payment date"),
            _text("status", "status", "open", "paid", "disputed"),
        ),
        "vendor_id",
    ),
    Schema(
        "contracts",
        _table(
            "providers", "provider", "providers", _text("name", "name", "Helvia", "Stadtwerke Ost", "Fibra"),
            _text("country", "country", "DE", "CH", "FR"), _number("rating", "rating", 1, 5),
        ),
        _table(
            "contracts", "contract", "contracts", _text("title", "title", "Home insurance", "Internet 250", "Gas"),
            _number("monthly_fee", "monthly fee", 5, 120), _number("notice_days", "notice period", 14, 90),
            _date("ends_on", "end date"), _text("kind", "kind", "insurance", "telecom", "energy"),
        ),
        "provider_id",
    ),
    Schema(
        "readings",
        _table(
            "meters", "meter", "meters", _text("serial", "serial number", "EL-771", "WA-102", "GA-330"),
            _text("place", "place", "cellar", "kitchen", "garage"), _text("unit", "unit", "kWh", "m3", "l"),
        ),
        _table(
            "readings", "reading", "readings", _text("reader", "reader", "Ines", "Tom", "the agency"),
            _number("value", "value", 100, 9000), _date("read_on", "reading date"),
            _text("remark", "remark", "estimated"),
        ),
        "meter_id",
    ),
    Schema(
        "pantry",
        _table(
            "shelves", "shelf", "shelves", _text("label", "label", "A1", "B2", "freezer"),
            _number("capacity", "capacity", 5, 60), _text("room", "room", "kitchen", "cellar"),
        ),
        _table(
            "items", "item", "items", _text("name", "name", "rice", "peas", "olive oil", "flour"),
            _number("quantity", "quantity", 1, 30), _number("price", "price", 1, 25),
            _date("best_before", "best-before date"), _text("category", "category", "grain", "vegetable", "oil"),
        ),
        "shelf_id",
    ),
    Schema(
        "vehicles",
        _table(
            "vehicles", "vehicle", "vehicles", _text("plate", "plate", "HB-LK 12", "ZH 4711", "AB-123-CD"),
            _text("fuel", "fuel", "diesel", "petrol", "electric"), _number("mileage", "mileage", 1000, 200000),
        ),
        _table(
            "fillings", "filling", "fillings", _text("station", "station", "Shell Nord", "Aral City", "Home charger"),
            _number("litres", "number of litres", 5, 70), _number("cost", "cost", 8, 130), _date("filled_on", "date"),
        ),
        "vehicle_id",
    ),
    Schema(
        "books",
        _table(
            "authors", "author", "authors", _text("name", "name", "Ada Ferrante", "Jon Kalman", "Mo Yan"),
            _text("country", "country", "Italy", "Iceland", "China"), _number("born", "year of birth", 1920, 1990),
        ),
        _table(
            "books", "book", "books", _text("title", "title", "The Lighthouse", "Salt", "Northern Roads"),
            _number("pages", "number of pages", 80, 900), _date("bought_on", "purchase date"),
            _text("language", "language", "English", "German", "French"), _text("lent_to", "borrower", "Nora", "Max"),
        ),
        "author_id",
    ),
    Schema(
        "repairs",
        _table(
            "devices", "device", "devices", _text("name", "name", "dishwasher", "boiler", "router"),
            _text("brand", "brand", "Miele", "Bosch", "Ikon"), _date("bought_on", "purchase date"),
        ),
        _table(
            "repairs", "repair", "repairs", _text("fault", "fault", "leak", "no power", "noise"),
            _number("cost", "cost", 20, 600), _number("hours", "number of hours", 1, 12), _date("done_on", "date"),
            _text("craftsman", "craftsman", "Ruiz", "Keller", "Okafor"),
        ),
        "device_id",
    ),
    Schema(
        "payments",
        _table(
            "accounts", "account", "accounts", _text("name", "name", "joint", "savings", "travel"),
            _text("bank", "bank", "GLS", "Nordbank"), _number("balance", "balance", 0, 20000),
        ),
        _table(
            "payments", "payment", "payments", _text("purpose", "purpose", "rent", "groceries", "tax"),
            _number("amount", "amount", 5, 2000), _date("booked_on", "booking date"),
            _text("payee", "payee", "Landlord", "Market", "Tax office"),
        ),
        "account_id",
    ),
    Schema(
        "garden",
        _table(
            "beds", "bed", "beds", _text("name", "name", "south bed", "herb spiral", "greenhouse"),
            _number("area", "area", 1, 40), _text("soil", "soil", "sand", "clay", "loam"),
        ),
        _table(
            "plants", "plant", "plants", _text("species", "species", "tomato", "basil", "rose"),
            _number("height", "height", 5, 250), _date("planted_on", "planting date"),
            _text("light", "light", "sun", "shade"),
        ),
        "bed_id", True,
    ),
    Schema(
        "clinic",
        _table(
            "doctors", "doctor", "doctors", _text("surname", "surname", "Abel", "Moreau", "Singh"),
            _text("field", "field", "dentist", "eye doctor", "paediatrician"), _text("town", "town", "Basel", "Ulm"),
        ),
        _table(
            "visits", "visit", "visits", _text("patient", "patient", "Lena", "Omar", "Pia"),
            _number("fee", "fee", 20, 300), _number("wait_minutes", "waiting time", 0, 90), _date("visited_on", "date"),
            _text("reason", "reason", "check-up", "pain", "vaccination"),
        ),
        "doctor_id", True,
    ),
    Schema(
        "trips",
        _table(
            "travellers", "traveller", "travellers", _text("nickname", "nickname", "Bea", "Gus", "Uma"),
            _number("age", "age", 4, 80), _text("passport_country", "passport country", "NL", "ES"),
        ),
        _table(
            "trips", "trip", "trips", _text("destination", "destination", "Porto", "Oslo", "Crete"),
            _number("nights", "number of nights", 1, 21), _number("budget", "budget", 100, 4000),
            _date("starts_on", "start date"), _text("transport", "means of transport", "train", "plane", "car"),
        ),
        "traveller_id", True,
    ),
)  # fmt: skip
