"""What a dataset's report says about its synthetic rows."""

from pydantic import BaseModel


class Usage(BaseModel):
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class JudgeReport(BaseModel):
    """`agreement`: share of the rows on which both judgements say the same, keep or drop; `kappa`: Cohen's, None where
    chance alone explains all (both always say the same). `mean`: of each judge's marks."""

    models: list[str]
    judged: int = 0
    unjudged: int = 0
    dropped: int = 0
    agreement: float | None = None
    kappa: float | None = None
    mean: list[float] = []


class SyntheticReport(BaseModel):
    """`made`: rows that passed the checks; `kept`: those left after duplicates went. `failed`: questions without an
    answer, by reason; `refused`: answers that failed a check, by code. `estimate`: said before, from above; `used`:
    paid for in the end, whichever attempt paid. `stopped`: why it ended before `wanted` was reached."""

    like: str
    teacher: str | None
    wanted: int
    made: int = 0
    kept: int = 0
    pairs: int = 0
    kinds: dict[str, dict[str, int]] = {}
    asked: int = 0
    answered: int = 0
    failed: dict[str, int] = {}
    refused: dict[str, int] = {}
    duplicates_removed: int = 0
    too_like_test: int = 0
    estimate: Usage = Usage()
    used: Usage = Usage()
    budget_tokens: int | None = None
    budget_cost: float | None = None
    stopped: str | None = None
    judge: JudgeReport | None = None

    def sentence(self) -> str:
        """For people, in one line."""
        used = self.used.input_tokens + self.used.output_tokens
        price = f", cost {self.used.cost:.2f}" if self.used.cost else ""
        lost = sum(self.failed.values()), sum(self.refused.values())
        return (
            f"Synthetic: {self.kept} of {self.wanted} rows and {self.pairs} preference pairs, like {self.like}; "
            f"{lost[0]} questions failed, {lost[1]} answers refused, {self.duplicates_removed + self.too_like_test} "
            f"duplicates; {used} tokens{price}."
        )
