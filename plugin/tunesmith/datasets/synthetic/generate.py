"""Drafts → questions → answers → checks → judge → rows. Every attempt is numbered, so that a restart asks the same."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tunesmith.datasets.splits import prompt_key
from tunesmith.datasets.synthetic import correction, dialogues, judge, kinds
from tunesmith.datasets.synthetic.asking import Asker, teacher_of
from tunesmith.datasets.synthetic.drafts import Draft, Seeds, signed
from tunesmith.datasets.synthetic.options import LOCAL, SyntheticOptions
from tunesmith.datasets.synthetic.report import SyntheticReport
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row

ROUNDS = 3  # a later one makes up for what the checks refused
MAKERS: dict[str, kinds.Maker] = {
    "layout": kinds.layout,
    "translate": kinds.translate,
    "rare": kinds.rare,
    "schema": kinds.from_schema,
    "ocr": kinds.ocr,
    "missing": kinds.missing,
    "correct": correction.correct,
    "dialogue": dialogues.dialogue,
}


@dataclass
class Made:
    """`rows` go to the training split, `pairs` (rows with a rejected answer) beside it."""

    rows: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)


class Synthesis:
    """One synthetic source. `generate` raises BadInput, Unavailable, and InterruptedError when asked to stop."""

    def __init__(
        self, options: SyntheticOptions, asker: Asker, seeds: Seeds, say: Callable[[str], None], seed: int = 0
    ):
        self.options, self.asker, self.seeds, self._say, self._random = options, asker, seeds, say, seed
        self.kinds = list(options.kinds) or kinds.usual(options, seeds.task, seeds)
        self._check()
        self._known = {prompt_key(row) for row in seeds.rows}
        self._refused: Counter[str] = Counter()
        self._tried: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._scores: list[list[int | None]] = [[], []]
        needs_teacher = bool(set(self.kinds) - set(LOCAL)) or options.judge is not None
        self.teacher = teacher_of(asker.settings, options).model if needs_teacher else None
        self.report = SyntheticReport(
            like=options.like,
            teacher=self.teacher,
            wanted=options.rows,
            budget_tokens=options.budget.tokens,
            budget_cost=options.budget.cost,
        )

    def generate(self) -> Made:
        made, number, only_pairs = Made(), 0, 0
        for round_number in range(ROUNDS):
            wanted = self.options.rows - len(made.rows) - only_pairs
            if wanted <= 0 or self.asker.out_of_budget:
                break
            drafts = [self._draft(n) for n in range(number, number + wanted)]
            number += wanted
            if round_number == 0:
                self._estimate([draft for draft, _ in drafts])
            found = self._judged(self._round(drafts))
            for draft, row in found:
                if row.rejected is not None:
                    made.pairs.append(row)
                if not draft.pairs_only:
                    made.rows.append(Row(row.messages, row.provenance))
            only_pairs += sum(draft.pairs_only for draft, _ in found)
            self._say(f"Synthetic: {len(made.rows)} of {self.options.rows} rows after {number} attempts.")
        self._finish(made, enough=len(made.rows) + only_pairs >= self.options.rows)
        return made

    def _check(self) -> None:
        task = self.seeds.task
        documents = set(self.kinds) - {"correct", "dialogue"}
        if documents and task.name not in kinds.DOCUMENT_TASKS:
            raise BadInput(
                f"The task {task.name} has no synthetic rows of the kind {sorted(documents)[0]}.",
                param="sources.synthetic.kinds",
                hint="Such are for extraction and classification; use correct, or like: tools for tool_use.",
            )
        if "dialogue" in self.kinds and task.name != "tool_use":
            raise BadInput("Dialogues about tools need task: tool_use.", param="task.type")
        if self.options.like not in ("schema", "tools") and not (self.seeds.rows or self.seeds.unlabelled):
            raise BadInput(
                f"There is no training row to be a seed of synthetic ones like {self.options.like}.",
                param="sources.synthetic.like",
                hint="Add documents, or use like: schema.",
            )

    def _draft(self, number: int) -> tuple[Draft, Row | None]:
        kind, own = self.kinds[number % len(self.kinds)], number // len(self.kinds)
        rng = Random(f"{self._random}:{kind}:{own}")  # noqa: S311  the same rows again after a crash
        draft, seed = MAKERS[kind](self.seeds, self.options, own, rng)
        self._tried[kind] += 1
        return draft, seed

    def _estimate(self, drafts: list[Draft]) -> None:
        """Says what one round costs at most. A correction's question is longer by the answer that it corrects."""
        questions = [draft.request("") for draft in drafts if draft.request]
        given, room = sum(q.prompt_tokens for q in questions), sum(q.max_tokens for q in questions)
        number = len(questions)
        if self.options.judge:  # a judge reads about what the teacher read, and the rubric
            number += 2 * len(drafts)
            given += 2 * (given + len(drafts) * len(self.options.judge.rubric) // 3)
            room += 2 * len(drafts) * judge.ROOM
        self.report.estimate = self.asker.price(number, given, room)
        limits = self.options.budget
        budget = [f"{limits.tokens} tokens"] if limits.tokens else []
        budget += [f"a cost of {limits.cost:g}"] if limits.cost else []
        self._say(
            f"Synthetic: {number} questions to {self.teacher or 'nobody'}, about {given + room} tokens at most"
            + (f", cost {self.report.estimate.cost:.2f}" if self.report.estimate.cost else "")
            + f"; budget: {' and '.join(budget) or 'no limit'}."
        )

    def _round(self, drafts: list[tuple[Draft, Row | None]]) -> list[tuple[Draft, Row]]:
        """Rows that passed the checks, each with its draft."""
        firsts = [draft for draft, _ in drafts if draft.first]
        base = self.asker.answer([d.first for d in firsts if d.first])
        for draft, reply in zip(firsts, base, strict=True):
            draft.said = reply.text or ""
        asked = [draft for draft, _ in drafts if draft.request and (not draft.first or draft.said)]
        replies = self.asker.teach([d.request(d.said) for d in asked if d.request])
        answers = {id(draft): reply.text for draft, reply in zip(asked, replies, strict=True)}
        found = []
        for draft, seed in drafts:
            text = answers.get(id(draft)) if draft.request else draft.said
            if text is None or (draft.first and not draft.said):
                continue  # counted as failed
            try:
                rows = draft.rows(text)
            except BadInput as error:
                self._refused[error.error_code] += 1
                continue
            found += [(draft, self._sign(draft, seed, row)) for row in rows if self._is_new(row)]
        return found

    def _is_new(self, row: Row) -> bool:
        """Whether no row, and no seed, asks the same but for digits; a pair about a seed asks what the seed asks."""
        if row.rejected is not None:
            return True
        key = prompt_key(row)
        if key in self._known:
            self._refused["duplicate"] += 1
            return False
        self._known.add(key)
        return True

    def _sign(self, draft: Draft, seed: Row | None, row: Row) -> Row:
        if draft.pairs_only and seed is not None:
            row.provenance = {**seed.provenance, "generator": "correct"}
            return row
        return signed(row, draft, self.teacher if draft.request else None, seed, self.options.like)

    def _judged(self, found: list[tuple[Draft, Row]]) -> list[tuple[Draft, Row]]:
        """What the judge lets pass. Pairs about a person's label need none."""
        options = self.options.judge
        rows = [row for draft, row in found if not draft.pairs_only]
        if options and rows:
            models = [*options.models, *options.models, self.teacher or "", self.teacher or ""][:2]
            scores = [
                [judge.score(reply) for reply in self.asker.judge(model, judge.questions(options, rows, bool(n)))]
                for n, model in enumerate(models)
            ]
            self._scores = [[*old, *new] for old, new in zip(self._scores, scores, strict=True)]
            stay, _ = judge.decide(options, models, *scores)
            _, self.report.judge = judge.decide(options, models, *self._scores)
            passed = {id(row) for row, stays in zip(rows, stay, strict=True) if stays}
            found = [(draft, row) for draft, row in found if draft.pairs_only or id(row) in passed]
        self._passed.update(draft.kind for draft, _ in found)
        return found

    def _finish(self, made: Made, *, enough: bool) -> None:
        report, asker = self.report, self.asker
        report.made, report.pairs = len(made.rows), len(made.pairs)
        report.kinds = {k: {"attempts": self._tried[k], "passed": self._passed[k]} for k in dict.fromkeys(self.kinds)}
        report.asked, report.answered, report.failed = asker.asked, asker.answered, dict(asker.failed)
        report.refused, report.used = dict(self._refused), asker.used()
        if asker.out_of_budget:
            report.stopped = "the budget was reached"
        elif not enough:
            report.stopped = f"{ROUNDS} rounds did not make enough rows that pass the checks"
