"""The training loop of the language model: batches, schedule, checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from training.language_corpus import BOUNDARY_ID, TokenArray
from training.language_network import LanguageNetwork, active_share
from training.muon import Muon

CHECKPOINT_INTERVAL_S = 60.0
REPORT_INTERVAL_STEPS = 10
ADAM_BETAS = (0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to learn.

    Attributes
    ----------
    seed : int
    batch_tokens : int
        Tokens of one step.
    matrix_rate, embedding_rate, output_rate : float
        Peak learning rates: of Muon for the matrices of the blocks, of Adam for the embeddings, of
        Adam for the output matrix and all normalizations.
    matrix_decay : float
        Weight decay of the matrices of the blocks.
    pairs_share : float
        First part of the budget, in which only embeddings and output learn which token follows
        which: the blocks are the identity, and a step costs a fifth of a whole one.
    warm_up_share, cool_down_share : float
        Of the whole budget: the rate rises from 0 in the first, falls to 0 in the last.
    long_share : float
        Last part of the budget, in which sequences are as long as the context; half before, where
        attention costs less.
    """

    seed: int = 1
    batch_tokens: int = 2048
    matrix_rate: float = 0.008
    embedding_rate: float = 0.01
    output_rate: float = 4e-3
    matrix_decay: float = 0.1
    pairs_share: float = 0.07
    warm_up_share: float = 0.01
    cool_down_share: float = 0.7
    long_share: float = 0.15

    def rate(self, progress: float) -> float:
        """Factor on the peak learning rates at a progress in [0, 1]."""
        rising = progress / self.warm_up_share
        falling = (1.0 - progress) / self.cool_down_share
        # The very first step is not for nothing.
        return max(min(rising, falling, 1.0), 0.01)


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: after so many steps, or else after so many minutes of training.

    Attributes
    ----------
    steps : int or None
    minutes : float or None
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a budget is either steps or minutes")

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share of the budget that is spent; 1 or more: over."""
        if self.steps is not None:
            return step / self.steps if self.steps else 1.0
        assert self.minutes is not None
        return elapsed_s / (60.0 * self.minutes) if self.minutes else 1.0


class Trainer:
    """Network, optimizers and position in the data.

    Parameters
    ----------
    network : LanguageNetwork
        Fresh or trained weights.
    tokens : array of uint16, shape (n,)
        The training part.
    settings : Settings
    device : str
        Where to compute, as PyTorch names it.
    """

    def __init__(
        self, network: LanguageNetwork, tokens: TokenArray, settings: Settings, *, device: str
    ) -> None:
        if len(tokens) <= network.shape.context:
            raise ValueError(
                f"{len(tokens)} tokens to train on; a sequence takes {network.shape.context}"
            )
        self.network = network.to(device)
        self.tokens = tokens
        self.settings = settings
        self.device = device
        self.step = 0
        self.tokens_seen = 0
        self.elapsed_s = 0.0
        matrices = [p for p in network.blk.parameters() if p.ndim == 2]
        scales = [p for p in network.parameters() if p.ndim == 1]
        embeddings = [network.token_embd.weight]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, settings.matrix_rate, weight_decay=settings.matrix_decay),
            torch.optim.Adam(embeddings, settings.embedding_rate, betas=ADAM_BETAS),
            torch.optim.Adam(
                [network.output.weight, *scales], settings.output_rate, betas=ADAM_BETAS
            ),
        ]
        self.peak_rates = (settings.matrix_rate, settings.embedding_rate, settings.output_rate)

    def run(self, budget: Budget, checkpoint: Path) -> None:
        """Train until the budget is spent, saving the state now and then and at the end."""
        started_s = time.monotonic() - self.elapsed_s
        saved_s = time.monotonic()
        while (progress := budget.progress(self.step, self.elapsed_s)) < 1.0:
            loss, share = self.train_step(progress)
            self.elapsed_s = time.monotonic() - started_s
            if self.step % REPORT_INTERVAL_STEPS == 0:
                print(
                    f"step {self.step}: {100 * progress:.1f} %, {self.elapsed_s:.0f} s, loss "
                    f"{loss:.3f} nats a token, active share {share:.3f}",
                    flush=True,
                )
            if time.monotonic() - saved_s > CHECKPOINT_INTERVAL_S:
                self.save(checkpoint)
                saved_s = time.monotonic()
        self.save(checkpoint)

    def train_step(self, progress: float) -> tuple[float, float]:
        """One step of all optimizers.

        Parameters
        ----------
        progress : float
            Share of the budget that is spent, in [0, 1).

        Returns
        -------
        loss : float
            Cross-entropy before the step, nats a token.
        share : float
            `active_share` before the step; 0 while only pairs of tokens are learned.
        """
        context = self.network.shape.context
        if progress < 1.0 - self.settings.long_share:
            context //= 2
        inputs, targets = self._batch(context)
        if progress < self.settings.pairs_share:
            logits, share = self.network.score_pairs(inputs), 0.0
        else:
            logits, rectified = self.network(inputs)
            share = active_share(rectified)
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        factor = self.settings.rate(progress)
        for optimizer, peak in zip(self.optimizers, self.peak_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * peak
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens_seen += targets.numel()
        return float(loss.detach()), share

    def _batch(self, context: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut inputs and targets of the current step; they depend on seed and position alone.

        Every pass over the text cuts it at other places and takes the pieces in another order. Each
        sequence begins with the boundary token in place of its first, as prompts do.
        """
        rows = max(1, self.settings.batch_tokens // context)
        pieces = (len(self.tokens) - 1) // context - 1
        chosen = []
        first = self.tokens_seen // context
        for index in range(first, first + rows):
            epoch, place = divmod(index, max(pieces, 1))
            generator = np.random.default_rng([self.settings.seed, context, epoch])
            shift = int(generator.integers(context)) if pieces > 0 else 0
            order = generator.permutation(max(pieces, 1))
            chosen.append(shift + context * int(order[place]))
        windows = np.stack([self.tokens[start : start + context + 1] for start in chosen])
        batch = torch.from_numpy(windows.astype(np.int64)).to(self.device)
        inputs = batch[:, :-1].clone()
        inputs[:, 0] = BOUNDARY_ID
        return inputs, batch[:, 1:]

    def save(self, path: Path) -> None:
        """Write the state; a stop in between leaves the old file."""
        state: dict[str, Any] = {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "elapsed_s": self.elapsed_s,
            "shape": self.network.shape.as_dict(),
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Go back to a saved state.

        Raises
        ------
        ValueError
            If the state is of a network of another shape.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["shape"] != self.network.shape.as_dict():
            raise ValueError(f"{path}: the state of a network of another shape {state['shape']}")
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.tokens_seen = state["step"], state["tokens_seen"]
        self.elapsed_s = state["elapsed_s"]
