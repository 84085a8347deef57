"""The grammar of an answer, asked with a matcher of our own: what it admits, and what it keeps out."""

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from fakes.gbnf import Gbnf
from tunesmith.tasks.candidates import candidates
from tunesmith.tasks.grammar import build_grammar
from tunesmith.tasks.grounding import Automaton, Cuts, cut, shape, shaped, white_space
from tunesmith.tasks.schema import Field
from tunesmith.tasks.style import Style

RECEIPT = 'INDAH GIFT & HOME "DECO"\n27,JALAN DEDAP 13,\nTAMAN JOHOR\\JAYA\nDATE 19/10/2018 20:49\nTOTAL RM60.31 (6%)'
NASTY = [
    'quotes " and \\ back\\slash "',
    "control \x01\x02\x1b chars \x7f and tab\tnew\nline\r\nend",
    "emoji 😀👩‍👩‍👧 and é ñ ü ß",
    "شركة المياه ١٢٫٥٠ ריאל 12.50",
    "[brackets] {braces} | pipe ^ caret - minus ]",
    "a" * 400,
    "lone \ud800 surrogate",
    "日本語 領収書 1,200円",
    "...---...",
    " ",
    "",
]


def field(grounding: str = "numbers", **options: object) -> Field:
    return replace(Field("v", nullable=False, grounding=grounding), **options)  # type: ignore[arg-type]


def admits(text: str, value: str, f: Field, style: Style | None = None) -> bool:
    style = style or Style()
    grammar = Gbnf(build_grammar([f], style, text, {f.name: candidates(f, text)}))
    return grammar.admits(style.dump({f.name: value}))


@pytest.mark.parametrize(
    ("how", "value", "expected"),
    [
        ("numbers", "60.31", True),
        ("numbers", "RM60.31", True),
        ("numbers", "0.3", False),
        ("numbers", "60", False),
        ("pieces", "60", True),
        ("pieces", "0.31", False),
        ("numbers", "10/2018", False),
        ("numbers", "19/10/2018 20:49", True),
        ("numbers", 'INDAH GIFT & HOME "DECO"', True),
        ("numbers", "INDAH HOME", False),
        ("numbers", "NDAH", False),
        ("numbers", "indah", False),
        ("numbers", "27,JALAN DEDAP 13, TAMAN", True),
        ("numbers", "27, JALAN", False),
        ("numbers", "27,JALAN DEDAP 13,TAMAN", False),
        ("marks", "27, JALAN DEDAP 13, TAMAN", True),
        ("marks", "27 ,JALAN DEDAP 13,TAMAN", True),
        ("marks", "27 JALAN DEDAP 13, TAMAN", False),
        ("marks", "27, JALAN DEDAP13", False),
        ("marks", "27,  JALAN", False),
        ("words", "27, JALAN DEDAP 13, TAMAN JOHOR JAYA", True),
        ("words", "27 JALAN DEDAP 13 TAMAN", True),
        ("words", "JALAN 13", False),
        ("words", "(6%)", True),
        ("numbers", "", False),
    ],
)
def test_only_stretches_of_the_document(how: str, value: str, expected: bool) -> None:
    assert admits(RECEIPT, value, field(how)) is expected
    assert bool(Cuts(RECEIPT, how).places(value)) is expected


def test_a_value_of_one_line_stays_on_its_line() -> None:
    assert admits(RECEIPT, "13, TAMAN", field(lines=True))
    assert not admits(RECEIPT, "13, TAMAN", field(lines=False))


@pytest.mark.parametrize("how", ["numbers", "pieces", "words"])
@pytest.mark.parametrize("style", [Style(), Style(ascii=True), Style(",", ":"), Style(",", ": ", "  ")])
@pytest.mark.parametrize("text", NASTY)
def test_any_text_makes_a_sound_grammar(text: str, how: str, style: Style) -> None:
    grammar = build_grammar([field(how)], style, text)
    grammar.encode("utf-8")
    parsed = Gbnf(grammar)
    pieces = cut(text, how)
    for first, second in [(p, None) for p in pieces[:20]] + list(pairwise(pieces[:20])):
        value = first.text + ((" " if second.gap else "") + second.text if second and how != "words" else "")
        assert parsed.admits(style.dump({"v": value})), value
    if not pieces:
        assert parsed.admits(style.dump({"v": "anything"}))  # a document without text holds to nothing


def test_the_grammar_and_the_quick_check_agree_on_random_values() -> None:
    rng = random.Random(5)
    alphabet = ["ab", "12", "1.5", " ", "\n", ",", "/", "é", '"']
    for how in ("numbers", "pieces", "marks", "words"):
        for _ in range(60):
            text = "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 14)))
            flat = " ".join(text.split())
            for lines in (True, False):
                grammar = Gbnf(build_grammar([field(how, lines=lines)], Style(), text))
                quick = Cuts(text, how)
                for _ in range(8):
                    start = rng.randint(0, len(flat))
                    value = flat[start : rng.randint(start, len(flat))]
                    if how == "marks" and value:
                        at = rng.randrange(len(value))
                        value = f"{value[:at]} {value[at:]}" if rng.random() < 0.5 else value.replace(" ", "", 1)
                    if quick.pieces:
                        assert grammar.admits(Style().dump({"v": value})) == bool(quick.places(value, lines)), (
                            text,
                            value,
                        )


@pytest.mark.parametrize("how", ["pieces", "marks", "words"])
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_the_automaton_accepts_every_stretch_and_nothing_else(starts: bool, ends: bool, how: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        texts = [
            "".join(rng.choice("ab,") + rng.choice(["", " ", "\n"]) for _ in range(rng.randint(1, 9))) for _ in "xy"
        ]
        parts = [part for text in texts if (part := cut(text, how))]
        automaton = Automaton(parts, how, starts, ends)
        wanted = set()
        for part in parts:
            for i in range(len(part)):
                for j in range(i, len(part)):
                    if (part[i].starts_line or not starts) and (part[j].ends_line or not ends):
                        rest = tuple((white_space(how, a, b), b.text) for a, b in pairwise(part[i : j + 1]))
                        wanted.add((("", part[i].text), *rest))

        def accepted(state: int, automaton: Automaton = automaton) -> set[tuple[tuple[str, str], ...]]:
            found: set[tuple[tuple[str, str], ...]] = {()} if automaton.final[state] else set()
            return found | {(s, *more) for s, to in automaton.edges[state].items() for more in accepted(to)}

        assert accepted(0) == wanted
        assert len(automaton.edges) <= 2 * sum(map(len, parts)) + 2


@pytest.mark.parametrize("how", ["numbers", "pieces", "marks", "words"])
def test_a_value_of_whole_lines_cannot_begin_or_end_within_one(how: str) -> None:
    text = "ACME HARDWARE\n12 JALAN DUA\n81100 JOHOR\nTEL 07 1234"
    f = field(how, starts_line=True, ends_line=True)
    for value, expected in [
        ("ACME HARDWARE", True),
        ("12 JALAN DUA 81100 JOHOR", True),
        ("HARDWARE", False),
        ("12 JALAN DUA 81100", False),
        ("JALAN DUA 81100 JOHOR", False),
    ]:
        assert admits(text, value, f) is expected, value


def test_a_long_document_falls_back_to_any_string() -> None:
    text = " ".join(f"word{i}" for i in range(5000))
    grammar = build_grammar([field(max_length=30)], Style(), text)
    assert len(grammar) < 5000
    assert Gbnf(grammar).admits('{"v": "free text"}')
    assert not Gbnf(grammar).admits('{"v": "' + "x" * 31 + '"}')


def test_recurring_answers_that_no_document_holds_are_admitted() -> None:
    f = field(literals=('Water & "Co"',))
    assert admits(RECEIPT, 'Water & "Co"', f)
    assert not admits(RECEIPT, "Water", f)


def test_answers_known_from_training_are_admitted_where_the_document_resembles_them() -> None:
    f = field(known=("27, JALAN DEDUP 13, TAMAN JOHOR JAYA", "9, JALAN BESAR"))
    assert admits(RECEIPT, "27, JALAN DEDUP 13, TAMAN JOHOR JAYA", f)
    assert not admits(RECEIPT, "9, JALAN BESAR", f)


def test_shapes() -> None:
    assert [shape(v) for v in ("60.31", "RM 60.31", "15 MAR 2018", "-3")] == ["9.9", "A 9.9", "9 A 9", "-9"]
    assert shaped(RECEIPT, ["9.9", "A9.9"], lines=False) == ["RM60.31", "60.31"]
    f = field(shapes=("9/9/9",))
    assert admits(RECEIPT, "19/10/2018", f)
    assert not admits(RECEIPT, "20:49", f)
    assert admits("no date here 20:49", "20:49", f)  # nothing of the shape: any stretch


def test_what_only_looks_like_a_date_is_no_candidate() -> None:
    text = "CALL 1-300-80 INV 11-23-42\n15-03-18 9:40"
    assert candidates(field(shapes=("9-9-9",)), text) == ("1-300-80", "11-23-42", "15-03-18")
    assert candidates(field(shapes=("9-9-9",), dates=("dmy",)), text) == ("15-03-18",)


@pytest.mark.parametrize(
    ("f", "value", "expected"),
    [
        (Field("v"), None, True),
        (Field("v", nullable=False), None, False),
        (Field("v", "enum", choices=("a", "b"), nullable=False), "a", True),
        (Field("v", "enum", choices=("a", "b")), "c", False),
        (Field("v", "date"), "2025-02-28", True),
        (Field("v", "date"), "28.02.2025", False),
        (Field("v", "money"), "-12.30", True),
        (Field("v", "money"), "12.3", False),
        (Field("v", "money"), "007.00", False),
        (Field("v", "integer"), -5, True),
        (Field("v", "integer"), 1.5, False),
        (Field("v", "number"), 1.5, True),
        (Field("v", "boolean"), True, True),
        (Field("v", "boolean"), "true", False),
        (Field("v", "json"), {"a": [1, {"b": None}]}, True),
        (Field("v", max_length=3), "abcd", False),
        (Field("v", max_length=3), 'é"\n', True),
    ],
)
@pytest.mark.parametrize("style", [Style(), Style(ascii=True)])
def test_free_fields_are_held_to_their_kind(f: Field, value: object, expected: bool, style: Style) -> None:
    assert Gbnf(build_grammar([f], style, "text")).admits(style.dump({"v": value})) is expected


@pytest.mark.parametrize(
    "style",
    [
        Style(),
        Style(",", ":"),
        Style(",", ": ", "  "),
        Style(",", ": ", "\t"),
        Style(", ", ": ", None, True, "```json"),
    ],
)
def test_the_style_is_kept_exactly(style: Style) -> None:
    fields = [Field("a b", nullable=False), Field('k"ey', "integer", nullable=False), Field("ü")]
    grammar = Gbnf(build_grammar(fields, style, "text"))
    answer = {"a b": "ü", 'k"ey': 3, "ü": None}
    assert grammar.admits(style.dump(answer))
    assert not grammar.admits(json.dumps(answer, indent=7))
    assert not grammar.admits(style.dump(dict(reversed(answer.items()))))


def test_optional_fields_may_be_left_out_in_any_combination() -> None:
    fields = [Field(name, "integer", nullable=False, optional=name != "b") for name in "abc"]
    grammar = Gbnf(build_grammar(fields, Style(), "text"))
    for keys, expected in [("abc", True), ("b", True), ("ab", True), ("bc", True), ("ac", False), ("", False)]:
        assert grammar.admits(json.dumps(dict.fromkeys(keys, 1))) is expected, keys
