"""A small network that tells two kinds of slices apart, and how well it does on unseen heads."""

from __future__ import annotations

import numpy as np
from scipy import stats

from benchmarks.statistics import SEED, bootstrap

EPOCHS = 30
BATCH = 32
AIR = 0.1
"""Intensity (white matter is 1) that is white in the second channel, which shows the air."""


def auc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive score is above a negative one; ties count half."""
    rank = stats.rankdata(np.concatenate([negative, positive]))[len(negative) :]
    return float((rank.mean() - (len(positive) + 1) / 2) / len(negative))


def folds(subjects: list[str]) -> np.ndarray:
    """Half of each scan, 0 or 1: scans of one subject share it, and the seed is fixed. Shape (scans,)."""
    names = sorted(set(subjects))
    order = np.random.default_rng(SEED).permutation(len(names))
    half = dict(zip(names, order % 2, strict=True))
    return np.array([half[subject] for subject in subjects])


def tell_apart(
    before: np.ndarray, after: np.ndarray, subjects: list[str], epochs: int = EPOCHS
) -> dict[str, list[float] | float]:
    """Train on half of the heads, test on the other half, and the other way round.

    Parameters
    ----------
    before, after : ndarray of float16, shape (heads, slices, rows, columns)
        Of the same heads; white matter is about 1.
    subjects : list of str
        Whose head it is.
    epochs : int

    Returns
    -------
    numbers : dict
        ``auc`` of the mean score of a head and ``auc_slice`` of a single slice, each the mean of the halves,
        with a 95 % interval over heads: [value, low, high].
    """
    half = folds(subjects)
    scores = np.zeros((len(subjects), 2, before.shape[1]))
    for tested in (0, 1):
        train, test = half != tested, half == tested
        if not train.any() or not test.any():
            raise ValueError('two subjects at least: one to train on and one to test')
        network = train_network(before[train], after[train], epochs)
        scores[test] = np.stack([score(network, kind[test]) for kind in (before, after)], axis=1)

    def mean_auc(values: np.ndarray, axis: int = 0) -> float:
        """Of rows (half, scores of a head before, scores after)."""
        found = []
        for tested in (0, 1):
            rows = values[values[:, 0] == tested, 1:].reshape(-1, 2, (values.shape[1] - 1) // 2)
            if len(rows):  # a draw of the bootstrap may hold one half alone
                found.append(auc(rows[:, 0].ravel(), rows[:, 1].ravel()))
        return float(np.mean(found))

    rows = {'auc': scores.mean(axis=2), 'auc_slice': scores.reshape(len(scores), -1)}
    return {name: list(bootstrap(np.column_stack([half, values]), mean_auc)) for name, values in rows.items()}


def train_network(before: np.ndarray, after: np.ndarray, epochs: int = EPOCHS):
    """Train a network of four convolutions on mirrored and shifted slices; same input, same network.

    Parameters
    ----------
    before, after : ndarray, shape (heads, slices, rows, columns)
        Get low and high scores.
    epochs : int

    Returns
    -------
    network : torch.nn.Module
        (N, 2, rows, columns) to (N, 1).
    """
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    layers, width = [], 2
    for channels, stride in ((8, 2), (16, 2), (32, 2), (32, 1)):
        layers += [nn.Conv2d(width, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        width = channels
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1))
    slices = torch.cat([channels_of(before), channels_of(after)])
    labels = torch.zeros(len(slices), 1)
    labels[len(slices) // 2 :] = 1
    steps = epochs * -(-len(slices) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(slices)).split(BATCH):
            shift = torch.randint(-4, 5, (2,)).tolist()
            inputs = torch.roll(slices[batch], shift, (2, 3))
            inputs = inputs.flip(2) if torch.rand(()) < 0.5 else inputs
            inputs = inputs.flip(3) if torch.rand(()) < 0.5 else inputs
            loss = nn.functional.binary_cross_entropy_with_logits(network(inputs), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def score(network, slices: np.ndarray) -> np.ndarray:
    """Scores of slices: (heads, slices, rows, columns) to (heads, slices)."""
    import torch

    with torch.inference_mode():
        found = torch.cat([network(part) for part in channels_of(slices).split(BATCH)])
    return found.numpy().reshape(slices.shape[:2])


def channels_of(slices: np.ndarray):
    """Tensor of shape (heads x slices, 2, rows, columns): the whole range of intensities, and the air's."""
    import torch

    flat = torch.from_numpy(np.asarray(slices, dtype=np.float32)).flatten(0, 1)
    return torch.stack([flat, flat.clamp(max=AIR) / AIR], dim=1)
