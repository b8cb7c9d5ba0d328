# SPDX-License-Identifier: Apache-2.0
"""Multinomial logistic regression with L2, for the tools that learn tables. The last column of a matrix is the bias."""

import numpy


def probabilities(matrix, weights):
    scores = matrix @ weights
    scores -= scores.max(axis=1, keepdims=True)
    scores = numpy.exp(scores)
    return scores / scores.sum(axis=1, keepdims=True)


def learn(matrix, wanted, strength, steps, importance=None):
    """The weights, a row for each column of the matrix, by L-BFGS with a memory of ten steps.

    strength: of the data against the penalty on weights; importance: of each row, 1 where it is None."""
    shape = matrix.shape[1], wanted.shape[1]
    rows = numpy.ones((len(wanted), 1)) if importance is None else numpy.asarray(importance).reshape(-1, 1)

    def loss(flat):
        weights = flat.reshape(shape)
        found = probabilities(matrix, weights)
        penalty = weights.copy()
        penalty[-1] = 0  # the bias is free
        value = 0.5 * float((penalty ** 2).sum()) - strength * float((rows * wanted * numpy.log(found + 1e-12)).sum())
        return value, (penalty + strength * (matrix.T @ (rows * (found - wanted)))).ravel()

    at = numpy.zeros(shape[0] * shape[1], numpy.float64)
    value, slope = loss(at)
    memory = []
    for _ in range(steps):
        direction = slope.copy()
        factors = []
        for moved, turned in reversed(memory):
            factor = (moved @ direction) / (turned @ moved)
            factors.append(factor)
            direction -= factor * turned
        if memory:
            moved, turned = memory[-1]
            direction *= (moved @ turned) / (turned @ turned)
        else:
            direction /= numpy.linalg.norm(direction)
        for (moved, turned), factor in zip(memory, reversed(factors)):
            direction += (factor - (turned @ direction) / (turned @ moved)) * moved
        step = 1.0
        while True:
            new_value, new_slope = loss(at - step * direction)
            if new_value <= value - 1e-4 * step * (slope @ direction) or step < 1e-6:
                break
            step /= 2
        moved, turned = -step * direction, new_slope - slope
        at, value, slope = at + moved, new_value, new_slope
        if moved @ turned > 1e-10:
            memory = memory[-9:] + [(moved, turned)]
    return at.reshape(shape)
