"""Names, places and national numbers, found by Presidio: an extra, used where a recipe asks for it."""

from collections.abc import Callable

from tunesmith.errors import BadInput

# Kind → Presidio's entity. E-mail, phone, IBAN and card numbers are found without it.
ENTITIES = {
    "person": "PERSON",
    "location": "LOCATION",
    "ip_address": "IP_ADDRESS",
    "us_ssn": "US_SSN",
    "us_passport": "US_PASSPORT",
    "uk_nhs": "UK_NHS",
    "es_nif": "ES_NIF",
    "it_fiscal_code": "IT_FISCAL_CODE",
    "pl_pesel": "PL_PESEL",
}
LIKELY = 0.5  # Presidio's score, 0 to 1
LONGEST = 100_000  # characters that are looked at: the language model's memory grows with the text


def finder(model: str) -> Callable[[str], dict[str, list[str]]]:
    """Text → what was found, by kind. `model`: an installed spaCy model, its language in front (en_core_web_sm).

    Raises BadInput when Presidio or the model is not installed.
    """
    try:
        import spacy.util
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
    except ImportError as error:
        raise BadInput(
            "Presidio is not installed.",
            code="presidio_missing",
            hint='Install it with `pip install "tunesmith[privacy]"`, or take `presidio` out of the recipe.',
            param="dataset.presidio",
        ) from error
    if not spacy.util.is_package(model):  # asked first: Presidio itself would try to download it
        raise BadInput(
            f"There is no spaCy model {model!r} here.",
            code="presidio_missing",
            hint=f"Install it with `python -m spacy download {model}`.",
            param="dataset.presidio",
        )
    language = model.split("_")[0]
    engine = NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    ).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=[language])
    known = set(analyzer.get_supported_entities(language))
    kinds = {entity: kind for kind, entity in ENTITIES.items() if entity in known}

    def find(text: str) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        looked_at = text[:LONGEST]
        for match in analyzer.analyze(looked_at, language=language, entities=list(kinds), score_threshold=LIKELY):
            found.setdefault(kinds[match.entity_type], set()).add(looked_at[match.start : match.end])
        return {kind: sorted(values) for kind, values in sorted(found.items())}

    return find
