"""`Trainer`: the loop."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.loader import MicroBatch, PatchLoader
from vae3d.data.patches import Batch
from vae3d.errors import CheckpointError, Interrupted
from vae3d.logger.base import Logger
from vae3d.loss.objective import Objective
from vae3d.runtime.distributed import Distributed, naming_lost_ranks
from vae3d.runtime.precision import Precision
from vae3d.runtime.seeding import seed_global
from vae3d.runtime.signals import StopSignal
from vae3d.trainer.checkpoint import CheckpointFolder, naming_missing_parts
from vae3d.trainer.config import BEST_BY, TrainerConfig
from vae3d.trainer.ema import ExponentialMovingAverage
from vae3d.trainer.finite import FiniteWatch
from vae3d.trainer.optimizer import build_optimizer
from vae3d.trainer.schedule import learning_rate
from vae3d.trainer.state import TrainState

T = TypeVar("T")
Scores = dict[str, float]
STOP_EVERY = 10
"""Steps on several GPUs between two questions whether to stop."""


@dataclass(frozen=True)
class Callbacks:
    """What a training asks of the floor above.

    `validate(step, interrupted)` scores the held-out cases, `save_weights(which, step, state)`
    writes what people use, of a step that may have been validated just before or not at all,
    `report_bad_step(step, what)` hears of a step that was skipped. `about` is noted beside each
    checkpoint.
    """

    validate: Callable[[int, Callable[[], bool]], Scores]
    save_weights: Callable[[str, int, dict[str, Tensor]], None]
    report_bad_step: Callable[[int, list[str]], None]
    about: dict[str, Any]


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
        callbacks: Callbacks,
        seed: int,
    ) -> None:
        self.model = model
        self.objective = objective
        self.loader = loader
        self.config = config
        self.distributed = distributed
        self.checkpoints = checkpoints
        self.logger = logger
        self.callbacks = callbacks
        self.seed = seed
        self.total_steps = total_steps(config, loader)
        model.to_device(distributed.device)
        network = cast(nn.Module, torch.compile(model)) if config.compile else model
        self.network = distributed.wrap(network)
        self.optimizer = build_optimizer(config.optimizer, model, config.lr, config.weight_decay)
        self.precision = Precision(config.precision, distributed.device)
        self.ema = ExponentialMovingAverage(model, config.ema_decay)
        self.state = TrainState()
        self.stop = StopSignal()
        self.finite = FiniteWatch(config.max_nonfinite, self.precision.skips_overflow)
        self._voxels, self._since = 0, time.monotonic()

    def fit(self) -> TrainState:
        """Trains to the last step; validates, logs and saves on the way.

        Raises:
            Interrupted: a signal came; the state is saved.
            NonFiniteError, ResourceError, RankError: it cannot go on.
        """
        with self.stop.listening(), naming_lost_ranks(lambda: self.state.step):
            if self.state.validation_due:
                self._after_step()
            for micro_batches in self.loader.steps(self.state.step, self.total_steps):
                if self.exhausted:
                    break
                scores = self.train_step(micro_batches)
                if self._is_time(self.config.log_every):
                    self._log({name: value.item() for name, value in scores.items()})
                self._after_step()
        return self.state

    def _after_step(self) -> None:
        """What happens between two steps, on all ranks alike."""
        if self._is_time(self.config.log_every) or self.distributed.device.type == "cpu":
            self._check_finite()
        stopping = self._must_stop()
        best = False
        if self.state.validation_due or self._is_time(self.config.val_every):
            try:
                self.state.validation_due = stopping
                best = not stopping and self._validate()
            except Interrupted:
                self.state.validation_due = stopping = True
        if best or stopping or self.exhausted or self._is_time(self.config.checkpoint_every):
            self._save(best)
        if stopping:
            name = self.stop.name or "a signal to another rank"
            raise Interrupted(
                name, f"stopped by {name} at step {self.state.step}; the same command goes on"
            )

    def _is_time(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.total_steps

    def _must_stop(self) -> bool:
        # Asking the other ranks makes a GPU wait: it is done every few steps there.
        if self.distributed.device.type != "cpu" and self.state.step % STOP_EVERY:
            return self.distributed.world == 1 and self.stop.came
        return self.distributed.any(self.stop.came)

    @property
    def exhausted(self) -> bool:
        """Whether the training ends before its last step, for want of better scores."""
        return self.state.is_exhausted(self.config.patience)

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
        self.precision.step(self.optimizer, self.finite.note(self.state.step, scores))
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.state.step += 1
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
        bad = self.finite.bad_steps(self.state)
        for step, wrong in bad.items():
            self.callbacks.report_bad_step(step, wrong)
        self.finite.check(bad, "nonfinite/")

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
            scores = self.callbacks.validate(self.state.step, lambda: self.stop.came)
        self._since += time.monotonic() - started
        if not scores:
            return False
        self.logger.log(self.state.step, {**scores, "epoch": self.epoch}, "val")
        score = scores[self.config.best_by] * BEST_BY[self.config.best_by]
        return self.state.take(score, self.config.keep_best)

    def _save(self, best: bool) -> None:
        self._check_finite()
        if self.distributed.is_main:
            weights = self.ema.state()
            # Before the checkpoint: one that knows of a best step has its weights beside it.
            self.callbacks.save_weights("latest", self.state.step, weights)
            if best:
                self.callbacks.save_weights("best", self.state.step, weights)
            self.checkpoints.save(
                self.state.step,
                self.state_dict(),
                self.callbacks.about,
                best=self.state.best_steps,
                keep=self.config.keep_checkpoints,
            )
        self.distributed.barrier()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the coming steps depend on; randomness is a function of the step."""
        return {
            "train": self.state.state_dict(),
            "model": self.model.state_dict(),
            "ema": {"updates": self.ema.updates, "average": self.ema.average},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "sampler": {
                "position": self.state.step * self.loader.plan.patches_per_step,
                "patches_per_step": self.loader.plan.patches_per_step,
                "num_patches": self.loader.plan.num_patches,
            },
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
            CheckpointError: a part is missing, or a step or an epoch has another number of
                patches.
        """
        with naming_missing_parts(self.checkpoints.path):
            self._check_sampler(state["sampler"])
            self.state.load_state_dict(state["train"])
            self.model.load_state_dict(state["model"])
            self._load_optimizer(state["optimizer"])
            self.precision.scaler.load_state_dict(state["scaler"])
            self.ema.load_state_dict(state["ema"])

    def _check_sampler(self, sampler: dict[str, int]) -> None:
        plan = self.loader.plan
        for key, now in (
            ("patches_per_step", plan.patches_per_step),
            ("num_patches", plan.num_patches),
        ):
            if sampler[key] != now:
                raise CheckpointError(
                    f"{self.checkpoints.path.parent}: the run had {key}={sampler[key]}, now it is "
                    f"{now} (batch size x accumulation x ranks, and the cases, must stay); "
                    "choose another name"
                )

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        own = self.optimizer.state_dict()["param_groups"]
        expected = {index for group in own for index in group["params"]}
        held = {*state["state"]}
        if held and held != expected:
            raise KeyError(f"the optimizer's state of {len(expected ^ held)} tensors")
        self.optimizer.load_state_dict(state)
        # The settings are those of now; the checkpoint's own came from the settings of then.
        for group, mine in zip(self.optimizer.param_groups, own, strict=True):
            group.update({k: v for k, v in mine.items() if k != "params"})


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
