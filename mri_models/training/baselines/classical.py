"""Features → standardise → principal components → estimator, tuned inside the training folds by grid or by Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from mri_models.training.baselines.recipe import Classical

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One inner division of the training images, features already prepared without the held-out part."""

    train: np.ndarray  # (n, D)
    truth: np.ndarray  # (n,)
    held: np.ndarray  # (m, D)
    held_truth: np.ndarray  # (m,)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Prepared features in, class scores out."""

    preparation: Pipeline
    estimator: Any
    values: dict[str, float]

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, C), rows sum to 1; an SVM's decision values through a softmax."""
        x = self.preparation.transform(features)
        if isinstance(self.estimator, SVC):
            return softmax(self.estimator.decision_function(x), axis=1)
        return self.estimator.predict_proba(x)


def preparation(recipe: Classical) -> Pipeline:
    steps = [StandardScaler()]
    if recipe.components:
        steps.append(PCA(recipe.components, random_state=recipe.seed))
    return make_pipeline(*steps)


def estimator(name: str, values: Values, seed: int) -> Any:
    """An unfitted estimator; classes weigh alike (XGBoost: by sample weights, see `fitted`)."""
    values = {key: int(value) if float(value).is_integer() else value for key, value in values.items()}
    if name == "logistic":
        return LogisticRegression(class_weight="balanced", max_iter=400, **values)
    if name == "svm":
        return SVC(class_weight="balanced", cache_size=500, random_state=seed, **values)
    if name == "forest":
        return RandomForestClassifier(class_weight="balanced_subsample", n_jobs=1, random_state=seed, **values)
    from xgboost import XGBClassifier

    return XGBClassifier(tree_method="hist", max_bin=64, n_jobs=1, random_state=seed, **values)


def fitted(recipe: Classical, values: Values, x: np.ndarray, truth: np.ndarray) -> Any:
    model = estimator(recipe.estimator, {**recipe.fixed, **values}, recipe.seed)
    weighted = {"sample_weight": compute_sample_weight("balanced", truth)} if recipe.estimator == "xgboost" else {}
    return model.fit(x, truth, **weighted)


def parts(recipe: Classical, features: np.ndarray, truth: np.ndarray, inner: np.ndarray) -> Iterator[Part]:
    """One part for each inner fold in `inner` (N,), or only the first where the recipe asks for one."""
    for fold in range(recipe.inner_folds):
        kept, held = inner != fold, inner == fold
        prepare = preparation(recipe).fit(features[kept])
        yield Part(prepare.transform(features[kept]), truth[kept], prepare.transform(features[held]), truth[held])


def worth(recipe: Classical, values: Values, divided: Sequence[Part]) -> float:
    """Mean balanced accuracy on the held-out inner parts."""
    found = [
        balanced_accuracy_score(p.held_truth, fitted(recipe, values, p.train, p.truth).predict(p.held)) for p in divided
    ]
    return float(np.mean(found))


def grid_search(recipe: Classical, divided: Sequence[Part]) -> tuple[dict[str, float], float, int]:
    """(best values, their worth, how many were tried); the first of equals wins."""
    candidates = [dict(zip(recipe.grid, combination, strict=True)) for combination in product(*recipe.grid.values())]
    found = [worth(recipe, values, divided) for values in candidates]
    best = int(np.argmax(found))
    return candidates[best], found[best], len(candidates)


def optuna_search(recipe: Classical, divided: Sequence[Part]) -> tuple[dict[str, float], float, int]:
    """The same by Optuna's tree-structured Parzen estimator (Bergstra 2011), seeded."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=recipe.seed))

    def objective(trial: optuna.Trial) -> float:
        values = {
            name: trial.suggest_int(name, low, high, log=True)
            if isinstance(low, int) and isinstance(high, int)
            else trial.suggest_float(name, low, high, log=True)
            for name, (low, high) in recipe.space.items()
        }
        return worth(recipe, values, divided)

    study.optimize(objective, n_trials=recipe.trials)
    return dict(study.best_params), study.best_value, len(study.trials)


def tune(recipe: Classical, features: np.ndarray, truth: np.ndarray, inner: np.ndarray) -> tuple[Fitted, dict]:
    """Search on the inner folds, then fit on all training images with the values that won.

    features (N, D), truth (N,), inner (N,) fold from 0. Returns the model and what the search came to.
    """
    divided = list(parts(recipe, features, truth, inner))
    search = grid_search if recipe.grid else optuna_search
    values, inner_accuracy, tried = search(recipe, divided)
    prepare = preparation(recipe).fit(features)
    model = fitted(recipe, values, prepare.transform(features), truth)
    story = {"values": values, "inner_balanced_accuracy": round(inner_accuracy, 4), "tried": tried}
    return Fitted(prepare, model, values), story
