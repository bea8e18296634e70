"""Ridge regression beside columns that are free, its strength found by prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

#: Penalties, as shares of the design's largest eigenvalue.
_STRENGTHS = np.array([1e-8, *np.logspace(-4, 3, 15)])

#: Parts that rows are put into, each of which is predicted from the others.
_FOLDS = 5

#: Singular values below this share of the largest are rounding.
_RANK = 1e-10

#: Blocks of rows without which nothing can be predicted from others.
_LEAST_BLOCKS = 3


class Problem(NamedTuple):
    """What is regressed on what.

    Attributes:
        features: ``[n, features]``, whose coefficients are drawn to 0.
        free: ``[n, columns]``, whose coefficients are free.
        values: ``[n]``, to be explained.
        weights: ``[n]``.
        blocks: ``[n]``; rows with the same number were drawn together.
    """

    features: Numbers
    free: Numbers
    values: Numbers
    weights: Numbers
    blocks: NDArray[np.int64]

    def rows(self, which: NDArray[np.bool_]) -> Problem:
        """Some of the rows."""
        return Problem(
            self.features[which],
            self.free[which],
            self.values[which],
            self.weights[which],
            self.blocks[which],
        )


@dataclass(frozen=True, eq=False)
class Solution:
    """Coefficients, and how far they can be trusted.

    Attributes:
        free: Coefficients of the free columns.
        coefficients: ``[features]``.
        spread: Variance of each coefficient before any row was read, by the strength that was found.
        factor: ``[features, k]``, whose rows' inner products are what the rows take away from the covariance
            ``spread * identity``.
        predicted: ``[n]``, what is said of each row, found without its fold; None where there are too few
            blocks.
    """

    free: Numbers
    coefficients: Numbers
    spread: float
    factor: Numbers
    predicted: Numbers | None

    @property
    def variances(self) -> Numbers:
        """Of the coefficients, ``[features]``."""
        found: Numbers = np.maximum(0.0, self.spread - (self.factor**2).sum(axis=1))
        return found


class _Decomposed(NamedTuple):
    """A problem whose free columns were projected out.

    Attributes:
        left: ``[n, k]``, singular vectors.
        singular: ``[k]``.
        right: ``[k, features]``.
        residual: ``[n]``.
    """

    left: Numbers
    singular: Numbers
    right: Numbers
    residual: Numbers


def solve(problem: Problem, strength: float | None = None) -> Solution:
    """Fit the coefficients.

    The strength, if it is not given, is that which predicts blocks best from others. Variances are those of
    the posterior under a Gaussian prior of that strength, with the error of these predictions as noise: so
    they hold what a linear model cannot express.

    Args:
        problem: With one row at least.
        strength: Penalty on the sum of the squared coefficients.

    Returns:
        The coefficients; where there are too few blocks to find a strength, those of the strongest.
    """
    parts = _decomposed(problem)
    largest = parts.singular.max(initial=0.0) ** 2
    strengths = np.array([strength]) if strength is not None else _STRENGTHS * (largest or 1.0)
    errors, predicted = _by_prediction(problem, strengths)
    best = -1 if predicted is None else int(errors.argmin())
    coefficients = _coefficients(parts, strengths[best : best + 1] if best >= 0 else strengths[-1:])[0]
    # The prior of the variances is no narrower than what is left to be explained would have it be: a pull
    # that predicts best among bad ones settles nothing.
    explained, power = float(parts.residual @ parts.residual), float((parts.singular**2).sum())
    believed = min(strengths[best], errors[best] * power / explained) if explained > 0 else strengths[best]
    spread = errors[best] / believed if believed > 0 else 0.0
    taken = spread * parts.singular**2 / (parts.singular**2 + believed) if spread else 0.0 * parts.singular
    return Solution(
        _free(problem, coefficients),
        coefficients,
        float(spread),
        parts.right.T * np.sqrt(taken),
        None if predicted is None else predicted[best],
    )


def _decomposed(problem: Problem) -> _Decomposed:
    root = np.sqrt(problem.weights)[:, None]
    free, features = problem.free * root, problem.features * root
    values = problem.values * root[:, 0]
    basis, singular, _ = np.linalg.svd(free, full_matrices=False)
    basis = basis[:, singular > _RANK * singular.max(initial=0.0)]
    left, singular, right = np.linalg.svd(features - basis @ (basis.T @ features), full_matrices=False)
    return _Decomposed(left, singular, right, values - basis @ (basis.T @ values))


def _coefficients(parts: _Decomposed, strengths: Numbers) -> Numbers:
    """``[strengths, features]``."""
    shrunk = parts.singular / (parts.singular**2 + strengths[:, None])
    found: Numbers = (shrunk * (parts.left.T @ parts.residual)) @ parts.right
    return found


def _free(problem: Problem, coefficients: Numbers) -> Numbers:
    """Coefficients of the free columns beside those of the features, ``[..., features]``."""
    root = np.sqrt(problem.weights)
    left = (problem.values - coefficients @ problem.features.T) * root
    found: Numbers = np.linalg.lstsq(problem.free * root[:, None], left.T, rcond=_RANK)[0].T
    return found


def _by_prediction(problem: Problem, strengths: Numbers) -> tuple[Numbers, Numbers | None]:
    """Predict each block from others.

    Returns:
        The mean squared error of each strength, weighted, and ``[strengths, n]``, the predictions. Where
        there are too few blocks, the mean square of the values, and no predictions.
    """
    values, weights, count = problem.values, problem.weights, len(problem.values)
    _, numbers = np.unique(problem.blocks, return_inverse=True)
    if numbers.max(initial=-1) + 1 < _LEAST_BLOCKS:
        return np.full(len(strengths), float((weights * values**2).mean())), None
    folds = numbers % _FOLDS
    errors, predicted = np.zeros(len(strengths)), np.zeros((len(strengths), count))
    for fold in np.unique(folds):
        held = folds == fold
        rest = problem.rows(~held)
        coefficients = _coefficients(_decomposed(rest), strengths)
        free = _free(rest, coefficients)
        predicted[:, held] = free @ problem.free[held].T + coefficients @ problem.features[held].T
        errors += (weights[held] * (values[held] - predicted[:, held]) ** 2).sum(axis=1)
    return errors / count, predicted
