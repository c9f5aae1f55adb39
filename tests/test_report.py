"""What a report says of numbers: one way to write them everywhere, and never a certainty that no model has."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from advice_cases import DOUBTFUL, SCAN, pattern, refused, seen
from fakes import anomaly_of

from mri_models.advice import advise
from mri_models.document import compose, markdown
from mri_models.page import render, unusual
from mri_models.report import ENGLISH, complete
from mri_models.types import Report


def everywhere(report: Report) -> str:
    """All that is said of one report in English: findings, both Markdowns and the page, as a reader sees it."""
    page = render.scores(report) + render.verdict(report) + render.way(report) + unusual.panel(report)
    shown = html.unescape(re.sub(r' (style|d|[xy][12]?|width|height)="[^"]*"', "", page))
    return "\n".join([report.to_markdown(), markdown(compose(report, advise(report))), shown])


def nearly(anomaly_score: float, percentile: float) -> Report:
    """A report of numbers that two digits would round to a certainty."""
    found = replace(anomaly_of(SCAN, anomaly_score), percentile=percentile, confidence=0.998)
    stages = {stage: replace(getattr(seen("glioma"), stage), ood_score=0.9999) for stage in ("gate", "body_part")}
    return complete(seen("glioma", anomaly=found, diagnosis=pattern("glioma", 0.998, ood_score=0.9951), **stages))


@pytest.mark.parametrize("report", [nearly(0.997, 0.9967), nearly(0.003, 0.002)], ids=["high", "low"])
def test_no_number_is_rounded_to_a_certainty(report: Report):
    text = re.sub(r"[\d.]+–[\d.]+", "", everywhere(report))  # the bands of words reach from 0 to 1
    assert re.findall(r"(?<![\d.<>])(?:100(?:\.0)?%|1\.00|0\.00|0(?:\.0)?%)", text) == []
    assert text.count(">0.99") > 5
    assert ">99%" in text
    assert ">99.9%" in text


def test_findings_page_and_paper_write_a_number_alike():
    high, low = everywhere(nearly(0.997, 0.9967)), everywhere(nearly(0.003, 0.002))
    assert high.count("higher than >99% of held-out normal brains") == 3
    assert low.count("higher than <1% of held-out normal brains") == 3
    assert everywhere(nearly(0.997, 1.0)).count("higher than all held-out normal brains") == 3
    assert len(re.findall(r"[Aa]nomaly score (?:<[^>]+>)?<0\.01", low)) >= 3
    assert ">99% of validation images lie nearer" in high


def test_below_its_threshold_nobody_says_that_it_is_no_mri():
    text = everywhere(DOUBTFUL)
    assert "Refused" not in text
    assert "Unable to determine" in render.headline(DOUBTFUL)
    assert "the best score, not an MRI 0.51, is below the 0.80 that this stage asks for" in text


def test_a_threshold_that_no_score_reaches_is_said_in_words():
    closed = pattern("low", threshold=1.01, accepted=False)
    report = complete(refused("no_model", "diagnosis", seen("knee", diagnosis=closed)))
    assert "| pattern | low | 0.90 | never | 42.0% | no |" in report.to_markdown()
    assert "1.01" not in everywhere(report)
    assert [ENGLISH.threshold(value) for value in (0.6, 1.01)] == ["0.60", "never"]
