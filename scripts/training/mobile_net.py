"""Networks of inverted residuals for microcontrollers, and how they are trained.

Blocks are those of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv:1801.04381: 1x1 expansion, depthwise convolution, 1x1 projection without activation, and the
input added where shapes agree. ``LETTERS`` has the widths of MobileNetV2 at 0.35; ``SURFACES``
mixes depthwise kernels of 3, 5 and 7 as the networks found for MCUNet do (arXiv:2007.10319).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from training.scenes import Maker

BATCH = 64
PEAK_LEARNING_RATE = 3e-3
WARM_UP_SHARE = 0.1
WEIGHT_DECAY = 2e-2
LABEL_SMOOTHING = 0.05
REPORT_INTERVAL_STEPS = 50


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One block.

    Attributes
    ----------
    expansion : int
        Channels of the depthwise convolution over those of the input.
    channels : int
        Of the output.
    kernel, stride : int
        Of the depthwise convolution.
    """

    expansion: int
    channels: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network for images of 96x96x3.

    Attributes
    ----------
    stem : int
        Channels of the first convolution, 3x3 with stride 2.
    blocks : tuple of Bottleneck
    head : int
        Channels of the last 1x1 convolution, before the average over all positions.
    """

    stem: int
    blocks: tuple[Bottleneck, ...]
    head: int


LETTERS = Architecture(
    stem=16,
    blocks=(
        Bottleneck(1, 8),
        *(Bottleneck(6, 8, stride=2), Bottleneck(6, 8)),
        *(Bottleneck(6, 16, stride=2), Bottleneck(6, 16), Bottleneck(6, 16)),
        *(Bottleneck(6, 24, stride=2), Bottleneck(6, 24), Bottleneck(6, 24)),
        *(Bottleneck(6, 32), Bottleneck(6, 32)),
        *(Bottleneck(6, 56, stride=2), Bottleneck(6, 56)),
    ),
    head=256,
)

SURFACES = Architecture(
    stem=16,
    blocks=(
        Bottleneck(1, 8, kernel=3),
        *(Bottleneck(3, 16, kernel=7, stride=2), Bottleneck(4, 16, kernel=3)),
        *(Bottleneck(4, 24, kernel=5, stride=2), Bottleneck(3, 24, kernel=5)),
        *(Bottleneck(5, 40, kernel=5, stride=2), Bottleneck(3, 40, kernel=3)),
        *(Bottleneck(4, 64, kernel=3, stride=2), Bottleneck(3, 64, kernel=3)),
    ),
    head=192,
)


class Convolution(nn.Sequential):  # type: ignore[misc]
    """Convolution with "same" padding, batch normalization, and ReLU6 where wanted."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        padding = kernel // 2
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU6()] if active else []))


class InvertedResidual(nn.Module):  # type: ignore[misc]
    """One block; see `Bottleneck`."""

    def __init__(self, inputs: int, block: Bottleneck) -> None:
        super().__init__()
        inner = inputs * block.expansion
        expand = [Convolution(inputs, inner, 1)] if block.expansion > 1 else []
        self.layers = nn.ModuleList(
            (
                *expand,
                Convolution(inner, inner, block.kernel, stride=block.stride, groups=inner),
                Convolution(inner, block.channels, 1, active=False),
            )
        )
        self.has_shortcut = block.stride == 1 and inputs == block.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x
        for layer in self.layers:
            inner = layer(inner)
        return x + inner if self.has_shortcut else inner


class MobileNet(nn.Module):  # type: ignore[misc]
    """Input (n, 3, 96, 96) in [-1, 1], output scores (n, classes), without softmax."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.stem = Convolution(3, architecture.stem, 3, stride=2)
        inputs = (architecture.stem, *(block.channels for block in architecture.blocks))
        self.blocks = nn.ModuleList(
            InvertedResidual(*pair) for pair in zip(inputs, architecture.blocks, strict=False)
        )
        self.head = Convolution(inputs[-1], architecture.head, 1)
        self.dropout = nn.Dropout(0.1)
        self.scores = nn.Linear(architecture.head, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        scores: torch.Tensor = self.scores(self.dropout(self.head(x).mean(dim=(2, 3))))
        return scores


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """Return what the network takes of images of 8 bits: ``pixels / 127.5 - 1``."""
    return pixels.float() / 127.5 - 1.0


def accuracy(network: MobileNet, make: Maker, count: int, seed: int) -> float:
    """Return the share of images of this seed that are classed right."""
    images = make(count, seed)
    network.eval()
    with torch.no_grad():
        parts = [network(normalized(part)).argmax(1) for part in images.pixels.split(128)]
    return float((torch.cat(parts) == images.labels).float().mean())


def train(
    architecture: Architecture, make: Maker, *, classes: int, steps: int, seed: int
) -> MobileNet:
    """Train from scratch on images that are all new; prints a line now and then.

    Parameters
    ----------
    architecture : Architecture
    make : Maker
        Of training images.
    classes, steps : int
    seed : int
        Of the first weights, of dropout and of the images.

    Returns
    -------
    MobileNet
        In evaluation mode.
    """
    torch.manual_seed(seed)
    network = MobileNet(architecture, classes)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, steps, pct_start=WARM_UP_SHARE
    )
    objective = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    network.train()
    start_s, correct = time.monotonic(), 0.0
    for step in range(steps):
        images = make(BATCH, seed * 1_000_003 + step)
        inputs = normalized(images.pixels).to(memory_format=torch.channels_last)
        scores = network(inputs)
        loss = objective(scores, images.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        correct += float((scores.argmax(1) == images.labels).float().mean())
        if (step + 1) % REPORT_INTERVAL_STEPS == 0:
            share = correct / REPORT_INTERVAL_STEPS
            elapsed_s = time.monotonic() - start_s
            print(f"step {step + 1}: {elapsed_s:.0f} s, right {share:.1%}", flush=True)
            correct = 0.0
    network.eval()
    return network
