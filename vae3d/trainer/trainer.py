"""`Trainer`: the loop."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vae3d.data.loader import MicroBatch, PatchLoader
from vae3d.data.patches import Batch
from vae3d.errors import NonFiniteError, RunError
from vae3d.logger.base import Logger
from vae3d.loss.objective import Objective
from vae3d.model.vae import CustomVAE
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.precision import Precision
from vae3d.runtime.seeding import seed_global
from vae3d.trainer.checkpoint import CheckpointFolder
from vae3d.trainer.config import BEST_BY, TrainerConfig
from vae3d.trainer.ema import ExponentialMovingAverage
from vae3d.trainer.optimizer import build_optimizer
from vae3d.trainer.schedule import learning_rate
from vae3d.trainer.state import TrainState

T = TypeVar("T")
Scores = dict[str, float]


class Trainer:
    """Trains a model on the patches of a loader, from wherever its checkpoints stand."""

    def __init__(
        self,
        model: CustomVAE,
        objective: Objective,
        loader: PatchLoader,
        config: TrainerConfig,
        distributed: Distributed,
        checkpoints: CheckpointFolder,
        logger: Logger,
        validate: Callable[[int], Scores],
        save_weights: Callable[[str, dict[str, Tensor]], None],
        seed: int,
    ) -> None:
        self.model = model
        self.objective = objective
        self.loader = loader
        self.config = config
        self.distributed = distributed
        self.checkpoints = checkpoints
        self.logger = logger
        self.validate = validate
        self.save_weights = save_weights
        self.seed = seed
        self.total_steps = total_steps(config, loader)
        model.placed(distributed.device)
        network = cast(nn.Module, torch.compile(model)) if config.compile else model
        self.network = distributed.wrap(network)
        self.optimizer = build_optimizer(config.optimizer, model, config.lr, config.weight_decay)
        self.precision = Precision(config.precision, distributed.device)
        self.ema = ExponentialMovingAverage(model, config.ema_decay)
        self.state = TrainState()
        self._voxels, self._since = 0, time.monotonic()
        self._unchecked: list[tuple[int, Tensor]] = []
        self._names: list[str] = []

    def fit(self) -> TrainState:
        """Trains to the last step; validates, logs and saves on the way."""
        for micro_batches in self.loader.steps(self.state.step, self.total_steps):
            scores = self.train_step(micro_batches)
            step = self.state.step
            logs = step % self.config.log_every == 0 or step == self.total_steps
            if logs or self.distributed.device.type == "cpu":
                self._check_finite()
            if logs:
                self._log({name: value.item() for name, value in scores.items()})
            best = False
            if step % self.config.val_every == 0 or step == self.total_steps:
                best = self._validate()
            if best or step % self.config.checkpoint_every == 0 or step == self.total_steps:
                self._save(best)
        return self.state

    def train_step(self, micro_batches: Iterable[MicroBatch]) -> dict[str, Tensor]:
        """One optimizer update over this step's patches; gives its mean losses.

        They stay on the device: nothing here waits for it.
        """
        seed_global(self.seed, "step", self.state.step, self.distributed.rank)
        self.model.train()
        self._set_learning_rate()
        sums: dict[str, Tensor] = {}
        batches = (batch for micro_batch in micro_batches for batch in micro_batch)
        for batch, last in with_last(batches):
            with self._exchange(last):
                for name, value in self._forward_backward(batch).items():
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
        scores = self._mean_over_ranks(sums)
        norm = self.precision.clip(self.model, self.optimizer, self.config.clip_norm)
        scores["grad_norm"] = norm.detach()
        finite = torch.stack([*scores.values()]).isfinite()
        self.precision.step(self.optimizer, finite.all())
        self._unchecked.append((self.state.step, finite))
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.state.step += 1
        self._names = [*scores]
        return scores

    def _forward_backward(self, batch: Batch) -> dict[str, Tensor]:
        """Adds a batch's gradients; gives its part of the step's mean of every term."""
        device = self.distributed.device
        images = batch.images.to(device, non_blocking=True, memory_format=self.model.memory_format)
        weights = batch.weights.to(device, non_blocking=True)
        with self.precision.autocast(device):
            output = self.network(images, batch.generators())
        terms = self.objective(output, images, batch.inside, self.state.step)
        loss = (terms.total * weights).sum()
        # The exchange of gradients takes their mean over the ranks, the step is their sum.
        self.precision.backward(loss * self.distributed.world)
        self._voxels += batch.voxels * self.distributed.world
        parts = {name: (term.detach() * weights).sum() for name, term in terms.by_name.items()}
        return {"loss": loss.detach(), **parts}

    def _exchange(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        # Gradients travel once a step, with its last batch.
        if last or self.distributed.world == 1:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = self.network.no_sync()  # type: ignore[operator]
        return context

    def _mean_over_ranks(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        values = self.distributed.sum(torch.stack([*sums.values()]))
        return dict(zip(sums, values, strict=True))

    def _check_finite(self) -> None:
        # The sums over the ranks are the same everywhere, so all ranks stop together.
        flags = torch.stack([finite for _, finite in self._unchecked]).tolist()
        steps = [step for step, _ in self._unchecked]
        self._unchecked.clear()
        for step, row in zip(steps, flags, strict=True):
            wrong = [name for name, finite in zip(self._names, row, strict=True) if not finite]
            if not wrong or (self.precision.skips_overflow and wrong == ["grad_norm"]):
                continue
            raise NonFiniteError(
                f"step {step}: {', '.join(wrong)} stopped being finite; it has not touched the "
                "weights. Lower trainer.lr, lengthen trainer.warmup_steps or say "
                "trainer.precision=fp32"
            )

    def _set_learning_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    @property
    def learning_rate(self) -> float:
        """The learning rate of the coming step."""
        return learning_rate(
            self.state.step,
            self.total_steps,
            self.config.lr,
            self.config.warmup_steps,
            self.config.min_lr_ratio,
        )

    @property
    def epoch(self) -> int:
        """The number of whole epochs behind."""
        return self.state.step // self.loader.plan.steps_per_epoch

    def _log(self, scores: Scores) -> None:
        elapsed = max(time.monotonic() - self._since, 1e-9)
        scores = {
            **scores,
            "epoch": self.epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "kl_weight": self.objective.kl_weight_at(self.state.step - 1),
            "voxels_per_second": self._voxels / elapsed,
        }
        self.logger.log(self.state.step, scores, "train")
        self._voxels, self._since = 0, time.monotonic()

    def _validate(self) -> bool:
        """Scores the held-out cases; whether they are the best so far."""
        started = time.monotonic()
        with self.ema.averaged():
            scores = self.validate(self.state.step)
        self._since += time.monotonic() - started
        if not scores:
            return False
        self.logger.log(self.state.step, {**scores, "epoch": self.epoch}, "val")
        score = scores[self.config.best_by] * BEST_BY[self.config.best_by]
        if self.state.best_score is not None and score <= self.state.best_score:
            return False
        self.state.best_score, self.state.best_step = score, self.state.step
        return True

    def _save(self, best: bool) -> None:
        if self.distributed.is_main:
            weights = self.ema.state()
            self.save_weights("latest", weights)
            if best:
                self.save_weights("best", weights)
            keep = self.config.keep_checkpoints
            self.checkpoints.save(self.state.step, self.state_dict(), best=best, keep=keep)
        self.distributed.barrier()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the coming steps depend on; randomness is a function of the step."""
        return {
            "train": self.state.state_dict(),
            "model": self.model.state_dict(),
            "ema": {"updates": self.ema.updates, "average": self.ema.average},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "patches_per_step": self.loader.plan.patches_per_step,
            "num_patches": self.loader.plan.num_patches,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
            RunError: a step or an epoch of this run has another number of patches.
        """
        for key, now in (
            ("patches_per_step", self.loader.plan.patches_per_step),
            ("num_patches", self.loader.plan.num_patches),
        ):
            if state[key] != now:
                raise RunError(
                    f"{self.checkpoints.path.parent}: the run had {key}={state[key]}, now it is "
                    f"{now} (batch size x accumulation x ranks, and the cases, must stay); "
                    "choose another name"
                )
        self.state.load_state_dict(state["train"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.ema.updates = state["ema"]["updates"]
        for name, value in state["ema"]["average"].items():
            self.ema.average[name].copy_(value)


def total_steps(config: TrainerConfig, loader: PatchLoader) -> int:
    """The length of the training in steps."""
    if config.epochs is not None:
        return config.epochs * loader.plan.steps_per_epoch
    return config.steps


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item with whether it is the last one."""
    iterator = iter(items)
    try:
        held = next(iterator)
    except StopIteration:
        return
    for item in iterator:
        yield held, False
        held = item
    yield held, True
