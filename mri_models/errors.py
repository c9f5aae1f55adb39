"""Everything this package raises on purpose.

MriError                 base: `code` for programs, the message for people (what, got what, what next)
├── InputError           the caller's image can't be analysed; becomes a rejection, never a traceback
│   ├── FileRejected     stage "file": not readable, too large, unsupported
│   └── QualityRejected  stage "quality": readable, but blank, tiny, noise, ...
├── ServiceError         the image is fine and the service is not: ask again later; `stage` is where the way ended
│   ├── Overdue          a time limit of the server passed
│   └── StageFailed      a network or what follows it raised something unforeseen, which is the error's cause
├── ContextError         what the visitor told about the person is not in the fixed vocabulary
├── WeightsError         a model folder or Hub revision is missing, incomplete, altered or of another schema
├── DataError            a training or evaluation data set does not look as its manifest says
├── RecipeError          a training recipe has an unknown key or an impossible value
├── BatchError           a folder can't be analysed: workers that don't start, or answers of another run in the way
└── PublishError         what should go to the Hub is incomplete or not allowed there, or the Hub refuses it
"""

from __future__ import annotations

import logging
from typing import Self

_LOG = logging.getLogger(__name__)


class MriError(Exception):
    """Base of all intended errors; `code` is a stable snake_case word."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class InputError(MriError):
    """An image that is refused before any network sees it."""

    stage = "file"


class FileRejected(InputError):
    """The bytes are not an image that we read: empty, truncated, too large, unsupported."""


class QualityRejected(InputError):
    """The image is readable but holds nothing to analyse: blank, tiny, pure noise."""

    stage = "quality"


class ServiceError(MriError):
    """This image could not be analysed now, whatever it shows; `stage` is one of the report's stages."""

    stage = "diagnosis"

    def at(self, stage: str) -> Self:
        """The same error at a stage; what belongs to none of its own counts as the gate where it comes before that
        (orientation), as the last where it comes later (outlines, anomaly)."""
        first = ("file", "quality", "gate", "body_part")
        self.stage = "gate" if stage == "orientation" else stage if stage in first else "diagnosis"
        return self

    def log_cause(self) -> None:
        """Write down what broke, where something did; the visitor is told only that it did."""


class Overdue(ServiceError):
    """It took longer than the server allows."""


class StageFailed(ServiceError):
    """A stage broke down; its own error is the cause."""

    @classmethod
    def at_stage(cls, stage: str, cause: Exception) -> Self:
        """The error for `stage`; the cause's own words stay out of the message, they may hold a path."""
        message = (
            f"Temporarily unable to analyse this image: the step {stage.replace('_', ' ')!r} failed "
            f"({type(cause).__name__}). Try again; the log of the server says more."
        )
        return cls("stage_failed", message).at(stage)

    def log_cause(self) -> None:
        _LOG.error("a stage failed", exc_info=self.__cause__)


class ContextError(MriError):
    """A word about the person that no rule knows; the message lists those that it may be."""


class WeightsError(MriError):
    """A model can't be loaded; the message names the folder or revision and the way out."""


class DataError(MriError):
    """A data set on disk contradicts its manifest."""


class RecipeError(MriError):
    """A training recipe can't be used as written."""


class BatchError(MriError):
    """A whole batch can't begin or go on; single files that fail are answered instead."""


class PublishError(MriError):
    """Nothing, or not everything, was published; the message says what has to change first."""
