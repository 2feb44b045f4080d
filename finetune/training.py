"""LoRA training of the student: the loss counts only answer tokens; runs are deterministic and resume exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from bundlewise.agents.student.engine import place_logits
from bundlewise.domain import Record
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import fingerprint, write_jsonl
from bundlewise.finetune import checkpoint
from bundlewise.finetune.adapters import FILES
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.deadline import Deadline, TimeIsOver
from bundlewise.finetune.examples import Example
from bundlewise.finetune.processes import Processes
from bundlewise.models.origin import loadable
from bundlewise.scratch import follow_umask, scratch_folder
from bundlewise.signals import signals_wait

SAVE_AFTER = 10.0
"""Seconds between checkpoints; a kill loses at most this time and the current step."""
WARMUP = 0.06
GRADIENT_NORM = 1.0
NAME_WEIGHT = 0.7
LESSON_WEIGHT = 0.3

Watch = Callable[[int, int, float, float | None], None]
Validate = Callable[[], float]


class TrainingResult(Record):
    """The result of a training: loss per step, validation scores as (step, GJS), tokens and seconds over all runs.

    `best_step` is the step whose weights were kept. `stopped` says why the training ended early, and `goes_on`
    whether the same training continues with more minutes. `found` is the result of the best validation as text,
    empty without validation.
    """

    losses: tuple[float, ...]
    scores: tuple[tuple[int, float], ...] = ()
    best_step: int
    stopped: str = ""
    goes_on: bool = False
    found: str = ""
    tokens: int
    seconds: float
    trainable_parameters: int


@dataclass
class Training:
    """One training of a model's LoRA weights over planned batches.

    Attributes:
        model: the model from `with_lora`.
        batches: the batches from `plan`; with the config they determine the result.
        config: learning rate, seed and the other dials.
        folder: the folder for the adapter, the checkpoint and loss.jsonl.
        validate: returns the GJS of the current model on validation; without it the last weights are kept.
        found: returns the result of the last validation as text, which is kept with the best weights.
        watch: called after each step with its number, the number of steps, the loss and the last score.
        base: fingerprint of the base model, so that a checkpoint of another base is refused.
        deadline: the time limit over all runs; it does not change the steps.
        processes: this process and the number of processes.
    """

    model: Any
    batches: Sequence[Sequence[Example]]
    config: TrainingConfig
    folder: Path
    validate: Validate | None = None
    watch: Watch | None = None
    base: str = ""
    found: Callable[[], str] | None = None
    deadline: Deadline = field(default_factory=Deadline)
    processes: Processes = field(default_factory=Processes)

    def run(self) -> TrainingResult:
        """Train, and write the adapter of the best validation; a stopped training continues where it stopped.

        If Ctrl-C or a signal stops the training, it is saved after its last complete step.
        The checkpoint stays: the caller removes it when the work after the training is done too.

        Raises:
            UsageError: there is nothing to train on.
            AdapterError: the first loss is not a number, the time is over before the first step, or the folder holds
                a checkpoint of another training.
        """
        if not self.batches:
            raise UsageError("no training example; give data whose train split has annotated sessions")
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = optimizer_of(self._parameters, self.config)
        self._key = fingerprint([self.config.model_dump(), self.batches, self.base])
        self._state = checkpoint.resume(self.folder, self._key, self._parameters, self._optimizer)
        self._started = perf_counter() - self._state.seconds
        self._saved = perf_counter()
        self.deadline.earlier = self._state.seconds
        self._late = False
        self.model.train()
        with self.processes.stopping_together():
            with self.deadline.within(self.model):
                stopped = self._until_stopped()
            self.model.eval()
            return self._finish(stopped)

    def _until_stopped(self) -> str:
        """Take the steps; an interrupted step is dropped, because it has not changed the weights yet."""
        try:
            return self._steps()
        except TimeIsOver as over:
            if not self._state.losses:
                raise AdapterError(f"{over} before the first step; give more with --max-minutes") from over
            self._late = True
            self._save()
            return str(over)
        except KeyboardInterrupt:
            if self._state.losses:
                with signals_wait():
                    self._save()
            # When one process ends, the launcher kills the others, so all wait until the first has saved.
            self.processes.wait()
            raise

    def _steps(self) -> str:
        """Take the remaining steps; return why they ended early, or an empty text."""
        steps, state = len(self.batches), self._state
        self._evaluate_if_due(len(state.losses))
        for step in range(len(state.losses) + 1, steps + 1):
            if reason := self._reason_to_stop():
                return self._stop(reason)
            loss = self._step(step)
            if loss != loss:
                if step == 1:
                    raise AdapterError("the loss is not a number at step 1; lower the learning rate")
                return self._stop(f"the loss is not a number at step {step}; lower the learning rate")
            evaluated = self._evaluate_if_due(step)
            if self.watch:
                self.watch(step, steps, loss, state.scores[-1][1] if state.scores else None)
            if not evaluated and (step == steps or perf_counter() - self._saved >= SAVE_AFTER):
                self._save()
        return ""

    def _stop(self, reason: str) -> str:
        """Save and score the current weights, and return the reason."""
        self._save()
        self._evaluate(len(self._state.losses))
        return reason

    def _reason_to_stop(self) -> str:
        if self._state.without_progress() >= self.config.patience:
            return f"no better validation in {self.config.patience} evaluations"
        return ""

    def _step(self, step: int) -> float:
        """Take one optimizer step on the weighted sum of the tasks' mean losses, and record it; return that sum.

        Signals wait while the weights and the record change, so that both always agree. If the sum is not a
        number, the weights stay as they are.
        """
        import torch

        if self.config.dropout:
            torch.manual_seed(self.config.seed + step)  # A training that continues drops the same weights.
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * schedule(step - 1, len(self.batches))
        loss = sum(self.processes.together(lambda: self._backward(self.batches[step - 1])))
        self.processes.sum_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, GRADIENT_NORM)
        if bool(torch.isfinite(norm)) and loss == loss:
            with signals_wait():
                self._optimizer.step()
                self._state.losses.append(loss)
                self._state.tokens += sum(len(example.encoded.ids) for example in self.batches[step - 1])
        else:
            loss = float("nan")
        self._optimizer.zero_grad()
        return loss

    def _backward(self, batch: Sequence[Example]) -> float:
        """Add this process's share of the gradients; return its share of the loss.

        Each task has its own forward pass, because padding short intents to the length of questions wastes time.
        """
        import torch

        self.deadline.check()
        total = 0.0
        for task, weight in (("judge", 1.0), ("write", 1.0), ("name", NAME_WEIGHT), ("lesson", LESSON_WEIGHT)):
            whole = [example for example in batch if example.task == task]
            part = self.processes.share(whole)
            if part:
                logits = place_logits(self.model.get_base_model(), [example.encoded for example in part])
                targets = torch.tensor([t for example in part for t in example.targets], device=logits.device)
                losses = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
                loss = losses * (weight / sum(len(example.targets) for example in whole))
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        return total

    def _evaluate_if_due(self, step: int) -> bool:
        """Evaluate if an evaluation is due after this step; save before it, so that a kill during it loses no step."""
        if not (self.validate and step and self.config.evaluates_after(step, len(self.batches))):
            return False
        if self._state.scored(step):
            return False
        self._save()
        self._evaluate(step)
        self._save()
        return True

    def _evaluate(self, step: int) -> None:
        """Score the weights of a step on validation, unless they are scored, and keep them if they are the best."""
        state = self._state
        if self.validate is None or state.scored(step):
            return
        self.model.eval()
        score = self.processes.together(self._score)[0]
        self.model.train()
        with signals_wait():
            if state.is_new_best(score):
                state.best = [p.detach().cpu().clone() for p in self._parameters]
                state.found = self.found() if self.found and self.processes.first else ""
            state.scores.append((step, score))

    def _score(self) -> float:
        """Return the score of the current weights; only the first process computes it, the others return 0."""
        if self.validate is None or not self.processes.first:
            return 0.0
        with self.deadline.alarm():
            return self.validate()

    def _save(self) -> None:
        self._state.seconds = perf_counter() - self._started
        if self.processes.first:
            checkpoint.save(self.folder, self._key, self._state, self._parameters, self._optimizer)
        self._saved = perf_counter()

    def _finish(self, stopped: str) -> TrainingResult:
        state = self._state
        best = len(state.losses)
        if state.scores:
            best = max(state.scores, key=lambda pair: pair[1])[0]
        if state.best:
            checkpoint.put(self._parameters, state.best)
        if self.processes.first:
            _write_adapter(self.model, self.folder)
            rows = [{"step": n, "loss": round(loss, 6)} for n, loss in enumerate(state.losses, 1)]
            for step, score in state.scores:
                rows[step - 1]["validation_gjs"] = round(score, 6)
            write_jsonl(self.folder / "loss.jsonl", rows)
        self.processes.wait()
        return TrainingResult(
            losses=tuple(state.losses),
            scores=tuple(state.scores),
            best_step=best,
            stopped=stopped,
            goes_on=self._late,
            found=state.found,
            tokens=state.tokens,
            seconds=round(state.seconds, 3),
            trainable_parameters=sum(p.numel() for p in self._parameters),
        )


def optimizer_of(parameters: Sequence[Any], config: TrainingConfig) -> Any:
    """Return the optimizer for the trained weights."""
    import torch

    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, eps=1e-6, fused=True)


def schedule(step: int, steps: int, warmup: float = WARMUP) -> float:
    """Return the factor of the learning rate at a step (from 0): it rises during the warm-up, then falls to 0."""
    return min(1.0, (step + 1) / max(1.0, warmup * steps)) * (1.0 - step / steps)


def _write_adapter(model: Any, folder: Path) -> None:
    from safetensors import SafetensorError

    for settings in model.peft_config.values():
        settings.base_model_name_or_path, settings.revision = loadable(settings.base_model_name_or_path)
    try:
        with scratch_folder(folder / "adapter") as work:
            # By default peft asks the hub whether the embeddings have changed; LoRA leaves them as they are.
            model.save_pretrained(work, save_embedding_layers=False)
            follow_umask(work)
            for name in FILES:
                (work / name).replace(folder / name)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"cannot write the adapter to {folder}: {error}; free space and run again") from error
