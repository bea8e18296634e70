"""What goes on inside a model of transformers: gradients of its embeddings, and its attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from gilot_plugin.backends.closeness import Closeness, describe
from gilot_plugin.backends.modes import eager_attention, undisturbed
from gilot_plugin.backends.passes import Passes


def embedded_logits(passes: Passes, embeddings: torch.Tensor, keep: int) -> torch.Tensor:
    """Read input embeddings in place of tokens.

    Args:
        passes: Passes of the model, with the inputs that it takes.
        embeddings: ``[rows, tokens, dim]``, as the model's embedding module gives them. May carry a gradient.
        keep: Number of last positions whose logits are computed.

    Returns:
        Logits, float32, ``[rows, keep, vocab]``, with the gradient where embeddings carry one.
    """
    rows, tokens, _ = embeddings.shape
    passes.model_tokens += rows * tokens
    given = passes.inputs.given(use_cache=False, keep=keep)
    dtype = passes.model.get_input_embeddings().weight.dtype
    # Round-off of a path through the embeddings would be larger in half precision.
    own = embeddings.to(dtype) if dtype.is_floating_point and dtype.itemsize > 1 else embeddings
    with passes.calling(gradient=embeddings.requires_grad):
        logits: torch.Tensor = passes.model(inputs_embeds=own, **given, return_dict=True).logits[:, -keep:]
    return logits.to(passes.device).float()


def attention_maps(passes: Passes, token_ids: Sequence[int]) -> torch.Tensor:
    """Attention of each token of a sequence to those up to it, averaged over heads.

    Args:
        passes: Passes of the model, with the inputs that it takes.
        token_ids: The sequence.

    Returns:
        ``[layers, tokens, tokens]``, float32.

    Raises:
        ValueError: Some layer returns none.
    """
    given = passes.inputs.given(use_cache=False, keep=1)
    ids = torch.tensor([list(token_ids)], device=passes.device)
    passes.model_tokens += len(token_ids)
    with passes.calling(), eager_attention(passes.model):
        found = passes.model(input_ids=ids, output_attentions=True, **given, return_dict=True)
    # A whole sequence is what they are of, also where something is put before it.
    shape = (1, len(token_ids), len(token_ids))
    maps = [layer for layer in getattr(found, "attentions", None) or () if isinstance(layer, torch.Tensor)]
    layers = passes.text_config.num_hidden_layers
    if len(maps) < layers or any((layer.shape[0], *layer.shape[2:]) != shape for layer in maps):
        raise ValueError(f"{len(maps)} of its {layers} layers return their attention to the tokens")
    return torch.stack([layer[0].float().mean(dim=0).to(passes.device) for layer in maps])


def probe_embeddings(
    passes: Passes, embed: Callable[[torch.Tensor], torch.Tensor], vocab_size: int
) -> str | None:
    """Find out whether the model reads embeddings as it reads their tokens, and what follows has a gradient.

    Args:
        passes: Passes of the model, with the inputs that it takes.
        embed: Embeddings of token ids.
        vocab_size: Number of ids that may be fed.

    Returns:
        Why not, in words; None if it does.

    Raises:
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    ids = _sample(vocab_size)
    with undisturbed(passes.model), torch.inference_mode(False):
        try:
            embeddings = embed(torch.tensor(ids)).unsqueeze(0).requires_grad_()
            logits = embedded_logits(passes, embeddings, len(ids))
            expected = passes.bare(ids)
            (gradient,) = torch.autograd.grad(logits[0, -1].log_softmax(dim=-1).max(), embeddings)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"it cannot be differentiated by its input embeddings ({describe(error)})"
    if not Closeness(passes.dtype)(logits[0].detach(), expected):
        return "it reads input embeddings otherwise than their tokens"
    if not bool(gradient.isfinite().all()):
        return "the gradient by its input embeddings is not finite"
    return None


def probe_attentions(passes: Passes, vocab_size: int) -> str | None:
    """Find out whether every layer of the model returns its attention.

    Returns:
        Why not, in words; None if it does.

    Raises:
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    with undisturbed(passes.model):
        try:
            maps = attention_maps(passes, _sample(vocab_size))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"its attention cannot be read ({describe(error)})"
    if not bool(maps.isfinite().all()) or bool(maps.triu(diagonal=1).any()):
        return "what it returns as attention is not that of tokens to those before them"
    return None


def _sample(vocab_size: int) -> list[int]:
    """A few ids, away from the special ones at the ends of the vocabulary."""
    return [(2 * index + 1) * vocab_size // 10 for index in range(5)]
