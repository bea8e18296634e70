"""An ablation in a process of its own, which may be killed at any moment."""

from __future__ import annotations

from multiprocessing.synchronize import Event
from pathlib import Path

from lm_eval.models.huggingface import HFLM

from gilot_plugin.harness.ablating.ablate import ablate, plan_job
from gilot_plugin.harness.ablating.beside import model_identity
from gilot_plugin.harness.ablating.jobs import Job
from gilot_plugin.settings.ablation import Ablation
from tests.harness.ablating.benches import make_bench
from tests.harness.evaluations import choices_task

#: Documents of the task.
COUNT = 2000

DATE = "2026-01-01T00-00-00.0"


def ablate_many(model_dir: Path, folder: Path, begun: Event) -> None:
    """Ablate a task of many documents with a tiny model."""
    task = choices_task(
        "many", [(f"What is {n} and {n % 7}?", [f" {n % 5}", f" dog {n % 3}"]) for n in range(COUNT)]
    )
    bench = make_bench(task, lm=HFLM(pretrained=str(model_dir), device="cpu", batch_size=16))
    ablation = Ablation(arms=("question", {"regex": "[0-9]+"}))
    job = Job(bench, ablation, "tiny", model_identity(bench.lm), DATE, folder, None)
    samples, arms = plan_job(job)
    begun.set()
    ablate(job, samples, arms)
