"""Sessions that go on with some of their rows."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import DecodingSession
from gilot_plugin.backends.transformers import TransformersBackend

PROMPTS = [Row((9, 8, 7, 6, 5, 4, 3)), Row((30, 31, 32, 33, 34))]
#: Of each prompt in turn, one that leaves it in the middle and one that masks a token.
ROWS = [
    Row((9, 8, 7, 6, 50, 51)),
    Row((30, 31, 60)),
    Row((9, 8, 7, 6, 5, 4, 3), attended=(True, True, False, True, True, True, True)),
    Row((30, 31, 32, 33, 34)),
    Row((77,)),
]
OF = [0, 1, 0, 1, 1]


def begun(backend: TransformersBackend, places: Sequence[int]) -> DecodingSession:
    return backend.prefill([ROWS[place] for place in places], 8, [PROMPTS[OF[place]] for place in places])


def step(session: DecodingSession, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> torch.Tensor:
    moved = torch.tensor([list(parents)] * len(tokens))
    logits = session.advance(moved, torch.tensor([list(row) for row in tokens])).logits()
    return logits.view(len(tokens), len(parents), -1)


@pytest.mark.parametrize(
    ("family", "settings"),
    [("llama", {}), ("gemma2", {}), ("gpt2", {"trees": False}), ("gemma3_text", {"trees": False})],
)
def test_rows_that_are_kept_go_on_as_if_the_others_had_never_been(
    tiny_model: Callable[[str], Any], family: str, settings: dict[str, bool]
) -> None:
    backend = TransformersBackend(tiny_model(family), **settings)
    parents = [[0, 0], [1, 0], [1, 1], [0, 1]]
    fed = [[[10 + 20 * turn + row, 15 + 20 * turn + row] for row in range(5)] for turn in range(4)]
    session, left = begun(backend, range(5)), list(range(5))
    step(session, parents[0], fed[0])
    for turn, kept in enumerate(([4, 0, 2, 3], [3, 1], [1]), start=1):
        session.keep(torch.tensor(kept))
        left = [left[row] for row in kept]
        alone = begun(backend, left)
        assert torch.allclose(session.prompt.logits(), alone.prompt.logits(), atol=1e-4)
        for before in range(turn):
            step(alone, parents[before], [fed[before][row] for row in left])
        tokens = [fed[turn][row] for row in left]
        found, expected = (step(one, parents[turn], tokens) for one in (session, alone))
        assert torch.allclose(found, expected, atol=1e-4)


def test_a_model_that_is_read_anew_keeps_rows_too(tiny_model: Callable[[str], Any]) -> None:
    backend = TransformersBackend(tiny_model("mamba"))
    rows = [ROWS[0], ROWS[1], ROWS[4]]
    session = backend.prefill(rows, 4, [PROMPTS[0]] * 3)
    step(session, [0], [[3], [4], [5]])
    session.keep(torch.tensor([2, 0]))
    alone = backend.prefill([rows[2], rows[0]], 4, [PROMPTS[0]] * 2)
    step(alone, [0], [[5], [3]])
    assert torch.allclose(step(session, [0], [[7], [8]]), step(alone, [0], [[7], [8]]), atol=1e-5)
