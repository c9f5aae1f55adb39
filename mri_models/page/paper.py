"""The report below the result: what the visitor may tell, the rules' sentences, and files to take away."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

import gradio as gr

from mri_models.advice import Advice, Context, advise
from mri_models.document import compose, markdown, pdf
from mri_models.document.tree import Document, Section, Statements
from mri_models.explain import QUICK
from mri_models.page.shown import GONE, Reader, Shown
from mri_models.types import Report
from mri_models.wording import LANGUAGES, Wording, vocabulary

NAMES = {"en": "English", "de": "Deutsch"}
FIELDS = ("age_band", "sex", "history", "symptoms")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Paper:
    """The components of the report; `opened` holds whether the fold is open, for a closed one costs nothing."""

    fold: gr.Accordion
    opened: gr.State
    language: gr.Radio
    tell: gr.Accordion
    age_band: gr.Radio
    sex: gr.Radio
    history: gr.CheckboxGroup
    symptoms: gr.CheckboxGroup
    sheet: gr.HTML

    @property
    def told(self) -> list[gr.components.Component]:
        """The fields in the order of FIELDS."""
        return [getattr(self, name) for name in FIELDS]


def lay_out() -> Paper:
    """A fold with the language, the optional fields and the sheet; hidden until there is a result."""
    with gr.Accordion("Report", open=False, visible=False, elem_id="paper") as fold:
        languages = [(NAMES[language], language) for language in LANGUAGES]
        language = gr.Radio(languages, value="en", label=_field("language", "en"), elem_classes="mri-chips")
        with gr.Accordion(_field("tell", "en"), open=False, elem_classes="mri-tell") as tell:
            words = {"elem_classes": "mri-chips"}
            one = {name: gr.Radio(value="", **_choices(name, "en"), **words) for name in FIELDS[:2]}
            several = {name: gr.CheckboxGroup(**_choices(name, "en"), **words) for name in FIELDS[2:]}
        sheet = gr.HTML(elem_id="sheet", apply_default_css=False)
    return Paper(fold, gr.State(False), language, tell, **one, **several, sheet=sheet)


def connect(paper: Paper, shown: gr.State, results: Iterable[Any], **options: Any) -> None:
    """Keep the sheet up to date: when it is opened, when a field changes, and after each of `results` (events)."""
    inputs = [shown, paper.opened, paper.language, *paper.told]
    quiet = {"show_progress": "hidden", "trigger_mode": "always_last", **options}

    def show(seen: Shown | None, opened: bool, language: str, *told: Any) -> str:
        if not opened:
            return ""
        return sheet(seen.report, Context.told(*told), language) if seen else f'<p class="mri-quiet">{GONE}</p>'

    def translate(language: str) -> list[Any]:
        fields = [gr.update(**_choices(name, language)) for name in FIELDS]
        return [gr.update(label=_field("language", language)), gr.update(label=_field("tell", language)), *fields]

    opening = paper.fold.expand(lambda: True, None, paper.opened, **quiet)
    paper.fold.collapse(lambda: False, None, paper.opened, **quiet)
    switched = paper.language.input(translate, paper.language, [paper.language, paper.tell, *paper.told], **quiet)
    changes = [field.input for field in paper.told]
    for event in (opening.then, switched.then, *changes, *results):
        event(show, inputs, paper.sheet, **quiet)


def hidden_fields() -> list[gr.components.Component]:
    """What `/report` takes beside the file; for a hidden column."""
    one = [gr.Radio(vocabulary()["context"][name], label=name) for name in FIELDS[:2]]
    several = [gr.CheckboxGroup(vocabulary()["context"][name], label=name) for name in FIELDS[2:]]
    return [gr.Radio(list(LANGUAGES), value="en", label="language"), *one, *several]


def report_call(reader: Reader) -> Callable[..., dict[str, Any]]:
    """What the endpoint `/report` does; API and MCP clients read its docstring and hints."""

    def report(
        file: str,
        language: str = "en",
        age_band: str | None = None,
        sex: str | None = None,
        history: list[str] | None = None,
        symptoms: list[str] | None = None,
    ) -> dict[str, Any]:
        """Analyse one MRI image and write a report: {report, advice, markdown, pdf_base64}. A bad image gets one too.

        Args:
            file: PNG, JPEG, TIFF, BMP, GIF, WebP or single-frame DICOM, up to 5 MB.
            language: en or de.
            age_band: 0-17, 18-39, 40-64 or 65+. Like the next three optional, used for the sentences only, not stored.
            sex: female, male or diverse.
            history: no_history, known_tumour, tumour_elsewhere, head_surgery, back_surgery, radiotherapy, stroke,
                multiple_sclerosis, head_injury.
            symptoms: no_symptoms, headache, seizure, vision_change, weakness, hormone_change, memory_change, back_pain,
                leg_pain, bladder_or_bowel, knee_pain, knee_gives_way.
        """
        context = Context.told(age_band, sex, history, symptoms)
        seen = reader.look(file)
        return answer(reader.explain(seen, QUICK).report, context, language)

    return report


def sheet(report: Report, context: Context, language: str) -> str:
    """The report as HTML: links to the files first, the rules' sentences, the disclaimer."""
    advice = advise(report, context, language)
    document = compose(report, advice)
    sections = "".join(_section(section) for section in document.sections)
    return (
        f'<article class="mri-paper" lang="{language}">{_downloads(report, advice, document)}{sections}'
        f'<p class="mri-disclaimer">{escape(document.disclaimer)}</p></article>'
    )


def answer(report: Report, context: Context, language: str) -> dict[str, Any]:
    """What `/report` gives: the public report, the sentences, and both files as text."""
    advice = advise(report, context, language)
    document = compose(report, advice)
    return {
        "report": report.to_dict(),
        "advice": advice.to_dict(),
        "markdown": markdown(document),
        "pdf_base64": _base64(pdf(document)),
    }


def _downloads(report: Report, advice: Advice, document: Document) -> str:
    """Links that hold their file: nothing is written on the server, and no second request is made."""
    data = {"report": report.to_dict(), "advice": advice.to_dict()}
    files = (
        ("PDF", "pdf", "application/pdf", pdf(document)),
        ("Markdown", "md", "text/markdown", markdown(document).encode()),
        ("JSON", "json", "application/json", json.dumps(data, indent=1, ensure_ascii=False).encode()),
    )
    stem = escape(PurePath(report.file).stem, quote=True)
    links = "".join(
        f'<a download="{stem}.report.{suffix}" href="data:{kind};base64,{_base64(content)}">{name}</a>'
        for name, suffix, kind, content in files
    )
    return f'<p class="mri-take"><span>{escape(_field("take", document.language))}</span>{links}</p>'


def _section(section: Section) -> str:
    """Sentences only: pictures and numbers stand on the page already."""
    sentences = [s for block in section.blocks if isinstance(block, Statements) for s in block.sentences]
    items = "".join(f"<li><span>{escape(s.text)}</span><code>{escape(s.rule)}</code></li>" for s in sentences)
    return f"<section><h3>{escape(section.heading)}</h3><ul>{items}</ul></section>" if items else ""


def _choices(name: str, language: str) -> dict[str, Any]:
    """Label and choices of one field, in words of the language; one-of fields begin with "not given"."""
    wording = Wording(language)
    known: Sequence[str] = vocabulary()["context"][name]
    unsaid = [(_field("unsaid", language), "")] if name in FIELDS[:2] else []
    return {"label": _field(name, language), "choices": unsaid + [(wording.term(word), word) for word in known]}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _field(name: str, language: str) -> str:
    return vocabulary()["fields"][name][language]
