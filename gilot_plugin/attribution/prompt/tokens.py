"""From fed token ids to text: which characters each token stands for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
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
    """Decode a prompt and find the characters of each of its tokens, see :func:`locate`."""
    return locate(partial(decode, tokenizer), token_ids)


def locate(
    decoded: Callable[[Sequence[int]], str], token_ids: Sequence[int]
) -> tuple[str, tuple[Token, ...]]:
    """Decode ids and find the characters of each of them.

    A token that holds only a piece of a character waits for the rest; all pieces then share the whole
    character, so no span ever splits one.

    Args:
        decoded: Text of ids.
        token_ids: The ids.

    Returns:
        The decoded text, and one token per id whose spans lie in it, in order and without gaps.
    """
    ids = list(token_ids)
    text = decoded(ids)
    spans: list[tuple[int, int]] = []
    context_start = reached = 0
    for index in range(len(ids)):
        end = _characters_up_to(decoded, ids[: index + 1], context_start, len(spans), text, reached)
        if index + 1 == len(ids):
            end = len(text)
        if end is None:
            continue
        if end == reached and text[:reached].endswith(_REPLACEMENT):
            # More bytes of what is no character, or of the replacement character itself.
            spans.extend(spans[-1:] * (index + 1 - len(spans)))
        else:
            context_start = len(spans)
            spans.extend([(reached, end)] * (index + 1 - len(spans)))
            reached = end
    tokens = (
        Token(token_id, text[start:end], start, end)
        for token_id, (start, end) in zip(ids, spans, strict=True)
    )
    return text, tuple(tokens)


def _characters_up_to(
    decoded: Callable[[Sequence[int]], str],
    ids: Sequence[int],
    context_start: int,
    group_start: int,
    text: str,
    reached: int,
) -> int | None:
    """How much of the text the ids stand for; None if they end within a character.

    Tokens are decoded after the group before them, because decoders strip the space before a first word.
    Where that is not like the whole text (bytes that are no characters), everything up to them is decoded.
    """
    context = decoded(ids[context_start:group_start])
    extended = decoded(ids[context_start:])
    if extended.startswith(context) and len(ids) - group_start <= _MAX_PIECES:
        piece = extended[len(context) :]
        return reached + len(piece) if text.startswith(piece, reached) else None
    prefix = decoded(ids)
    return len(prefix) if len(prefix) >= reached and text.startswith(prefix) else None


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
        segments: Named parts of the decoded text. A token belongs to the part that holds most of its
            characters, the later one of two that hold as many; white space counts only in tokens of nothing
            else. Text in no part is ``"content"``, control tokens are ``"special"``.

    Returns:
        The prompt, with a segment name for every token.
    """
    text, tokens = locate_tokens(tokenizer, token_ids)
    special = special_token_ids(tokenizer)
    return Prompt(text, tokens, tuple(_segment_of(token, segments, special) for token in tokens))


def _segment_of(token: Token, segments: Sequence[Segment], special: Collection[int]) -> str:
    if token.id in special:
        return SPECIAL_SEGMENT
    characters = range(token.start, max(token.end, token.start + 1))
    visible = [place for place, text in zip(characters, token.text, strict=False) if not text.isspace()]
    touched = [part for part in segments if part.start <= characters[-1] and token.start < part.end]
    names = [
        next((part.name for part in touched if part.start <= place < part.end), CONTENT_SEGMENT)
        for place in visible or characters
    ]
    return max(reversed(names), key=names.count)


def continuation_ids(tokenizer: Any, prompt: Prompt, text: str) -> list[int]:
    """Tokens of a text that follows the prompt.

    Prompt and text are tokenised together where that gives the prompt's own tokens back, so that the first
    word of the text is split as a word within a text is; else the text by itself.
    """
    ids = list(prompt.token_ids)
    joint = tokenizer(prompt.text + text, add_special_tokens=False)["input_ids"]
    if joint[: len(ids)] == ids:
        return list(joint[len(ids) :])
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
