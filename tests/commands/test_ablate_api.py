"""``gilot ablate`` for models behind an API: it needs answers, and what an API does not give is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from transformers import AutoTokenizer

from gilot_plugin.artifacts.ablations import read_ablations
from gilot_plugin.artifacts.evaluations import find_evaluation
from gilot_plugin.settings.ablation import FULL
from tests.commands.conftest import Gilot
from tests.commands.evaluating import evaluate_plainly
from tests.harness.evaluations import SUITE

pytestmark = pytest.mark.usefixtures("few_tasks")

_TASKS = ["gilot_two_shot_choices", "gilot_short_answers"]


@contextmanager
def served(tokenizer: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server like OpenAI's for completions: its address, and what it was asked.

    Tokens that were there before are likelier, and an answer is the prompt's last word.
    """
    asked: list[dict[str, Any]] = []

    def choice(index: int, prompt: list[int], given: dict[str, Any]) -> dict[str, Any]:
        if not given.get("echo"):
            return {"index": index, "text": f" {tokenizer.decode(prompt).split()[-1]}"}
        found = [-0.5 if one in prompt[:place] else -2.0 for place, one in enumerate(prompt)]
        told = [None, *found[1:], -1.0]
        return {
            "index": index,
            "text": "",
            "logprobs": {"token_logprobs": told, "top_logprobs": [{"x": one or 0.0} for one in told]},
        }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(given)
            if "messages" in given:
                said = {"content": given["messages"][-1]["content"].split()[-2:][0]}
                choices: list[dict[str, Any]] = [{"index": 0, "message": said}]
            else:
                choices = [choice(number, prompt, given) for number, prompt in enumerate(given["prompt"])]
            content = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/completions", asked
    finally:
        server.shutdown()
        server.server_close()


def test_an_evaluation_behind_an_api_is_ablated_and_not_explained(
    gilot: Gilot, model_dir: Path, tmp_path: Path
) -> None:
    with served(AutoTokenizer.from_pretrained(model_dir)) as (address, asked):
        arguments = {
            **{"model": "tiny", "base_url": address, "tokenizer": str(model_dir)},
            **{"tokenizer_backend": "huggingface", "num_concurrent": 1},
        }
        evaluate_plainly(arguments, tmp_path, _TASKS, model="local-completions", limit=4)
        before = len(asked)
        ended = gilot("ablate", tmp_path, "--include_path", SUITE, "--arms", "question,shots,choices")
        assert ended.code == 0, ended.err
        assert len(asked) > before
        past = find_evaluation(tmp_path)
        found = {one.plan.task: one for one in read_ablations(past.folder, past.date)}
        for task in _TASKS:
            assert found[task].arms[FULL].logged
            assert found[task].arms["without question"].status == "ok", found[task].arms
            scores = past.content["results"][task]
            assert {one.metric: one.value for one in found[task].arms[FULL].scores}.items() <= scores.items()
        assert found["gilot_two_shot_choices"].arms["without shots"].changed == 4
        ended = gilot("explain", tmp_path, "--include_path", SUITE)
        assert ended.code == 2
        assert "whose distributions cannot be read: give a checkpoint of it" in ended.err


def test_so_is_one_of_conversations(gilot: Gilot, model_dir: Path, tmp_path: Path) -> None:
    """Parts are whole messages or stand in one; an answer is a word of the last message."""
    with served(AutoTokenizer.from_pretrained(model_dir)) as (address, asked):
        arguments = {"model": "tiny", "base_url": address.replace("/completions", "/chat/completions")}
        evaluate_plainly(
            arguments,
            tmp_path,
            ["gilot_short_answers"],
            model="local-chat-completions",
            limit=4,
            apply_chat_template=True,
            system_instruction="Be brief.",
        )
        before = len(asked)
        ended = gilot("ablate", tmp_path, "--include_path", SUITE, "--arms", "system,question,description")
    assert ended.code == 0, ended.err
    past = find_evaluation(tmp_path)
    (found,) = read_ablations(past.folder, past.date)
    assert found.arms[FULL].logged
    assert found.arms["without system"].status == "ok"
    instructions = [given["messages"][0]["content"] for given in asked[before:]]
    assert sum("Be brief." not in one for one in instructions) == 4
    # The instruction is no part of the answer's message, so that no answer changes without it.
    for key, line in found.samples["without system"].items():
        assert line.changed
        assert line.answers == found.samples[FULL][key].answers
