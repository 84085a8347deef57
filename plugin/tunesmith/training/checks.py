"""Checks before the first step: a training that cannot teach anything is refused, with the reason."""

from tunesmith.errors import BadInput
from tunesmith.training.rows import EncodedRows

MAX_LEFT_OUT = 0.5


def check_labels(encoded: EncodedRows, end_ids: set[int], vocabulary: int, longest: int) -> list[str]:
    """Raise BadInput for rows that teach nothing; returns warnings in plain words.

    Checked: something is left to train on, no row is fully masked, each answer ends in a learnt end mark
    (nothing is padded, so it cannot be masked as padding), ids fit the vocabulary, and how many rows are longer than
    `longest` tokens.
    """
    total = len(encoded.rows) + encoded.too_long
    if total == 0:
        raise BadInput("The training file has no rows.", code="no_rows", param="training_file")
    share = encoded.too_long / total
    if share > MAX_LEFT_OUT or not encoded.rows:
        raise BadInput(
            f"{encoded.too_long} of {total} rows are longer than the {longest} tokens that this model reads at once.",
            code="rows_too_long",
            hint="Shorten the documents, or take a base model that reads more.",
            param="training_file",
        )
    for number, row in zip(encoded.source, encoded.rows, strict=True):
        if row.labels < 1 or row.answer_start < 1:
            raise BadInput(
                f"Row {number + 1} has no learnt token (its labels are fully masked).",
                code="labels_masked",
                hint="Each row must end in a non-empty assistant answer.",
            )
        if row.ids[-1] not in end_ids:
            raise BadInput(
                f"Row {number + 1} does not end in the end-of-answer token; the model would never stop.",
                code="end_token_not_learnt",
            )
        if max(row.ids) >= vocabulary:
            raise BadInput(
                f"Row {number + 1} has a token that the base model does not know.",
                code="token_outside_vocabulary",
                hint="Tokenizer and base model do not belong together.",
            )
    warnings = []
    if encoded.too_long:
        warnings.append(f"{encoded.too_long} of {total} rows are longer than {longest} tokens and are left out.")
    if all(row.labels == 1 for row in encoded.rows):
        raise BadInput("All answers are empty.", code="answers_empty", param="training_file")
    return warnings
