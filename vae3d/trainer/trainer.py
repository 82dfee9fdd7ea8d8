"""`Trainer`: the training loop."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vae3d.adversary.player import BatchPart
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.checkpoints.state import missing_parts_as_errors
from vae3d.errors import CheckpointError, Interrupted
from vae3d.loading.loader import MicroBatch, PatchLoader
from vae3d.loading.patches import Batch
from vae3d.logger.base import Logger
from vae3d.loss.equivariance import Equivariance
from vae3d.loss.objective import Objective
from vae3d.runtime.distributed import Distributed, lost_ranks_as_errors
from vae3d.runtime.memory_order import load_optimizer
from vae3d.runtime.precision import Precision
from vae3d.runtime.seeding import seed_global
from vae3d.runtime.signals import StopSignal
from vae3d.runtime.threads import using_threads
from vae3d.trainer.adversary import build_adversary
from vae3d.trainer.batch_loss import BatchLoss, deviations_of
from vae3d.trainer.config import BEST_BY, TrainerConfig
from vae3d.trainer.ema import ExponentialMovingAverage
from vae3d.trainer.finite import FiniteWatch
from vae3d.trainer.optimizer import build_optimizer, learning_rate
from vae3d.trainer.portions import portions_of
from vae3d.trainer.state import TrainState

T = TypeVar("T")
Scores = dict[str, float]


@dataclass(frozen=True)
class Callbacks:
    """The functions that the loop calls, and what it saves with a checkpoint.

    `validate(step, interrupted)` scores the held-out cases. `save_weights(which, step, state)`
    writes the weights of a step as `best` or `latest`; `latest` may be of a step without a
    validation. `report_bad_step(step, names)` is called for a skipped step. `about` is saved with
    each checkpoint, and so is what `logged` returns: what the run's metrics.csv holds by then.
    """

    validate: Callable[[int, Callable[[], bool]], Scores]
    save_weights: Callable[[str, int, dict[str, Tensor]], None]
    report_bad_step: Callable[[int, list[str]], None]
    about: dict[str, Any]
    logged: Callable[[], dict[str, Any]] = dict


class Trainer:
    """Trains a model on the patches of a loader; `resume` continues from a checkpoint."""

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
        # The parts, which do not change.
        self.objective = objective
        self.loader = loader
        self.config = config
        self.distributed = distributed
        self.checkpoints = checkpoints
        self.logger = logger
        self.callbacks = callbacks
        self.seed = seed
        self.total_steps = total_steps(config, loader)
        self.val_every = config.validation_interval(self.total_steps)

        # What `state_dict` saves.
        self.model = model.to_device(distributed.device)
        self.state = TrainState()
        self.optimizer = build_optimizer(config.optimizer, model, config.lr, config.weight_decay)
        self.precision = Precision(config.precision, distributed.device, "trainer.precision")
        self.ema = ExponentialMovingAverage(model, config.ema_decay)

        self.adversary = build_adversary(
            objective.config.adversary,
            model,
            config,
            self.total_steps,
            distributed,
            self.precision,
            seed,
        )

        # What each start creates again.
        network = cast(nn.Module, torch.compile(model)) if config.compile else model
        # Gradients of portions are summed over the ranks here, those of whole batches by DDP.
        self.portions = portions_of(config, model, distributed.device)
        self.loss = BatchLoss(model, objective, self.precision, distributed.device)
        self.loss.adversary = self.adversary
        if objective.config.latent_noise:
            self.loss.latent_std = deviations_of(model, loader.dataset.latents)
        if (spec := objective.config.equivariance).weight:
            spacing = loader.dataset.cases.spacing
            self.loss.equivariance = Equivariance(objective, spec, spacing)
        self.network = network if self.portions else distributed.wrap(network)
        self.stop = StopSignal()
        self.finite = FiniteWatch(config.max_nonfinite, self.precision.skips_overflow)
        self._voxels, self._since = 0, time.monotonic()

    def fit(self) -> TrainState:
        """Train to the last step; validate, log and save on the way; return the final state.

        Raises:
            Interrupted: a signal came; the state is saved.
            NonFiniteError, ResourceError, RankError: training cannot continue.
        """
        with (
            self.stop.listening(),
            lost_ranks_as_errors(lambda: self.state.step),
            contextlib.ExitStack() as stack,
        ):
            stack.callback(self._release)
            if self.state.validation_due:
                self._after_step()
            for micro_batches in self.loader.steps(self.state.step, self.total_steps):
                if self.exhausted:
                    break
                scores = self.train_step(micro_batches)
                if self._is_time(self.config.log_every):
                    self._log(dict(zip(scores, as_floats(scores.values()), strict=True)))
                    self.adversary.report(self.state.step)
                self._after_step()
        return self.state

    def _release(self) -> None:
        """End the threads of the portions, and let go of DDP before its ranks part."""
        if self.portions:
            self.portions.close()
        self.network = self.model

    def _after_step(self) -> None:
        """Check, validate and save between two steps, on all ranks alike."""
        # Losses are checked where that costs nothing: on a GPU a check waits for the device.
        if self._is_time(self.config.log_every) or self.distributed.device.type == "cpu":
            self._check_finite()

        # All ranks decide together: a rank that continues would wait for one that stopped.
        stopping = self.distributed.any(self.stop.came)

        # A validation that a signal interrupts or precedes is recorded as due and done first on
        # resuming, so that the log equals that of an uninterrupted training.
        best = False
        if self.state.validation_due or self._is_time(self.val_every):
            try:
                self.state.validation_due = stopping
                best = not stopping and self._validate()
            except Interrupted:
                self.state.validation_due = stopping = True

        # Saved last: the checkpoint holds the decisions above.
        if best or stopping or self.exhausted or self._is_time(self.config.checkpoint_every):
            self._save(best)
        if stopping:
            name = self.stop.name or "a signal to another rank"
            raise Interrupted(
                name, f"stopped by {name} at step {self.state.step}; the same command resumes"
            )

    def _is_time(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.total_steps

    @property
    def exhausted(self) -> bool:
        """Whether training stops early, after `patience` validations without a better score."""
        return self.state.is_exhausted(self.config.patience)

    def train_step(self, micro_batches: Iterable[MicroBatch]) -> dict[str, Tensor]:
        """Do one optimizer update over this step's patches; return its mean losses.

        The losses stay on the device: nothing here waits for it.
        """
        seed_global(self.seed, "step", self.state.step, self.distributed.rank)
        self.model.train()
        self._set_learning_rate()
        # Norms are sums, whose rounding depends on the number of threads.
        threads = self.portions.threads if self.portions else None
        with using_threads(threads):
            self.adversary.begin(self.state.step)
        sums: dict[str, Tensor] = {}
        batches = (batch for micro_batch in micro_batches for batch in micro_batch)
        backward = self._backward_in_portions if self.portions else self._backward
        for part in backward(self._counted(batches)):
            for name, value in part.losses.items():
                sums[name] = sums[name] + value if name in sums else value
            self.adversary.add(part)
        totals = self.distributed.sum(torch.stack([*sums.values()]))
        scores = dict(zip(sums, totals, strict=True))
        with using_threads(threads):
            scores |= self.adversary.exchange()
            self.precision.share_overflow(self.model, *self.adversary.models)
            norm = self.precision.clip(self.model, self.optimizer, self.config.clip_norm)
            scores["grad_norm"] = norm.detach()
            scores |= self.adversary.clip()
        finite = self.finite.note(self.state.step, scores)
        self.precision.step(self.optimizer, finite, *self.adversary.optimizers)
        self.optimizer.zero_grad(set_to_none=True)
        self.adversary.end(scores, finite)
        self.ema.update()
        self.state.step += 1
        return scores

    def _backward(self, batches: Iterable[Batch]) -> Iterator[BatchPart]:
        """Add the gradients of whole batches; yield each one's part of the step."""
        for batch, last in with_last(batches):
            with self._exchange(last):
                loss, part = self.loss(self.network, batch, self.state.step)
                # DDP averages gradients over the ranks, but the weights of the samples sum to 1
                # over all ranks: the factor turns the mean into that sum.
                self.precision.backward(loss * self.distributed.world, self.adversary.inputs)
            yield part

    def _backward_in_portions(self, batches: Iterable[Batch]) -> Iterator[BatchPart]:
        """Add the gradients of the batches portion by portion; yield each one's part."""
        assert self.portions

        def scaled_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, BatchPart]:
            loss, part = self.loss(network, batch, self.state.step)
            return self.precision.scaled(loss), part

        yield from self.portions.backward(scaled_loss, batches)
        self.distributed.sum_gradients(self.portions.parameters)

    def _counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and count their voxels."""
        for batch in batches:
            self._voxels += batch.voxels * self.distributed.world
            yield batch

    def _exchange(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        # Gradients are exchanged once per step, with its last batch.
        if last or self.distributed.world == 1:
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = self.network.no_sync()  # type: ignore[operator]
        return context

    def _check_finite(self) -> None:
        bad = self.finite.bad_steps(self.state)
        for step, wrong in bad.items():
            self.callbacks.report_bad_step(step, wrong)
        self.finite.check(bad, "nonfinite/")

    def _set_learning_rate(self) -> None:
        rate = learning_rate(
            self.state.step,
            self.total_steps,
            self.config.lr,
            self.config.warmup_steps,
            self.config.min_lr_ratio,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
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
        """Score the held-out cases; return whether the score is the best so far."""
        started = time.monotonic()
        with self.ema.averaged():
            scores = self.callbacks.validate(self.state.step, lambda: self.stop.came)
        self._since += time.monotonic() - started
        if not scores:
            return False
        self.logger.log(self.state.step, {**scores, "epoch": self.epoch}, "val")
        score = scores[self.config.best_by] * BEST_BY[self.config.best_by]
        return self._take(score)

    def _take(self, score: float) -> bool:
        """Record the score of this step; return whether it is the best of its phase.

        Each phase of an adversary has a best step of its own, and patience waits for the last one.
        """
        phases = self.objective.config.adversary
        phase = phases.phase(self.state.step)
        if any(phases.phase(step) != phase for step in self.state.best_steps):
            self.state.best = []
        best = self.state.take(score, self.config.keep_best)
        if phases.ends(phase):
            self.state.stale = 0
        return best

    def save_beginning(self) -> None:
        """Save step 0: a training that began with other weights resumes without them."""
        self._save(best=False)

    def _save(self, best: bool) -> None:
        self._check_finite()
        if self.distributed.is_main:
            weights = self.ema.state()
            # Before the checkpoint: when a checkpoint records a best step, its weights exist.
            self.callbacks.save_weights("latest", self.state.step, weights)
            if best:
                for which in self.objective.config.adversary.kept_as(self.state.step):
                    self.callbacks.save_weights(which, self.state.step, weights)
            self.checkpoints.save(
                self.state.step,
                self.state_dict(),
                {**self.callbacks.about, "metrics": self.callbacks.logged()},
                best=self.state.best_steps,
                keep=self.config.keep_checkpoints,
            )
        self.distributed.barrier()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the coming steps depend on; randomness is a function of the step."""
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
            **({"latent_std": self.loss.latent_std} if self.objective.config.latent_noise else {}),
            **self.adversary.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            CheckpointError: a part is missing, or a step or an epoch has another number of
                patches.
        """
        with missing_parts_as_errors(self.checkpoints.path):
            self._check_sampler(state["sampler"])
            self.state.load_state_dict(state["train"])
            self.model.load_state_dict(state["model"])
            load_optimizer(self.optimizer, state["optimizer"])
            # Checkpoints of other precisions hold no scale: float16 begins with its own.
            if state["scaler"]:
                self.precision.scaler.load_state_dict(state["scaler"])
            self.ema.load_state_dict(state["ema"])
            # Checkpoints of earlier versions do not have it, and no noise.
            self.loss.latent_std = state.get("latent_std")
            self.adversary.load_state_dict(state)

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


def total_steps(config: TrainerConfig, loader: PatchLoader) -> int:
    """Return the length of the training in steps."""
    if config.epochs is not None:
        return config.epochs * loader.plan.steps_per_epoch
    return config.steps


def as_floats(values: Iterable[Tensor]) -> list[float]:
    """Return scalars as numbers; a GPU is waited for once."""
    floats: list[float] = torch.stack([*values]).tolist()
    return floats


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Yield each item, and whether it is the last one."""
    end: Any = object()
    for item, following in pairwise(chain(items, [end])):
        yield item, following is end
