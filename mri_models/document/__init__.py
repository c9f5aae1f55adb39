"""The report to take away: a tree of sections, composed once and rendered as Markdown, PDF or the page's HTML."""

from __future__ import annotations

from pathlib import Path

from mri_models.advice import Context, advise
from mri_models.document.compose import compose
from mri_models.document.markdown import markdown
from mri_models.document.pdf import pdf
from mri_models.types import Report

__all__ = ["compose", "markdown", "pdf", "write_pdf"]


def write_pdf(report: Report, path: Path | str | None, language: str, context: Context | None) -> bytes:
    """The PDF's bytes, also written to `path` where one is given."""
    data = pdf(compose(report, advise(report, context, language)))
    if path is not None:
        Path(path).write_bytes(data)
    return data
