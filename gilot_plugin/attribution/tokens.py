"""From fed token ids to text: which characters each token stands for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gilot_plugin.attribution.types import CONTENT_SEGMENT, SPECIAL_SEGMENT, Prompt, Segment, Token

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

#: UTF-8 spells a character with at most four bytes, so at most four byte-level tokens make one.
_MAX_PIECES = 4


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Decode ids to text, special tokens kept and spaces untouched."""
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text


def token_label(tokenizer: Any, token_id: int) -> str:
    """Readable text of a single token; pieces of a character are shown by the tokenizer's own name."""
    text = decode(tokenizer, [token_id])
    if text and _REPLACEMENT not in text:
        return text
    name = tokenizer.convert_ids_to_tokens(token_id)
    return str(name) if name else f"<token {token_id}>"


def locate_tokens(tokenizer: Any, token_ids: Sequence[int]) -> tuple[str, tuple[Token, ...]]:
    """Decode a prompt and find the characters of each of its tokens.

    Tokens are decoded in the context of the group before them, because decoders strip the space before a
    first word. A token that holds only a piece of a character waits for the rest; all pieces then share
    the whole character, so no span ever splits one.

    Args:
        tokenizer: A transformers tokenizer.
        token_ids: The fed ids.

    Returns:
        The decoded text, and one token per id whose spans lie in it, in order and without gaps.
    """
    ids = list(token_ids)
    text = ""
    tokens: list[Token] = []
    context_start = group_start = 0
    for index in range(len(ids)):
        before = decode(tokenizer, ids[context_start:group_start])
        piece = decode(tokenizer, ids[context_start : index + 1])[len(before) :]
        unfinished = piece.endswith(_REPLACEMENT) and index + 1 - group_start < _MAX_PIECES
        if unfinished and index + 1 < len(ids):
            continue
        start, end = len(text), len(text) + len(piece)
        tokens.extend(Token(ids[member], piece, start, end) for member in range(group_start, index + 1))
        text += piece
        context_start, group_start = group_start, index + 1
    return text, tuple(tokens)


def special_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that the tokenizer treats as control tokens rather than text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    flagged = {token_id for token_id, token in added.items() if getattr(token, "special", False)}
    return frozenset(flagged | set(tokenizer.all_special_ids))


def make_prompt(tokenizer: Any, token_ids: Sequence[int], segments: Sequence[Segment] = ()) -> Prompt:
    """Build the prompt from the ids that the model was fed.

    Args:
        tokenizer: A transformers tokenizer.
        token_ids: The fed ids.
        segments: Named parts of the decoded text. A token belongs to the part that holds its first
            character other than white space; text in no part is ``"content"``, control tokens ``"special"``.

    Returns:
        The prompt, with a segment name for every token.
    """
    text, tokens = locate_tokens(tokenizer, token_ids)
    special = special_token_ids(tokenizer)
    return Prompt(text, tokens, tuple(_segment_of(token, segments, special) for token in tokens))


def _segment_of(token: Token, segments: Sequence[Segment], special: Collection[int]) -> str:
    if token.id in special:
        return SPECIAL_SEGMENT
    leading_space = len(token.text) - len(token.text.lstrip())
    anchor = token.start + (leading_space if leading_space < len(token.text) else 0)
    for segment in segments:
        if segment.start <= anchor < segment.end:
            return segment.name
    return CONTENT_SEGMENT
