"""Numbers as they stand in HTML."""

from __future__ import annotations

from html import escape

from mri_models.report import score


def scored(value: float) -> str:
    """A score from 0 to 1, escaped: `score` writes "<" and ">" near a certainty."""
    return escape(score(value))
