"""The training loop alone: passes, processes, resuming, held-out scores, and what happens when
numbers or memory run out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsinuc.errors import CheckpointError, ConfigError, DeviceMemoryError, TrainingError
from wsinuc.models import devices
from wsinuc.models.checkpoints.checkpoint import load_checkpoint
from wsinuc.models.checkpoints.denoisers import load_denoiser
from wsinuc.models.device_memory import largest_fitting
from wsinuc.models.training.loop import FitConfig, Inspection, Progress, fit, weights_in_place
from wsinuc.models.training.processes import ALONE, launched_processes
from wsinuc.models.training.state import append_log, read_log, trim_log

CONFIG = FitConfig(steps=6, lr=0.05, bf16=False, save_every=2, log_every=2)
BATCH = 8


class Line(nn.Module):
    """A regression whose part k depends on k alone."""

    def __init__(self, parts: int = 1) -> None:
        super().__init__()
        self.parts, self.slope = parts, nn.Linear(3, 1)
        with torch.no_grad():
            self.slope.weight.fill_(0.1)
            self.slope.bias.zero_()

    def __call__(self, part: int) -> Tensor:
        step, place = divmod(part, self.parts)
        x = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(step)).chunk(self.parts)[place]
        return (self.slope(x) - x.sum(1, keepdim=True)).square().mean()


def trained(tmp_path: Path, config: FitConfig = CONFIG, parts: int = 1, name: str = "a", **more) -> dict[str, Tensor]:
    model = Line(parts)
    return fit(model, model, config, state=tmp_path / f"{name}.state", **more)


def test_passes_change_the_memory_and_not_the_result(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    for passes in (2, 4):
        parts = trained(tmp_path, replace(CONFIG, accumulate=passes), passes, f"in {passes}")
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gains", [True, False], ids=["gains from bf16", "does not"])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_passes_run_in_bf16_where_it_is_wanted_or_gains(
    wanted: bool | None, gains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "pick_dtype", lambda device: torch.bfloat16 if gains else torch.float32)
    model = Line()
    seen = set()

    def loss(part: int) -> Tensor:
        seen.add(torch.is_autocast_enabled("cpu"))
        return model(part)

    fit(model, loss, replace(CONFIG, bf16=wanted), state=tmp_path / "a.state")
    assert seen == {gains if wanted is None else wanted}


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_an_interrupted_training_ends_with_the_same_bits(stop_after: int, tmp_path: Path) -> None:
    whole = trained(tmp_path)
    calls = iter(range(1, 100))
    trained(tmp_path, name="b", should_stop=lambda: next(calls) == stop_after)
    resumed = trained(tmp_path, name="b")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    steps = [line["step"] for line in read_log(tmp_path / "b.jsonl")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6


def test_a_killed_training_repeats_what_was_not_saved(tmp_path: Path) -> None:
    """Killed at step 5 after a save at 4: step 5 is computed again, and logged once."""
    whole, model = trained(tmp_path), Line()

    def killed(part: int) -> Tensor:
        if part == 5:
            raise KeyboardInterrupt
        return model(part)

    every = replace(CONFIG, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, killed, every, state=tmp_path / "b.state")
    resumed = trained(tmp_path, every, name="b")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert [line["step"] for line in read_log(tmp_path / "b.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_progress_counts_images_over_interruptions(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained(tmp_path, replace(CONFIG, steps=3), images=BATCH, on_progress=seen.append)
    trained(tmp_path, images=BATCH, on_progress=seen.append)
    assert [line.images for line in seen] == [16, 24, 32, 48]
    assert all(line.images_per_s > 0 for line in seen)


def test_a_state_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    trained(tmp_path, settings={"patch": 16, "unet.base": 32})
    with pytest.raises(CheckpointError, match="patch was 16, now 32"):
        trained(tmp_path, settings={"patch": 32, "unet.base": 32})
    trained(tmp_path, replace(CONFIG, steps=8), settings={"patch": 16, "unet.base": 32})  # longer is no other training


def test_a_training_goes_on_in_another_precision(tmp_path: Path) -> None:
    trained(tmp_path, replace(CONFIG, bf16=True), settings={"patch": 16, "fit.bf16": True})
    resumed: list[Progress] = []
    longer = replace(CONFIG, steps=8, log_every=1)
    trained(tmp_path, longer, settings={"patch": 16}, on_progress=resumed.append)
    assert [line.step for line in resumed] == [7, 8]


def test_a_state_of_other_data_is_refused_unless_it_is_too_old_to_name_them(tmp_path: Path) -> None:
    trained(tmp_path, settings={"patch": 16})
    trained(tmp_path, replace(CONFIG, steps=8), settings={"patch": 16, "data": "2 images"})
    with pytest.raises(CheckpointError, match="data was 2 images, now 3 images"):
        trained(tmp_path, settings={"patch": 16, "data": "3 images"})


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(bad: str, tmp_path: Path) -> None:
    model, state = Line(), tmp_path / "a.state"

    def loss(part: int) -> Tensor:
        return model(part) * (float(bad) if part == 4 else 1.0)

    with pytest.raises(
        TrainingError, match=rf"the loss is {bad} at step 5.*last good state is kept.*lower learning rate"
    ):
        fit(model, loss, CONFIG, state=state)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert torch.load(state, weights_only=True)["step"] == 4
    assert all(torch.isfinite(value).all() for value in trained(tmp_path).values()), "the state goes on"


def test_a_gradient_that_is_no_number_stops_too(tmp_path: Path) -> None:
    model = Line()
    with pytest.raises(TrainingError, match=r"gradient's norm is nan at step 1.*nothing was saved yet"):
        fit(
            model,
            lambda part: (model.slope.weight - model.slope.weight).sum().sqrt() + model(part),
            CONFIG,
            state=tmp_path / "a",
        )


def fitting(limit: int, model: Line):
    """A loss that runs out of memory beyond ``limit`` images."""

    def loss(count: int) -> Tensor:
        if count > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model.slope(torch.ones(count, 3)).sum()

    return loss


@pytest.mark.parametrize(("limit", "found"), [(5, 4), (4, 4), (1, 1), (0, 0)])
def test_what_fits_is_found_by_trying(limit: int, found: int) -> None:
    model = Line()
    assert largest_fitting(fitting(limit, model), 16, model) == found
    assert model.slope.weight.grad is None


def test_running_out_of_memory_says_which_batch_fits(tmp_path: Path) -> None:
    model = Line()
    trial = fitting(5, model)
    with pytest.raises(
        DeviceMemoryError, match=r"16 images at once do not fit.*; 4 at once did when tried.*4 times as many"
    ):
        fit(model, lambda part: trial(16), CONFIG, state=tmp_path / "a", images=16, trial=trial)
    with pytest.raises(DeviceMemoryError, match=r"8 images at once.*4 at once.*2 times"):
        fit(
            model,
            lambda part: trial(8),
            replace(CONFIG, accumulate=2),
            state=tmp_path / "a",
            images=16,
            trial=trial,
        )
    with pytest.raises(DeviceMemoryError, match="half of them, 8, is the next to try"):
        fit(model, lambda part: trial(16), CONFIG, state=tmp_path / "a", images=16)
    nothing = fitting(0, model)
    with pytest.raises(DeviceMemoryError, match="not even one does"):
        fit(model, lambda part: nothing(16), CONFIG, state=tmp_path / "a", images=16, trial=nothing)


def test_the_lowest_held_out_loss_is_kept_over_interruptions(tmp_path: Path) -> None:
    scores, kept = {1: 5.0, 2: 3.0, 3: 4.0, 4: 3.5, 5: 2.0, 6: 2.5}, []
    inspection = Inspection(1, lambda step: scores[step])
    options = {"inspections": [inspection], "on_best": lambda average, score: kept.append(score)}
    trained(tmp_path, replace(CONFIG, steps=3), **options)
    trained(tmp_path, **options)
    assert kept == [5.0, 3.0, 2.0]
    assert [line["validation"] for line in read_log(tmp_path / "a.jsonl")] == list(scores.values())


def test_inspections_see_the_average_and_disturb_nothing(tmp_path: Path) -> None:
    model, seen = Line(), []
    inspection = Inspection(2, lambda step: seen.append((model.training, model.slope.weight.clone())))
    average = fit(model, model, CONFIG, state=tmp_path / "a.state", inspections=[inspection])
    assert [training for training, _ in seen] == [False] * 3
    assert torch.equal(seen[-1][1], average["slope.weight"])
    plain = trained(tmp_path, name="b")
    assert all(torch.equal(average[name], plain[name]) for name in plain)
    with pytest.raises(ZeroDivisionError), weights_in_place(model, average):
        1 / 0
    assert model.training


def test_the_log_forgives_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for step in (1, 2, 3):
        append_log(path, {"step": step})
    with path.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [line["step"] for line in read_log(path)] == [1, 2, 3]
    trim_log(path, 2)
    assert path.read_text() == "".join(json.dumps({"step": s}) + "\n" for s in (1, 2))


def test_settings_that_cannot_be_are_refused() -> None:
    for change in ({"steps": 0}, {"lr": 0.0}, {"accumulate": 0}, {"save_every": 0}):
        with pytest.raises(ConfigError):
            FitConfig(**{"steps": 1, **change})


def test_without_a_launcher_a_training_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched_processes() is ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"wsinuc\[multi-gpu\]"):
        launched_processes()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from wsinuc.models.training.processes import launched_processes
from wsinuc.models.training.loop import FitConfig
from wsinuc.models.networks.unet import UNetConfig
from wsinuc.workflows.denoiser.run import PretrainConfig, pretrain
from wsinuc.workflows.training.run import Session
unet = UNetConfig(base=32, multipliers=(1, 1), res_blocks=1, attention_factors=(), middle_attention=False)
fit = FitConfig(steps=3, lr=1e-3, bf16=False, log_every=1, accumulate=int(sys.argv[2]))
image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
config = PretrainConfig(patch=16, batch=8, unet=unet, fit=fit, validate_every=8, validation_patches=8)
pretrain([image], Path(sys.argv[1]), config, session=Session(processes=launched_processes(cpu=True)))
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    script, root = tmp_path / "train.py", Path(__file__).parents[3]
    script.write_text(SCRIPT)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    runs = {
        "one": [],
        "two": [*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"],
    }
    for name, how in runs.items():
        command = [sys.executable, *how, str(script), str(tmp_path / f"{name}.safetensors"), "2" if how else "1"]
        subprocess.run(command, check=True, env=environment, capture_output=True, timeout=280)
    one, two = (load_checkpoint(tmp_path / f"{name}.safetensors", "denoiser") for name in runs)
    # A bias before a norm of one channel per group has no gradient but rounding, which Adam enlarges: weights only.
    for name in [name for name in one.tensors if name.endswith("weight")]:
        torch.testing.assert_close(two.tensors[name], one.tensors[name], rtol=1e-4, atol=2e-5)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([5, 700])
    with torch.no_grad():
        torch.testing.assert_close(*(load_denoiser(c)[0](x, t) for c in (one, two)), rtol=1e-4, atol=1e-5)
    losses = [[line["loss"] for line in read_log(tmp_path / f"{name}.jsonl")] for name in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[1]) == 3, "one process logs"
