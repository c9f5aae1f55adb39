"""Rules: each speaks in some case of advice_cases.py, only where it should, in both languages, and claims nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from advice_cases import (
    CASES,
    ILL,
    KNEE_INTACT,
    KNEE_TORN,
    SPINE,
    SPINE_ANSWERED,
    outlined,
    pattern,
    seen,
)
from fakes import OUTCOMES
from places import ROOT

from mri_models import report as wording_of_report
from mri_models.advice import SECTIONS, Advice, Context, Rule, advise, facts_of, load_rules
from mri_models.errors import ContextError
from mri_models.ink import FILLED, PAINTED
from mri_models.lettering import WARNING
from mri_models.report import complete
from mri_models.types import DISCLAIMER, Report
from mri_models.wording import LANGUAGES, Wording, vocabulary

# The vocabulary of claims that no rule may make, and of promises.
FORBIDDEN = {
    "en": r"diagnos|cancer|clinical|detect|confirm|prove|malignan|benign|healthy|you have|patient has|treat|\btherapy"
    r"|certain|definite|rule[sd]? out|exclud|\bcure|guarantee|safe\b",
    "de": r"diagnos|krebs|klinisch|festgestellt|nachgewiesen|beweis|bestätig|bösartig|gutartig|gesund|(?-i:Sie haben)"
    r"|behandl|\btherapie|gewiss|ist sicher|sicherheit|ausgeschlossen|ausschlie|heil|garant|befund",
}
FORMS = {
    "en": ("Show this to a radiologist", "Repeat with"),
    "de": ("Zeigen Sie das Bild einer Radiologin oder einem Radiologen", "Wiederholen Sie es mit"),
}


LETTERED = seen("glioma", warnings=(WARNING,))
DRAWN_ON = seen("glioma", warnings=(PAINTED, FILLED))


def spoken(advice: Advice) -> Mapping[str, str]:
    return {sentence.rule: sentence.text for section in SECTIONS for sentence in getattr(advice, section)}


@pytest.mark.parametrize("case", CASES)
def test_rules_speak_where_they_should(case: str):
    report, context, wanted, unwanted = CASES[case]
    ids = set(spoken(advise(report, context)))
    assert set(wanted.split()) - ids == set()
    assert set(unwanted.split()) & ids == set()


def test_every_rule_speaks_in_some_case():
    wanted = {rule for _, _, wanted, _ in CASES.values() for rule in wanted.split()}
    assert {rule.id for rule in load_rules()} == wanted
    assert len(load_rules()) == len(wanted)  # no id twice


@pytest.mark.parametrize("case", CASES)
def test_both_languages_say_the_same_in_full_sentences(case: str):
    report, context, _, _ = CASES[case]
    texts = [spoken(advise(report, context, language)) for language in LANGUAGES]
    assert list(texts[0]) == list(texts[1])
    for text in (*texts[0].values(), *texts[1].values()):
        assert re.fullmatch(r"[A-ZÄÖÜ>].*\.", text), text
        assert not re.search(r"[{}]|\bNone\b(?! of)|\bnan\b|_|  ", text.replace("brand_new", "")), text


def test_conditions_ask_for_facts_that_exist():
    known = {name for report, context, _, _ in CASES.values() for name in facts_of(report, context or Context())}
    assert {name for rule in load_rules() for name in rule.when} <= known | {"spoken"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_claims_a_diagnosis(language: str):
    words = {name: part for name, part in vocabulary().items() if name != "disclaimer"}
    said = [getattr(rule, language) for rule in load_rules()]
    texts = [*said, *(json.dumps(of(words, language), ensure_ascii=False).replace("{diagnosis", "").splitlines())]
    claims = [text for text in texts if re.search(FORBIDDEN[language], re.sub(r"{[^}]*}", "", text), re.IGNORECASE)]
    assert claims == []
    assert re.search(FORBIDDEN[language], {"en": "Detected cancer.", "de": "Krebs nachgewiesen."}[language], re.I)


def of(words: Any, language: str) -> Any:
    """All texts of one language in the vocabulary."""
    if isinstance(words, dict):
        return words[language] if language in words else [of(part, language) for part in words.values()]
    return [of(part, language) for part in words if isinstance(part, dict)] if isinstance(words, list) else []


@pytest.mark.parametrize("language", LANGUAGES)
def test_suggestions_only_show_or_repeat(language: str):
    suggestions = [getattr(rule, language) for rule in load_rules() if rule.section == "suggestions"]
    assert [text for text in suggestions if not text.startswith(FORMS[language])] == []


@pytest.mark.parametrize(
    "report",
    [seen("glioma"), outlined("healthy", 90), SPINE, SPINE_ANSWERED, KNEE_TORN, KNEE_INTACT, LETTERED, DRAWN_ON],
    ids=["brain", "outlined", "spine", "spine answered", "knee torn", "knee intact", "lettered", "drawn on"],
)
def test_the_english_findings_are_the_reports_own(report: Report):
    own = set(complete(report).findings) - {report.rejection and report.rejection.message}
    assert len(own) >= 3
    assert own <= {sentence.text for sentence in advise(report).findings}


def test_a_spines_discs_are_graded_in_both_languages():
    english, german = (spoken(advise(SPINE, language=language)) for language in LANGUAGES)
    assert english["F-discs"].endswith("lowest disc: L5/S1 2, L4/L5 2 or 3, L3/L4 1 to 3.")
    assert german["F-discs"].endswith("Bandscheibe: L5/S1 2, L4/L5 2 oder 3, L3/L4 1 bis 3.")
    assert english["L-area"] == "Outlined: discs, 10 mm²; vertebrae, 10 mm²; spinal canal, 10 mm²."
    assert german["L-area"] == "Umrissen: Bandscheiben, 10 mm²; Wirbel, 10 mm²; Wirbelkanal, 10 mm²."
    for disc in SPINE.spine.discs:
        assert Wording("en").grades([disc]) == f"{disc.level} {disc.stated}"


def test_an_area_is_not_rounded_to_nothing_and_what_has_none_is_not_named():
    mask = KNEE_TORN.localization
    assert (
        Wording("en").sizes(replace(mask, labels=("acl_tear", "disc"))).endswith("anterior cruciate ligament, <1 mm²")
    )


def test_a_map_of_a_disc_has_its_words():
    assert Wording("en").target("degeneration at L5/S1") == "degeneration at L5/S1"
    assert Wording("de").target("degeneration at L5/S1") == "Degeneration auf Höhe L5/S1"
    assert Wording("de").target("glioma") == "Gliom-Muster"


def test_every_code_and_label_has_its_words():
    code = re.compile(r'(?:Rejected|Rejection)\(\s*(?:(?:stage|"\w+"), )?"(\w+)"')
    sources = [*(ROOT / "mri_models").glob("*.py"), ROOT / "mri_models/page/shown.py"]
    codes = {found for path in sources for found in code.findall(path.read_text(encoding="utf-8"))}
    listed = {c for rule in load_rules() for c in _listed(rule)}
    assert len(codes) > 20
    assert codes - listed == set()
    assert of_each(vocabulary()["outlines"], "en") == wording_of_report.OUTLINED
    assert set(wording_of_report.PATTERNS) | set(wording_of_report.PARTS) <= set(vocabulary()["terms"])


def of_each(terms: Mapping[str, Mapping[str, str]], language: str) -> dict[str, str]:
    return {term: forms[language] for term, forms in terms.items()}


def _listed(rule: Rule) -> list[str]:
    wanted = rule.when.get("rejection.code", [])
    return [] if rule.section != "findings" else wanted if isinstance(wanted, list) else [wanted]


def test_words_are_tied_to_numbers_and_grammar_follows_them():
    english, german = Wording("en"), Wording("de")
    assert english.band(0.8) == "likely (0.80–0.95)"
    assert german.band(0.7999) == "eher wahrscheinlich (0,60–0,80)"
    assert [english.score(v) for v in (0.004, 0.5, 0.9901)] == ["<0.01", "0.50", ">0.99"]
    assert [german.share(v) for v in (0.0, 0.004, 0.5, 0.999, 1.0)] == [
        "0\xa0%",
        "<1\xa0%",
        "50\xa0%",
        ">99\xa0%",
        "100\xa0%",
    ]
    assert [english.join(parts) for parts in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert english.fill("{n:is|are} {n:whole}", {"n": 1}) == "is 1"
    assert german.fill("{words:betrifft|betreffen}", {"words": ("seizure", "stroke")}) == "betreffen"


def test_a_label_without_words_stands_for_itself():
    report = seen("glioma", diagnosis=pattern("rare_thing"))
    assert spoken(advise(report))["F-pattern"] == "It resembles the pattern “rare thing” (class score 0.90)."
    assert "dem Muster „rare thing“" in spoken(advise(report, language="de"))["F-pattern"]


def test_the_disclaimer_is_the_packages():
    assert Wording("en").disclaimer == DISCLAIMER


@pytest.mark.parametrize(
    "words", [{"age_band": "42"}, {"sex": "x"}, {"history": ("stroke", "<b>")}, {"symptoms": ("",)}]
)
def test_other_words_about_the_person_are_refused(words: dict[str, Any]):
    with pytest.raises(ContextError, match="use one of"):
        Context(**words)


def test_what_is_told_changes_no_score():
    report = seen("healthy")
    assert Context.told("", None, [], None) == Context()
    assert advise(report, ILL).confidence == advise(report).confidence
    assert advise(report, ILL).given == ILL


def test_an_unknown_language_or_section_is_an_error():
    with pytest.raises(ValueError, match="language must be one of"):
        advise(seen("healthy"), language="fr")
    with pytest.raises(ValueError, match="section of rule x"):
        Rule("x", "verdict", {}, "", "")


def test_all_outcomes_of_the_page_get_a_suggestion():
    assert [outcome for outcome in OUTCOMES if not advise(seen(outcome)).suggestions] == []
