"""Texts that tokenizers cut in odd places."""

from __future__ import annotations

from hypothesis import strategies as st

MIXED = (
    "Is it 'naïve'? 你好，世界！ مرحبا بالعالم 👩‍👩‍👧 "  # noqa: RUF001  # a comma of the script
    "e\u0301a\u0308 🇫🇷\n\n\ttail  "
)

#: Letters of many scripts, emoji, flags, a joiner, combining marks, white space, the replacement character.
_PICKED = "abc XY.,!?'\"\n\t。！你好世界مرحباéñ👩👧🇫🇷😀\u200d\u0301\u0308\ufe0f\ufffd"

ANY_TEXT = st.text(
    alphabet=st.one_of(st.sampled_from(_PICKED), st.characters(exclude_categories=["Cs"])), max_size=30
)
