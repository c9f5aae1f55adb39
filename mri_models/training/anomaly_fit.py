"""Evidence on training and validation brains → the memory of normals and the rule of the anomaly score.

The memory is made of the training split's normal brains. Everything else, the choice between two autoencoders and
between two combinations included, is learned on validation patients, and judged on those left out of each fold. Each
of their images comes twice, as it is and augmented like training images, and their tumour slices once more without the
tumour: on the corpus' own images alone features that know the scanner or contrast medium would win. Thresholds and
moments come from the images as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm.auto import tqdm

from mri_models.anomaly import Observer
from mri_models.autoencoder import Autoencoder, similarity
from mri_models.evaluation.calibration import fit_mahalanobis
from mri_models.normals import COMPONENTS, Z_LIMIT, Evidence, NormalMemory
from mri_models.ood import unit_length
from mri_models.pixels import stretch
from mri_models.preprocess import letterbox
from mri_models.training.brains import NORMAL
from mri_models.training.corpus import IGNORE, Sample
from mri_models.training.export import perturb
from mri_models.types import Scan

BATCH = 16
CANVAS = 256  # px; on which validation images are augmented
BANK = 2048  # patches kept
CANDIDATES = 60_000  # patches that those are chosen from
PROJECTED = 48  # dimensions in which they are chosen (Johnson-Lindenstrauss)
CODE_AXES = 32  # of the autoencoder's code
FOLDS = 5
STRENGTH = 0.02  # of the penalty on squared weights
TAIL = 0.05  # see RULE
MARGIN = 0.005  # of AUROC, by which fewer components must be better: about 40 patients are the normals
COMBINATIONS = {"all": COMPONENTS, "without_outlines": tuple(n for n in COMPONENTS if n not in ("outline", "tumour"))}
DRAWN = ("pixel", "structure", "latent")  # components of the autoencoder alone
RULE = (
    "normal below the score that 5 % of abnormal validation images stay under, anomalous from the score that 5 % of "
    "normal ones reach, borderline between; scores of patients left out of the fit, sources balanced"
)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """values (N, C) by COMPONENTS, labels (N,) brain class or IGNORE, sources and patients (N,) str.

    plain: (N,) bool, False for an augmented copy.
    """

    values: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    patients: np.ndarray
    plain: np.ndarray

    def select(self, chosen: np.ndarray) -> Measured:
        """The images where `chosen` (N,) bool holds."""
        return Measured(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    @property
    def abnormal(self) -> np.ndarray:
        """(N,) bool: a tumour or another lesion; False where nobody labelled the image."""
        return (self.labels != NORMAL) & (self.labels != IGNORE)

    @property
    def balance(self) -> np.ndarray:
        """(N,) weights: half for each class, inside it by the square root of each source's size; they sum to 1."""
        weights = np.zeros(len(self.abnormal))
        for abnormal in (False, True):
            here = self.abnormal == abnormal
            _, owner, sizes = np.unique(self.sources[here], return_inverse=True, return_counts=True)
            weights[here] = 0.5 / np.sqrt(sizes).sum() / np.sqrt(sizes)[owner]
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """A fitted combination: weights (C,) over z-scores, intercept, out-of-fold scores (N,) and how well they divide."""

    weights: np.ndarray
    intercept: float
    scores: np.ndarray
    auroc: float


def gather(observer: Observer, scans: Iterable[Scan], count: int) -> list[Evidence]:
    """Evidence on `count` images, exactly as serving sees them."""
    found: list[Evidence] = []
    with tqdm(total=count, desc="evidence", leave=False) as bar:
        rest = iter(scans)
        while part := list(islice(rest, BATCH)):
            found += observer(part)
            bar.update(len(part))
    return found


def augmented(scans: Iterable[Scan]) -> Iterator[Scan]:
    """The same images by the classifiers' own chain."""
    return (Scan(perturb(letterbox(stretch(scan.pixels), CANVAS), seed)) for seed, scan in enumerate(scans))


@torch.inference_mode()
def redrawn(evidence: Sequence[Evidence], autoencoder: Autoencoder) -> list[Evidence]:
    """The same images drawn by another autoencoder of the same input size."""
    found = []
    for one in evidence:
        image = torch.from_numpy(one.image)[None, None]
        code = autoencoder.encoder(image)
        drawn = autoencoder.decoder(code)
        parts = {"reconstruction": drawn, "unlike": 1 - similarity(image, drawn)}
        maps = {name: value[0, 0].numpy() for name, value in parts.items()}
        found.append(dataclasses.replace(one, latent=code.flatten().numpy(), **maps))
    return found


def remember(normals: Sequence[Evidence], bank: np.ndarray, scale: np.ndarray) -> NormalMemory:
    """The memory of training normals; `bank` and `scale` come from `patch_bank`."""
    pooled = unit_length(np.stack([one.pooled for one in normals]))
    codes = np.stack([one.latent for one in normals])
    axes = min(CODE_AXES, len(codes) // 4)
    latent = fit_mahalanobis(codes, np.zeros(len(codes)), codes, dims=axes, normalised=False)
    return NormalMemory(bank, scale, pooled, latent)


def patch_bank(normals: Sequence[Evidence], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(M, D) scaled patches that lie nowhere far from any other (greedy k-centre, Roth 2022), and the scale (D,)."""
    rng = np.random.default_rng(seed)
    patches = np.concatenate([one.patches for one in normals])
    patches = patches[rng.permutation(len(patches))[:CANDIDATES]]
    scale = patches.std(axis=0) + 1e-6
    patches = patches / scale
    places = (patches @ rng.normal(size=(patches.shape[1], PROJECTED))).astype(np.float32)
    lengths = (places**2).sum(axis=1)
    chosen, farness = [0], np.full(len(places), np.inf, np.float32)
    for _ in range(min(BANK, len(places)) - 1):
        last = chosen[-1]
        np.minimum(farness, lengths + lengths[last] - 2 * places @ places[last], out=farness)
        chosen.append(int(farness.argmax()))
    return patches[chosen].astype(np.float32), scale.astype(np.float32)


def measure(
    memory: NormalMemory, evidence: Sequence[Evidence], samples: Sequence[Sample], plain: int | None = None
) -> Measured:
    """Every component of every image, with the truth; from `plain` on, if given, they are augmented copies."""
    rows = [memory.measure(one) for one in evidence]
    return Measured(
        values=np.array([[row[name] for name in COMPONENTS] for row in rows]),
        labels=np.array([s.targets["brain"] for s in samples]),
        sources=np.array([s.source for s in samples]),
        patients=np.array([s.patient for s in samples]),
        plain=np.arange(len(samples)) < plain if plain else np.ones(len(samples), bool),
    )


def normal_moments(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """(C,) mean and standard deviation of the normals, sources balanced."""
    normal = ~measured.abnormal & measured.plain
    values, weights = measured.values[normal], measured.balance[normal]
    means = np.average(values, axis=0, weights=weights)
    return means, np.sqrt(np.average((values - means) ** 2, axis=0, weights=weights)) + 1e-9


def combine(measured: Measured, names: Sequence[str]) -> Combination:
    """A non-negative, penalised logistic regression on the z-scores of `names`, and its scores on left-out patients."""
    means, spreads = normal_moments(measured)
    z = np.clip((measured.values - means) / spreads, -Z_LIMIT, Z_LIMIT)
    used = np.isin(COMPONENTS, names)
    scores = np.zeros(len(z))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    balance = measured.balance
    for inside, outside in folds.split(z, measured.abnormal, measured.patients):
        fitted = logistic(z[inside], measured.abnormal[inside], balance[inside], used)
        scores[outside] = probability(z[outside], *fitted)
    weights, intercept = logistic(z, measured.abnormal, balance, used)
    return Combination(weights, intercept, scores, separation(measured, scores))


def logistic(z: np.ndarray, abnormal: np.ndarray, balance: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (C,), zero where not `used` and never negative, and the intercept."""
    sign = np.where(abnormal, 1.0, -1.0)
    balance = balance / balance.sum()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = parameters[:-1], parameters[-1]
        margin = sign * (z @ weights + intercept)
        value = balance @ np.logaddexp(0, -margin) + STRENGTH * weights @ weights
        slope = -balance * sign / (1 + np.exp(margin))
        return value, np.append(slope @ z + 2 * STRENGTH * weights, slope.sum())

    bounds = [(0, None) if use else (0, 0) for use in used] + [(None, None)]
    found = minimize(loss, np.zeros(z.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found[:-1], float(found[-1])


def probability(z: np.ndarray, weights: np.ndarray, intercept: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(z @ weights + intercept)))


def separation(measured: Measured, scores: np.ndarray) -> float:
    """Mean AUROC: over all images (sources balanced), and inside each source that has both classes."""
    found = [roc_auc_score(measured.abnormal, scores, sample_weight=measured.balance)]
    for source in np.unique(measured.sources):
        here = measured.sources == source
        if len(np.unique(measured.abnormal[here])) == 2:
            found.append(roc_auc_score(measured.abnormal[here], scores[here]))
    return float(np.mean(found))


def thresholds(measured: Measured, scores: np.ndarray) -> tuple[float, float]:
    """(borderline, anomalous) by RULE; where the classes hardly overlap the stricter reading of both holds."""
    abnormal, balance = measured.abnormal, measured.balance

    def quantile(chosen: np.ndarray, share: float) -> float:
        weights = balance[chosen] / balance[chosen].sum()
        return float(np.quantile(scores[chosen], share, weights=weights, method="inverted_cdf"))

    low, high = sorted((quantile(abnormal, TAIL), quantile(~abnormal, 1 - TAIL)))
    return low, high


def confidences(measured: Measured, scores: np.ndarray, low: float, high: float) -> dict[str, float]:
    """Share of each category's images that are so, classes counting alike; borderline: of its more frequent class."""
    category = np.digitize(scores, (low, high))

    def abnormal_share(index: int) -> float:
        weights = measured.balance * (category == index)
        return float(weights @ measured.abnormal / weights.sum()) if weights.sum() else 0.5

    normal, middle, anomalous = map(abnormal_share, range(3))
    return {"normal": 1 - normal, "borderline": max(middle, 1 - middle), "anomalous": anomalous}


def described(combination: Combination) -> dict[str, Any]:
    """A combination as config.json keeps it."""
    weights = dict(zip(COMPONENTS, combination.weights.tolist(), strict=True))
    return {
        "weights": {name: round(weight, 5) for name, weight in weights.items() if weight},
        "intercept": round(combination.intercept, 5),
        "validation_auroc": round(combination.auroc, 4),
    }
