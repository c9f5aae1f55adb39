"""Which pixels to draw when an outline is judged by its Dice: the most probable ones, as many as expect the most."""

from __future__ import annotations

import numpy as np

DUST = 0.01  # probability under which a pixel belongs to no outline, whatever the temperature


def rank_dice(probability: np.ndarray, temperature: float) -> tuple[np.ndarray, float]:
    """(H, W) float probabilities of a structure → (H, W) bool outline of largest expected Dice, and that Dice.

    Of all outlines of n pixels the n most probable overlap most; n is the one with the largest
    2 (p1 + ... + pn) / (n + sum of all p), a ratio of means for the mean of ratios (RankDice, Dai & Li 2023). It comes
    to a threshold at half of the best expected Dice (Lipton 2014): lower for a vague structure than for a clear one,
    where one threshold for all images draws the vague too small and the clear too large.
    temperature: divides the log-odds of each pixel; above 1 where a network is too sure of its edges.
    """
    inside = probability >= DUST
    if not inside.any():
        return inside, 0.0
    odds = np.clip(probability[inside].astype(np.float64), 1e-6, 1 - 1e-6)
    softened = 1 / (1 + (1 / odds - 1) ** (1 / temperature))
    ranked = np.sort(softened)[::-1]
    expected = 2 * np.cumsum(ranked) / (np.arange(1, len(ranked) + 1) + ranked.sum())
    best = int(expected.argmax())
    inside[inside] = softened >= ranked[best]
    return inside, float(expected[best])
