"""Decision support: rules/rules.toml over a report and what the visitor told → sentences, each with its rule's id.

Transparent on purpose: no weights and no scores of its own, nothing that is not in the two files below rules/.
"""

from __future__ import annotations

import functools
import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_models.errors import ContextError
from mri_models.ink import FILLED, PAINTED
from mri_models.lettering import WARNING
from mri_models.types import Anomaly, Mask, Prediction, Report
from mri_models.wording import Wording, trait, vocabulary

AMISS = {"lettered": WARNING, "painted": PAINTED, "filled": FILLED}  # facts that warnings state
SECTIONS = ("findings", "context", "confidence", "changes", "suggestions")
_RULES = Path(__file__).with_name("rules") / "rules.toml"


@dataclass(frozen=True, slots=True)
class Context:
    """What a visitor may tell about the person: words of rules/words.toml, never free text, never stored.

    Raises ContextError for any other word.
    """

    age_band: str | None = None
    sex: str | None = None
    history: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in vocabulary()["context"].items():
            given = getattr(self, name)
            for word in given if isinstance(given, tuple) else (given,):
                if word is not None and word not in known:
                    raise ContextError("bad_context", f"{name} can't be {word!r}: use one of {', '.join(known)}.")

    @classmethod
    def told(
        cls, age_band: str | None, sex: str | None, history: Sequence[str] | None, symptoms: Sequence[str] | None
    ) -> Context:
        """From a form's fields, where nothing is "", None or an empty list."""
        return cls(age_band or None, sex or None, tuple(history or ()), tuple(symptoms or ()))

    def to_dict(self) -> dict[str, Any]:
        return {
            "age_band": self.age_band,
            "sex": self.sex,
            "history": list(self.history),
            "symptoms": list(self.symptoms),
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence and when it is said; rules.toml explains the fields."""

    id: str
    section: str
    when: Mapping[str, Any]
    en: str
    de: str
    group: str | None = None

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(f"section of rule {self.id} must be one of {SECTIONS}, got {self.section!r}")

    def holds(self, facts: Mapping[str, Any]) -> bool:
        return all(name in facts and _meets(facts[name], wanted) for name, wanted in self.when.items())


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a rule said, and which one it was."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What the rules say about one report, in one language, by section; `given` is what the visitor told."""

    language: str
    given: Context
    findings: tuple[Sentence, ...] = ()
    context: tuple[Sentence, ...] = ()
    confidence: tuple[Sentence, ...] = ()
    changes: tuple[Sentence, ...] = ()
    suggestions: tuple[Sentence, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        sections = {name: [{"rule": s.rule, "text": s.text} for s in getattr(self, name)] for name in SECTIONS}
        return {"language": self.language, "rules_sha256": rules_digest(), "given": self.given.to_dict()} | sections


def advise(report: Report, context: Context | None = None, language: str = "en") -> Advice:
    """Every rule in turn; a rule that holds says its sentence. Raises ValueError for an unknown language."""
    wording, context = Wording(language), context or Context()
    facts = facts_of(report, context)
    spoken: dict[str, list[Sentence]] = {name: [] for name in SECTIONS}
    said: list[str] = []
    groups: set[str] = set()
    for rule in load_rules():
        if rule.group in groups or not rule.holds(facts | {"spoken": tuple(said)}):
            continue
        spoken[rule.section].append(Sentence(rule.id, wording.fill(getattr(rule, language), facts)))
        said.append(rule.id)
        groups |= {rule.group} - {None}
    return Advice(language, context, **{name: tuple(sentences) for name, sentences in spoken.items()})


@functools.cache
def load_rules() -> tuple[Rule, ...]:
    """rules/rules.toml in its order; TypeError for an unknown key."""
    return tuple(Rule(**entry) for entry in tomllib.loads(_RULES.read_text(encoding="utf-8"))["rule"])


@functools.cache
def rules_digest() -> str:
    """SHA-256 over both files of rules/, as a report states it."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_RULES.parent.glob("*.toml")))).hexdigest()


def facts_of(report: Report, context: Context) -> dict[str, Any]:
    """Everything that a rule may ask, by dotted name; what is not known is not there."""
    facts: dict[str, Any] = {"status": report.status}
    facts |= {name: text in report.warnings for name, text in AMISS.items()}
    reached = [(stage, p) for stage in ("gate", "body_part", "diagnosis") if (p := getattr(report, stage))]
    named = reached + [("last", prediction) for _, prediction in reached[-1:]]
    if rejection := report.rejection:
        facts |= {f"rejection.{name}": getattr(rejection, name) for name in ("stage", "code", "message")}
        named += [("stop", prediction) for stage, prediction in reached if stage == rejection.stage]
    for name, prediction in named:
        facts |= {f"{name}.{key}": value for key, value in _of_prediction(prediction).items()}
    facts["orientation.turned"] = report.orientation.turn_deg if report.orientation else 0
    if report.anomaly:
        facts |= {f"anomaly.{key}": value for key, value in _of_anomaly(report.anomaly).items()}
    if report.localization:
        facts |= {f"localization.{key}": value for key, value in _of_outline(report.localization).items()}
    if report.spine:
        facts["spine.discs"] = report.spine.discs
    if report.explanation:
        facts["explanation.gap"] = report.explanation.completeness_gap
    facts |= {f"context.{key}": value for key, value in _of_context(context, report).items() if value}
    return {name: value for name, value in facts.items() if value is not None}


def _of_prediction(prediction: Prediction) -> dict[str, Any]:
    runner_up, score = max(
        ((label, share) for label, share in prediction.probabilities.items() if label != prediction.label),
        key=lambda pair: pair[1],
        default=(None, None),
    )
    return {
        "label": prediction.label,
        "group": trait(prediction.label, "group"),
        "confidence": prediction.confidence,
        "in_100": min(99, round(prediction.confidence * 100)),
        "threshold": prediction.threshold,
        "accepted": prediction.accepted,
        "closed": prediction.threshold > 1,  # calibration found no score at which the model is right often enough
        "margin": prediction.confidence - prediction.threshold,
        "short": prediction.threshold - prediction.confidence,
        "runner_up": runner_up,
        "runner_up_score": score,
        "lead": None if score is None else prediction.confidence - score,
        "ood": prediction.ood_score,
        "ood_limit": prediction.ood_threshold,
        "familiar": prediction.ood_score <= prediction.ood_threshold,
    }


def _of_anomaly(anomaly: Anomaly) -> dict[str, Any]:
    return {
        "category": anomaly.category,
        "score": anomaly.score,
        "percentile": anomaly.percentile,
        "confidence": anomaly.confidence,
        "borderline": anomaly.borderline,
        "threshold": anomaly.threshold,
        "short": anomaly.threshold - anomaly.score,
        "surplus": anomaly.score - anomaly.borderline,
    }


def _of_outline(mask: Mask) -> dict[str, Any]:
    return {
        "mask": mask,
        "found": mask.found,
        "sized": mask.spacing_mm is not None,
        "expected_dice": mask.expected_dice if mask.found else None,
        "score": mask.score,
        "threshold": mask.threshold,
    }


def _of_context(context: Context, report: Report) -> dict[str, Any]:
    """ "Nothing" beside something else is a contradiction, and the something else is believed."""
    answers = (context.history, context.symptoms)
    nothings = [tuple(word for word in words if trait(word, "nothing")) for words in answers]
    history, symptoms = (tuple(word for word in words if not trait(word, "nothing")) for words in answers)
    pairs = list(zip(nothings, (history, symptoms), strict=True))
    part = report.body_part
    shown = part.label if part and part.accepted else None
    return {
        "given": context != Context(),
        "age_band": context.age_band,
        "sex": context.sex,
        "history": history,
        "symptoms": symptoms,
        "urgent": tuple(word for word in symptoms if trait(word, "urgent")),
        "elsewhere": tuple(word for word in symptoms if shown and trait(word, "region") not in (None, shown)),
        "none": tuple(word for words, others in pairs if not others for word in words),
        "contradicted": tuple(word for words, others in pairs if others for word in words),
    }


def _meets(value: Any, wanted: Any) -> bool:
    """One condition of rules.toml; several values meet it when one of them does, and a range by how many they are."""
    if isinstance(wanted, Mapping):
        number = len(value) if isinstance(value, tuple) else value
        return wanted.get("from", -math.inf) <= number < wanted.get("below", math.inf)
    options = wanted if isinstance(wanted, list) else [wanted]
    return any(one in options for one in (value if isinstance(value, tuple) else (value,)))
