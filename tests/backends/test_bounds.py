"""Look-ups that devices would not survive."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.backends.bounds import InBounds
from gilot_plugin.backends.tree.masks import MaskRule
from gilot_plugin.errors import UnsupportedModelError

TABLE = torch.arange(12.0).view(3, 4)


@pytest.mark.parametrize("places", [[0, 2, 1], [], [-3, 2]])
def test_what_is_there_is_found(places):
    index = torch.tensor(places, dtype=torch.long)
    with InBounds():
        assert torch.equal(TABLE[index], TABLE.index_select(0, index % 3))
        assert torch.equal(TABLE[:, 1], torch.tensor([1.0, 5.0, 9.0]))


@pytest.mark.parametrize(
    "look_up",
    [
        lambda: torch.nn.functional.embedding(torch.tensor([0, 3]), TABLE),
        lambda: TABLE[torch.tensor([0, 3])],
        lambda: TABLE[torch.tensor([0, -4])],
        lambda: TABLE[torch.tensor([2]), torch.tensor([4])],
    ],
)
def test_what_is_not_there_is_refused_before_it_is_looked_up(look_up):
    with InBounds(), pytest.raises(IndexError, match="looked up that is not there"):
        look_up()


@pytest.mark.parametrize("by_element", [True, False])
def test_masks_that_know_fewer_places_than_a_tree_has(by_element):
    blocks = torch.zeros(1, 4, dtype=torch.long)
    rule = MaskRule(lambda row, head, query, key: blocks[row, query] == blocks[row, key], by_element)
    row, keys = torch.zeros(1, dtype=torch.long), torch.arange(3)[None]
    assert rule.allows(row, torch.tensor([[3]]), keys).tolist() == [[[True] * 3]]
    with pytest.raises(UnsupportedModelError, match="its masks depend on more than places"):
        rule.allows(row, torch.tensor([[4]]), keys)
