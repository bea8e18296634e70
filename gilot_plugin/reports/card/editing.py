"""One section of a file, between markers; the rest stays byte for byte."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from gilot_plugin.errors import ArtifactError

BEGIN = b"<!-- gilot:begin -->"
END = b"<!-- gilot:end -->"

#: Written into new cards only: the header of a card that is there is its author's.
_TAGS = ["lm-evaluation-harness", "gilot"]


def new_card(title: str) -> bytes:
    """A card with a valid header and a title."""
    data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", tags=_TAGS)
    return f"---\n{data.to_yaml()}\n---\n\n# {title}\n".encode()


def read_card(path: Path) -> bytes | None:
    """The card; None where there is no such file.

    Raises:
        ArtifactError: It cannot be read, or its header is broken, or its markers are.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read as a model card: {error}") from error
    try:
        # Whoever has no header yet keeps none: it says what only the author knows, such as the licence.
        if text.startswith("---"):
            ModelCard(text)
    except Exception as error:  # whatever YAML and the checks of the fields raise
        raise ArtifactError(
            f"{path}: the YAML header is not valid: {' '.join(str(error).split())}"
        ) from error
    _check_markers(path, content)
    return content


def with_section(card: bytes, section: str) -> bytes:
    r"""The card with a new section: in place of the old one, else at the end.

    Args:
        card: See :func:`read_card`.
        section: Markdown, with ``\n`` at the ends of lines, which become those of the card.
    """
    line_end = b"\r\n" if b"\r\n" in card else b"\n"
    body = section.strip("\n").encode().replace(b"\n", line_end)
    block = line_end.join((BEGIN, body, END))
    if BEGIN in card:
        return card[: card.index(BEGIN)] + block + card[card.index(END) + len(END) :]
    gap = line_end * (1 if card.endswith(line_end) else 2) if card else b""
    return card + gap + block + line_end


def _check_markers(path: Path, card: bytes) -> None:
    begins, ends = card.count(BEGIN), card.count(END)
    ordered = begins == 0 or card.find(BEGIN) < card.find(END)
    if (begins, ends) not in ((0, 0), (1, 1)) or not ordered:
        raise ArtifactError(
            f"{path}: the section's markers are broken: {begins} of {BEGIN.decode()!r} and {ends} of "
            f"{END.decode()!r}; leave one of each, in this order, or none"
        )
