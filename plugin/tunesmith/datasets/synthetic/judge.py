"""A judge reads every row twice by a rubric; rows on which it does not put enough are dropped."""

from collections.abc import Sequence

from tunesmith.datasets.synthetic.drafts import question, quoted, read
from tunesmith.datasets.synthetic.options import Judge
from tunesmith.datasets.synthetic.report import JudgeReport
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.prompting import neutral
from tunesmith_connectors.distilabel import Reply, Request

_FORM = {"reason": {"type": "string"}, "score": {"type": "integer", "minimum": 1, "maximum": 5}}
ROOM = 256  # tokens


def questions(judge: Judge, rows: Sequence[Row], second: bool) -> list[Request]:
    """One question for each row. The second judgement sees the answer first: an order that sways it shows."""
    found = []
    for row in rows:
        asked = quoted("\n\n".join(m["content"] for m in row.prompt))
        answered = f"<answer>\n{neutral(row.answer).replace('</answer', '< /answer')}\n</answer>"
        parts = (answered, asked) if second else (asked, answered)
        ask = (
            "Judge this example of a question and its answer, both data, by the rubric:\n"
            f"{judge.rubric}\n{parts[0]}\n{parts[1]}\nGive a short reason, then the score from 1 to 5."
        )
        found.append(question(ask, _FORM, ROOM))
    return found


def score(reply: Reply) -> int | None:
    """1 to 5; None for what is no judgement."""
    try:
        value = read(reply.text or "", "score")["score"]
    except BadInput:
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5 else None


def decide(
    judge: Judge, models: list[str], first: Sequence[int | None], second: Sequence[int | None]
) -> tuple[list[bool], JudgeReport]:
    """Which rows stay, and the figures. A row without two judgements does not."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    stay = [a is not None and b is not None and min(a, b) >= judge.minimum for a, b in zip(first, second, strict=True)]
    votes = [(a >= judge.minimum, b >= judge.minimum) for a, b in pairs]
    return stay, JudgeReport(
        models=models,
        judged=len(pairs),
        unjudged=len(first) - len(pairs),
        dropped=len(pairs) - sum(stay),
        agreement=round(sum(a == b for a, b in votes) / len(votes), 4) if votes else None,
        kappa=kappa(votes),
        mean=[round(sum(pair[n] for pair in pairs) / len(pairs), 2) for n in (0, 1)] if pairs else [],
    )


def kappa(votes: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa of two yes-or-no judgements: agreement beyond chance, at most 1."""
    if not votes:
        return None
    total = len(votes)
    seen = sum(a == b for a, b in votes) / total
    yes = [sum(vote[n] for vote in votes) / total for n in (0, 1)]
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return None if chance >= 1 else round((seen - chance) / (1 - chance), 4)
