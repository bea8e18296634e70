"""The scorer ``gilot_plugin/attribution``, which inspect_ai finds by the entry point ``inspect_ai``.

``inspect score LOG --scorer gilot_plugin/attribution --action append``
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio.to_thread
from inspect_ai.log import transcript
from inspect_ai.model import Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState

from gilot_plugin.api import attribute
from gilot_plugin.artifacts.records import SampleIdentity, attributed_record
from gilot_plugin.artifacts.typed import DEFAULT_METHOD
from gilot_plugin.attribution.prompt.tokens import decode
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.errors import GilotError, UnsupportedModelError
from gilot_plugin.inspecting.fed import Call, last_call, named_parts, prompt_ids
from gilot_plugin.inspecting.telling import explanation, part_shares, unit_shares
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.sources import read_yaml

_LOGGER = logging.getLogger(__name__)

#: Why a sample has no attribution, as a reason that programs read.
UNEXPLAINED = "gilot_not_explained"


@scorer(metrics=[mean()])
def attribution(config: str | None = None, **settings: Any) -> Scorer:
    """Attributions of a sample's answer, in the score's metadata.

    The value is the share of the scores on the unit that matters most, which is the score's ``answer``; its
    ``explanation`` is for readers; ``metadata`` has the shares of the prompt's parts (``parts``) and, as
    ``gilot``, all that a record of this package has.

    Args:
        config: A YAML file of settings.
        settings: Settings, as ``-S max_new_tokens=10``; they win over the file.

    Raises:
        ConfigError: A setting is wrong.
    """
    of_file = {} if config is None else read_yaml(Path(config))
    made = GilotConfig(**{**of_file, **settings})
    one_at_a_time = anyio.CapacityLimiter(1)

    async def score(state: TaskState, target: Target) -> Score:
        model = get_model()
        try:
            call = last_call(state, transcript().events)
            found = await anyio.to_thread.run_sync(_explain, model, call, made, limiter=one_at_a_time)
        except GilotError as error:
            _LOGGER.warning("sample %s is not explained: %s", state.sample_id, error)
            return Score.unscored(reason=UNEXPLAINED, explanation=f"Not explained: {error}")
        return _told(found, state, str(model), made)

    return score


def _explain(model: Model, call: Call, config: GilotConfig) -> Attribution:
    api: Any = model.api
    if not all(hasattr(api, name) for name in ("hf_chat", "tokenizer", "model", "tokenizer_call_args")):
        raise UnsupportedModelError(
            f"{model} gives no access to its distributions: attributions need inspect_ai's `hf` provider "
            "(`inspect score --model hf/NAME` names it for a log of another)"
        )
    ids = prompt_ids(api, call)
    parts = named_parts(api, call, decode(api.tokenizer, ids))
    return attribute(api.model, api.tokenizer, ids, config, segments=parts, response=call.answer)


def _told(found: Attribution, state: TaskState, model: str, config: GilotConfig) -> Score:
    method = DEFAULT_METHOD if DEFAULT_METHOD in found.scores else next(iter(found.scores))
    shares = unit_shares(found, method)
    top = max(range(len(shares)), key=lambda number: shares[number])
    identity = SampleIdentity(str(state.model), 0, "", "", "", "generate_until")
    record = attributed_record(
        identity, found, target={"response": state.output.completion}, config_hash=config.hash, model=model
    )
    return Score(
        value=shares[top],
        answer=found.units[top].text.strip(),
        explanation=explanation(found, method, model),
        metadata={"method": method, "parts": dict(part_shares(found, method)), "gilot": record},
    )
