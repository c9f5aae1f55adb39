"""What `analyze --out DIR` writes about single files, under names that overwrite nothing of anybody else's."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import count
from pathlib import Path

from mri_models.types import Report, VolumeReport
from mri_models.volumes.files import stem

_ENDINGS = (".json", ".pdf", ".overlay.png", ".mask.png", ".mask.nii.gz")


class Results:
    """One run's results in one folder. NAME is the input's stem, or STEM-2, STEM-3, ... where that is in use.

    In use is what this run wrote already, and any file that is not the result of an earlier run about a file of the
    same name: those are replaced, so that the same command gives the same files again.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._names: set[str] = set()
        self._numbers: Counter[str] = Counter()  # the last one of each stem: every folder of a disc may hold an IM0001

    def write(self, report: Report | VolumeReport, source: Path, language: str | None = None) -> None:
        """NAME.json and the pictures or the mask that belong to it; NAME.pdf of a single image, given a language."""
        name = self._name(stem(Path(os.path.abspath(source))), report.file)  # "." has no name, and a link keeps its own
        self._path(name, ".json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
        if isinstance(report, VolumeReport):
            self._write_mask(report, name)
            return
        self._write_pictures(report, name)
        if language:
            report.to_pdf(self._path(name, ".pdf"), language=language)

    def _write_mask(self, report: VolumeReport, name: str) -> None:
        """NAME.mask.nii.gz in the input's own space, when something was outlined."""
        from mri_models.volumes.nifti import mask_nifti

        if report.mask and report.mask.found:
            self._path(name, ".mask.nii.gz").write_bytes(mask_nifti(report.mask, report.volume))

    def _write_pictures(self, report: Report, name: str) -> None:
        """NAME.overlay.png of an explanation, upright; NAME.mask.png (0, 255) of an outline, on the input's grid."""
        if report.explanation and report.scan:
            from mri_models.explain import overlay  # brings torch, which the other commands do not need

            overlay(report.scan, report.explanation).save(self._path(name, ".overlay.png"))
        if report.localization and report.localization.found:
            from mri_models.contour import binary
            from mri_models.orientation import mask_as_it_came

            binary(mask_as_it_came(report.localization, report.orientation)).save(self._path(name, ".mask.png"))

    def _name(self, stem: str, file: str) -> str:
        for number in count(self._numbers[stem] + 1):
            name = stem if number == 1 else f"{stem}-{number}"
            if name not in self._names and self._usable(name, file):
                self._numbers[stem] = number
                self._names.add(name)
                return name

    def _usable(self, name: str, file: str) -> bool:
        """Whether nothing has this name, or an earlier report about `file`, which begins as they all do."""
        if not any(os.path.lexists(self._path(name, ending)) for ending in _ENDINGS):
            return True
        start = json.dumps({"file": file, "schema": ""}, indent=1).removesuffix('"\n}').encode()
        try:
            with self._path(name, ".json").open("rb") as report:
                return report.read(len(start)) == start
        except OSError:
            return False

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}{ending}"
