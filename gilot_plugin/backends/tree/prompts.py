"""Reading the prompt that many rows begin like."""

from __future__ import annotations

from gilot_plugin.backends.protocol import Batch, Row
from gilot_plugin.backends.tree.reader import TreeReader
from gilot_plugin.backends.tree.session import TreeSession
from gilot_plugin.backends.tree.shared import NOTHING, ReadPrompt


def read_prompt(reader: TreeReader, row: Row) -> ReadPrompt:
    """Read a prompt up to its last token and keep the keys and values."""
    read = len(row.token_ids) - 1
    if read == 0:
        return ReadPrompt(row, {})
    session = TreeSession(reader, Batch([row.start(read)], [NOTHING]), room=0)
    session.read()
    return ReadPrompt(row, session.keys_and_values.layers_of_row(0))
