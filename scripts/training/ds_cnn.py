"""The network: a depthwise-separable CNN of 24 k parameters, and how it is trained.

The shape is that of Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers",
arXiv:1711.07128, DS-CNN small: one 10x4 convolution with stride 2, four depthwise-separable blocks
of 64 channels, the average over time and frequency, one linear layer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from training.acoustics import Clips

CHANNELS = 64
BLOCKS = 4
# "Same" padding of a 10x4 kernel with stride 2 on 49x10: left, right, top, bottom.
FIRST_PADDING = (1, 1, 4, 5)
BATCH = 50
PEAK_LEARNING_RATE = 4e-3
WARM_UP_SHARE = 0.15
WEIGHT_DECAY = 1e-3
LABEL_SMOOTHING = 0.05


class Block(nn.Module):  # type: ignore[misc]
    """Depthwise 3x3 and pointwise convolution, each with batch normalization and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(CHANNELS)
        self.pointwise = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise_norm(self.depthwise(x)))
        return torch.relu(self.pointwise_norm(self.pointwise(x)))


class DsCnn(nn.Module):  # type: ignore[misc]
    """Input (N, 1, 49, 10), output scores (N, classes), without softmax."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, CHANNELS, (10, 4), stride=2, bias=False)
        self.first_norm = nn.BatchNorm2d(CHANNELS)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.dropout = nn.Dropout(0.1)
        self.scores = nn.Linear(CHANNELS, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = nn.functional.pad(features, FIRST_PADDING)
        x = torch.relu(self.first_norm(self.first(x)))
        for block in self.blocks:
            x = block(x)
        scores: torch.Tensor = self.scores(self.dropout(x.mean(dim=(2, 3))))
        return scores


def predict(network: DsCnn, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Most likely class of each input.

    Parameters
    ----------
    network : DsCnn
        Trained network.
    features : array of float32, shape (n, 1, 49, 10)

    Returns
    -------
    array of int64, shape (n,)
    """
    network.eval()
    with torch.no_grad():
        parts = [network(part).argmax(1) for part in torch.from_numpy(features).split(256)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.int64)


def train(takes: list[Clips], validation: Clips, *, classes: int, epochs: int, seed: int) -> DsCnn:
    """Train from scratch; prints one line for each epoch.

    Parameters
    ----------
    takes : list of Clips
        Recordings of the same utterances; epoch ``e`` uses ``takes[e % len(takes)]``.
    validation : Clips
        For the printed progress only: no decision depends on it.
    classes : int
        Number of labels.
    epochs : int
        Passes over one take.
    seed : int
        Seed of initial weights, order and dropout.

    Returns
    -------
    DsCnn
        In evaluation mode.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    network = DsCnn(classes)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(takes[0].labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, steps, pct_start=WARM_UP_SHARE
    )
    objective = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    for epoch in range(epochs):
        take = takes[epoch % len(takes)]
        features, labels = torch.from_numpy(take.features), torch.from_numpy(take.labels)
        network.train()
        total = 0.0
        order = torch.randperm(len(labels))[: len(labels) // BATCH * BATCH]
        for rows in order.split(BATCH):
            loss = objective(network(features[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        correct = np.mean(predict(network, validation.features) == validation.labels)
        mean_loss = total / (len(order) // BATCH)
        print(f"epoch {epoch + 1:2d}  loss {mean_loss:.3f}  validation {correct:.1%}", flush=True)
    network.eval()
    return network
