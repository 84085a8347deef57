"""A home's tools, what people say to them, and what the call is then. The last ones are held out."""

from dataclasses import dataclass, field
from typing import Any

ROOMS = ("kitchen", "hall", "bedroom", "office", "bathroom", "garage")
NUMBERS: dict[str, tuple[int, int]] = {
    "percent": (5, 100), "degrees": (15, 26), "minutes": (2, 90), "volume": (1, 10), "amount": (1, 12),
}  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {
    "room": ROOMS,
    "item": ("oat milk", "batteries", "apples", "coffee", "soap", "rice"),
    "label": ("pasta", "laundry", "tea", "the cake", "homework"),
    "artist": ("Nina Simone", "Bach", "Radiohead", "Miriam Makeba"),
    "person": ("Lena", "Omar", "Pia", "Grandma"),
    "text": ("dinner is ready", "I am on my way", "the parcel is here", "please call me"),
    "day": ("2025-03-04", "2025-06-21", "2025-11-30", "2026-01-15"),
    "title": ("dentist", "parents' evening", "chimney sweep", "piano lesson"),
    "city": ("Bremen", "Lyon", "Oslo", "Graz"),
    "program": ("eco", "quick", "intensive"),
    "colour": ("red", "warm white", "blue", "green"),
    "zone": ("front garden", "back garden", "greenhouse"),
    "device": ("dishwasher", "dryer", "television", "heat pump"),
    "station": ("main station", "airport", "harbour", "town hall"),
    "serial": ("EL-771", "WA-102", "GA-330"),
}


@dataclass(frozen=True)
class Saying:
    """A request with {slots}, and the arguments: a slot's name in braces, or a value. `asks`: what is missing."""

    text: str
    arguments: dict[str, Any]
    asks: str = ""


@dataclass(frozen=True)
class Sample:
    name: str
    description: str
    properties: dict[str, Any]
    required: tuple[str, ...]
    sayings: tuple[Saying, ...]
    held_out: bool = field(default=False)

    @property
    def schema(self) -> dict[str, Any]:
        parameters = {"type": "object", "properties": self.properties, "required": list(self.required)}
        return {"name": self.name, "description": self.description, "parameters": parameters}


_ROOM = {"type": "string", "enum": list(ROOMS)}
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_DATE = {"type": "string", "format": "date"}

SAMPLES = (
    Sample(
        "set_light", "Switch a light on or off, with a brightness in percent.",
        {"room": _ROOM, "on": {"type": "boolean"}, "brightness": {"type": "integer", "minimum": 0, "maximum": 100}},
        ("room", "on"),
        (
            Saying("Turn on the light in the {room}.", {"room": "{room}", "on": True}),
            Saying("It is too bright in the {room}, switch the light off.", {"room": "{room}", "on": False}),
            Saying("Light in the {room} at {percent} percent, please.",
                   {"room": "{room}", "on": True, "brightness": "{percent}"}),
            Saying("Dim the {room} light to {percent} %.", {"room": "{room}", "on": True, "brightness": "{percent}"}),
            Saying("Turn on the light.", {}, "In which room?"),
        ),
    ),
    Sample(
        "set_temperature", "Set the heating of a room, in degrees Celsius.",
        {"room": _ROOM, "degrees": {"type": "number"}}, ("room", "degrees"),
        (
            Saying("Heat the {room} to {degrees} degrees.", {"room": "{room}", "degrees": "{degrees}"}),
            Saying("I want it {degrees} °C in the {room}.", {"room": "{room}", "degrees": "{degrees}"}),
            Saying("Make the {room} warmer.", {}, "How warm should it be?"),
        ),
    ),
    Sample(
        "start_timer", "Start a kitchen timer.", {"minutes": _WHOLE, "label": _TEXT}, ("minutes",),
        (
            Saying("Set a timer for {minutes} minutes.", {"minutes": "{minutes}"}),
            Saying("Timer for {label}: {minutes} minutes.", {"minutes": "{minutes}", "label": "{label}"}),
            Saying("Start a timer for {label}.", {}, "For how many minutes?"),
        ),
    ),
    Sample(
        "add_to_shopping_list", "Put things on the shopping list.",
        {"item": _TEXT, "amount": {"type": "integer", "default": 1}}, ("item",),
        (
            Saying("We need {item}.", {"item": "{item}"}),
            Saying("Put {amount} packs of {item} on the list.", {"item": "{item}", "amount": "{amount}"}),
            Saying("Add {item} to the shopping list, please.", {"item": "{item}"}),
        ),
    ),
    Sample(
        "play_music", "Play music in a room, at a volume from 1 to 10.",
        {"artist": _TEXT, "room": _ROOM, "volume": {"type": "integer", "minimum": 1, "maximum": 10}}, ("artist",),
        (
            Saying("Play {artist}.", {"artist": "{artist}"}),
            Saying("I would like to hear {artist} in the {room}.", {"artist": "{artist}", "room": "{room}"}),
            Saying("{artist} in the {room} at volume {volume}.",
                   {"artist": "{artist}", "room": "{room}", "volume": "{volume}"}),
        ),
    ),
    Sample(
        "send_message", "Send a message to somebody of the family.", {"to": _TEXT, "text": _TEXT}, ("to", "text"),
        (
            Saying("Tell {person} that {text}.", {"to": "{person}", "text": "{text}"}),
            Saying("Message to {person}: {text}", {"to": "{person}", "text": "{text}"}),
            Saying("Write to {person}.", {}, "What should I write?"),
        ),
    ),
    Sample(
        "add_event", "Put an event into the family calendar.",
        {"title": _TEXT, "date": _DATE, "who": {"type": "array", "items": _TEXT}}, ("title", "date"),
        (
            Saying("Put {title} on {day} into the calendar.", {"title": "{title}", "date": "{day}"}),
            Saying("{person} has {title} on {day}.", {"title": "{title}", "date": "{day}", "who": ["{person}"]}),
            Saying("Enter {title} in the calendar.", {}, "On which day?"),
        ),
    ),
    Sample(
        "start_washing", "Start the washing machine.",
        {"program": {"type": "string", "enum": list(WORDS["program"])}}, ("program",),
        (
            Saying("Start the washing machine with the {program} program.", {"program": "{program}"}),
            Saying("Wash the clothes, {program}.", {"program": "{program}"}),
        ),
    ),
    Sample(
        "set_blinds", "Move the blinds of a room: 0 is closed, 100 is open.",
        {"room": _ROOM, "position": {"type": "integer", "minimum": 0, "maximum": 100}}, ("room", "position"),
        (
            Saying("Close the blinds in the {room}.", {"room": "{room}", "position": 0}),
            Saying("Open the {room} blinds.", {"room": "{room}", "position": 100}),
            Saying("Blinds in the {room} to {percent} percent.", {"room": "{room}", "position": "{percent}"}),
        ),
    ),
    Sample(
        "get_weather", "Tell the weather of a city.", {"city": _TEXT, "date": _DATE}, ("city",),
        (
            Saying("What is the weather like in {city}?", {"city": "{city}"}),
            Saying("Will it rain in {city} on {day}?", {"city": "{city}", "date": "{day}"}),
        ),
    ),
    Sample(
        "lock_doors", "Lock all doors of the house.", {}, (),
        (Saying("Lock the doors.", {}), Saying("We are leaving, please lock up.", {}), Saying("Lock everything.", {})),
    ),
    Sample(
        "set_lamp_colour", "Change the colour of the lamp of a room.",
        {"colour": _TEXT, "room": _ROOM}, ("colour", "room"),
        (
            Saying("Make the lamp in the {room} {colour}.", {"colour": "{colour}", "room": "{room}"}),
            Saying("{colour} light in the {room}, please.", {"colour": "{colour}", "room": "{room}"}),
        ),
    ),
    Sample(
        "water_garden", "Water a zone of the garden for some minutes.",
        {"zone": {"type": "string", "enum": list(WORDS["zone"])}, "minutes": _WHOLE}, ("zone", "minutes"),
        (
            Saying("Water the {zone} for {minutes} minutes.", {"zone": "{zone}", "minutes": "{minutes}"}),
            Saying("{minutes} minutes of water for the {zone}.", {"zone": "{zone}", "minutes": "{minutes}"}),
            Saying("The {zone} needs water.", {}, "For how many minutes?"),
        ),
        True,
    ),
    Sample(
        "get_power_use", "Tell how much power a device has used since a date.",
        {"device": _TEXT, "since": _DATE}, ("device",),
        (
            Saying("How much power does the {device} use?", {"device": "{device}"}),
            Saying("What has the {device} used since {day}?", {"device": "{device}", "since": "{day}"}),
        ),
        True,
    ),
    Sample(
        "next_departure", "Tell the next departures from a station.",
        {"station": _TEXT, "count": {"type": "integer", "default": 3}}, ("station",),
        (
            Saying("When is the next bus from the {station}?", {"station": "{station}"}),
            Saying("Show the next {amount} departures from the {station}.",
                   {"station": "{station}", "count": "{amount}"}),
        ),
        True,
    ),
    Sample(
        "log_meter", "Write down the reading of a meter.", {"serial": _TEXT, "value": {"type": "number"}},
        ("serial", "value"),
        (
            Saying("Meter {serial} is at {minutes}.", {"serial": "{serial}", "value": "{minutes}"}),
            Saying("Write down {minutes} for the meter {serial}.", {"serial": "{serial}", "value": "{minutes}"}),
            Saying("Note the reading of {serial}.", {}, "What does it show?"),
        ),
        True,
    ),
)  # fmt: skip
