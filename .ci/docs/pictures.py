"""Draw the pictures of README and documentation again: ``make pictures``.

They come of the demo's report and of the demo's model, so what they show was measured.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import sync_playwright
from transformers import AutoModelForCausalLM, AutoTokenizer

from gilot_plugin import attribute

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
MODEL, GGUF = ROOT / "output/models/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"
#: The sample that is shown, and the word that is pointed at.
SAMPLE, POINTED_AT = "gilot_short_answers", "opposite"
PROMPT, WORD = "The opposite of hot is", " hot"

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SHOWN = 8
_COLOURS = 64


def draw_report(report: Path, target: Path) -> None:
    """A sample of the demo's report, as a browser shows it."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        sys.exit("no Chromium was found: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1180, "height": 640})
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.locator(f'a[href*="#"]:has-text("{SAMPLE}")').first.click()
        page.get_by_text(POINTED_AT, exact=True).first.hover()
        page.screenshot(path=target)
        browser.close()
    # Few colours: the file is a tenth.
    Image.open(target).convert("RGB").quantize(_COLOURS).save(target, optimize=True)


def draw_method(target: Path) -> None:
    """Two outcome distributions, with and without a word, and what moves between them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(MODEL, gguf_file=GGUF, dtype=torch.float32).eval()
    full, reduced = (_next(model, tokenizer, text) for text in (PROMPT, PROMPT.replace(WORD, "")))
    found = attribute(model, tokenizer, PROMPT, {"max_new_tokens": 1})
    number = [unit.text for unit in found.units].index(WORD)
    flow, score = found.flows[number][0], found.scores["ot"][number]
    order = torch.maximum(full, reduced).topk(_SHOWN).indices.tolist()
    mpl.rcParams["svg.hashsalt"] = "gilot"
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    sides = ((PROMPT, full, "#3b5ba9"), (PROMPT.replace(WORD, ""), reduced, "#c05a17"))
    for axis, (text, values, colour) in zip(axes, sides, strict=True):
        axis.barh([repr(tokenizer.decode([token])) for token in order], values[order], color=colour)
        axis.set_title(f"after “{text}”", fontsize=10)
        axis.set_xlabel("probability of the next token", fontsize=9)
        axis.set_xlim(0, float(torch.maximum(full, reduced).max()) * 1.15)
        axis.tick_params(labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(
        f"Without {WORD!r}: ot = {score:.2f}; the largest flow is {flow.mass:.2f} "
        f"from {flow.from_token!r} to {flow.to_token!r}",
        fontsize=10,
    )
    figure.savefig(target, dpi=110, metadata={"Software": None})


def _next(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1]
    return logits.float().softmax(-1)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    reports = sorted((ROOT / "output/demo").rglob("report_*.html"))
    if not reports:
        sys.exit("the demo has written no report: make demo")
    draw_report(reports[-1], IMAGES / "report.png")
    draw_method(IMAGES / "method.png")
