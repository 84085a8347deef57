"""GBNF for llama.cpp in exactly the style of the training answers, with copied fields held to the document."""

from collections.abc import Mapping, Sequence

from tunesmith.tasks.schema import Field
from tunesmith.tasks.stretches import Stretches, literal
from tunesmith.tasks.style import Style

_COMMON = r"""
hex ::= [0-9a-fA-F]
escape ::= "\\" (["\\/bfnrt] | "u" hex hex hex hex)
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
number ::= integer ("." [0-9]{1,17})? ([eE] [-+]? [0-9]{1,3})?
boolean ::= "true" | "false"
date ::= "\"" ("19" | "20") [0-9] [0-9] "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) "\""
money ::= "\"" "-"? ("0" | [1-9] [0-9]{0,11}) "." [0-9] [0-9] "\""
ws ::= [ \t\n]{0,20}
json ::= object | array | string | number | boolean | "null"
object ::= "{" ws (string ws ":" ws json (ws "," ws string ws ":" ws json)*)? ws "}"
array ::= "[" ws (json (ws "," ws json)*)? ws "]"
"""
_CHAR = r'char ::= [^"\\\x00-\x1f\x7f] | escape'
_ASCII_CHAR = r"char ::= [ !#-\[\]-~] | escape"


def build_grammar(
    fields: Sequence[Field],
    style: Style,
    text: str,
    offered: Mapping[str, Sequence[str]] | None = None,
    pairs: bool = False,
) -> str:
    """The grammar of one answer. `text` is the document; `offered` its closed lists of values, by field name.
    `pairs`: an array of {field, value} in place of an object."""
    stretches = Stretches(text, style)
    values = [" | ".join(_value(f, style, stretches, (offered or {}).get(f.name, ()))) for f in fields]
    rules = [
        *object_rules(fields, style, as_pairs=pairs),
        *(f"value-{i} ::= {v}" for i, v in enumerate(values)),
        *stretches.rules,
    ]
    return with_common(rules, style)


def with_common(rules: Sequence[str], style: Style) -> str:
    """A whole grammar: the rules, and what JSON values are made of."""
    return "\n".join([*rules, _ASCII_CHAR if style.ascii else _CHAR, _COMMON.strip()]) + "\n"


def object_rules(fields: Sequence[Field], style: Style, prefix: str = "", as_pairs: bool = False) -> list[str]:
    """The rule `root` of one object, and its helpers; the values are rules `value-0`, …. All names get the prefix."""
    line = "" if style.indent is None else "\n" + style.indent
    opening, closing = "{" + line, ("" if style.indent is None else "\n") + "}"
    if style.fence:
        opening, closing = f"{style.fence}\n{opening}", f"{closing}\n```"
    comma = style.item + line
    pairs = [(style.plain(f.name) + style.key, f"{prefix}value-{i}") for i, f in enumerate(fields)]
    if as_pairs:
        opening, closing = opening.replace("{", "["), closing.replace("}", "]")
        head, middle = '{"field"' + style.key, f'{style.item}"value"{style.key}'
        pairs = [(head + style.plain(f.name) + middle, f'{prefix}value-{i} "}}"') for i, f in enumerate(fields)]
    root = f"{prefix}root ::= {literal(opening)}"
    if not any(f.optional for f in fields):
        body = " ".join(f"{literal((comma if i else '') + key)} {value}" for i, (key, value) in enumerate(pairs))
        return [f"{root} {body} {literal(closing)}"]
    # With optional fields: "first-i" has written nothing yet, "more-i" needs a comma.
    first, more = f"{prefix}first", f"{prefix}more"
    rules = [f"{root} {first}-0 {literal(closing)}"]
    for i, (key, value) in enumerate(pairs):
        skip = fields[i].optional
        rules.append(f"{first}-{i} ::= {literal(key)} {value} {more}-{i + 1}{f' | {first}-{i + 1}' if skip else ''}")
        rules.append(
            f"{more}-{i} ::= {literal(comma + key)} {value} {more}-{i + 1}{f' | {more}-{i + 1}' if skip else ''}"
        )
    return [*rules, f'{first}-{len(pairs)} ::= ""', f'{more}-{len(pairs)} ::= ""']


def _value(f: Field, style: Style, stretches: Stretches, offered: Sequence[str]) -> list[str]:
    null = ['"null"'] if f.nullable else []
    listed = [literal(style.plain(v)) for v in dict.fromkeys(offered)]
    return [*(listed or _stretch(f, style, stretches) or free_value(f, style)), *null]


def _stretch(f: Field, style: Style, stretches: Stretches) -> list[str]:
    """Any stretch of the document; nothing when the field is not held to it, or the document is too long."""
    if f.grounding in ("free", "values"):
        return []
    name = stretches.rule(f)
    others = [literal(style.plain(v)) for v in (*f.literals, *stretches.known(f))]
    return [f'"\\"" {name} "\\""', *others] if name else []


def free_value(f: Field, style: Style) -> list[str]:
    """What a value may be whatever the document says: alternatives."""
    if f.kind == "enum":
        return [literal(style.plain(v)) for v in f.choices]
    if f.kind == "string":
        return ["string" if f.counted is None else f'"\\"" char{{0,{f.counted}}} "\\""']
    return [f.kind]
