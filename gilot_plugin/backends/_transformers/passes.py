"""Single passes of a causal language model of the transformers library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

from gilot_plugin.backends._transformers.inputs import Inputs
from gilot_plugin.backends._transformers.lengths import Rotations
from gilot_plugin.backends._transformers.pass_size import PassSize
from gilot_plugin.backends.rows import Row


class LeftPadded:
    """Rows of different lengths as one batch whose last column holds the last token of each.

    Attributes:
        token_ids: ``[rows, longest]``; padding repeats the row's first token, which is always a valid id.
        attended: ``[rows, longest]``, 0 on padding and on tokens that are not attended to.
        positions: ``[rows, longest]``.
        next_positions: ``[rows]``, the position of the token to come.
    """

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        longest = max(len(row.token_ids) for row in rows)
        ids, attended, positions = [], [], []
        for row in rows:
            padding = longest - len(row.token_ids)
            ids.append((row.token_ids[0],) * padding + row.token_ids)
            attended.append((False,) * padding + (row.attended or (True,) * len(row.token_ids)))
            positions.append((0,) * padding + (row.positions or tuple(range(len(row.token_ids)))))
        self.token_ids = torch.tensor(ids, device=device)
        self.attended = torch.tensor(attended, dtype=torch.long, device=device)
        self.positions = torch.tensor(positions, device=device)
        self.next_positions = torch.tensor([row.next_position for row in rows], device=device)


class Passes:
    """Passes of a model, with the inputs that it takes.

    Args:
        model: The model.
        device: Where inputs go and logits come out.
        autocast_dtype: Run under autocast with this dtype.
        lock: Held during a pass if given, for models whose weights come and go.
        pass_tokens: Most tokens of a pass, where several passes do as well; as suits the device by default.

    Attributes:
        device: As given.
        pass_size: Sizes of passes.
        inputs: Optional inputs that are given to the model; at first, all that its signature names.
        rotations: What is known of rotations that change with the length of a sequence; at first, nothing.
        model_tokens: Token positions fed so far, padding excluded.
        logits_computed: Tokens whose logits were computed so far, in passes of the whole model.
        logits_wanted: Those of them whose logits were wanted.
        avoidable_tokens: How many fewer they would be if prompts were read once and continuations as trees.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        autocast_dtype: torch.dtype | None = None,
        lock: RLock | None = None,
        pass_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.pass_size = PassSize.of(device, pass_tokens)
        self.model_tokens = 0
        self.logits_computed = 0
        self.logits_wanted = 0
        self.avoidable_tokens = 0
        self.inputs = Inputs.of(innermost(model).forward)
        self.rotations = Rotations()
        self._autocast_dtype = autocast_dtype
        self._lock = lock

    @property
    def text_config(self) -> Any:
        """Configuration of the language model, which is a part of the whole in multimodal models."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest floating type that the model computes in."""
        found = {parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point()}
        if self._autocast_dtype is not None:
            found.add(self._autocast_dtype)
        # Types of one byte store weights; nothing is computed in them alone.
        return max(
            (dtype for dtype in found if dtype.itemsize > 1),
            key=lambda dtype: torch.finfo(dtype).eps,
            default=torch.float32,
        )

    def bare(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Read one sequence with no input beside its ids; float32 logits ``[tokens, vocab]``."""
        ids = torch.tensor([list(token_ids)], device=self.device)
        return self.trial(ids, **self.inputs.given(use_cache=False))[1][0]

    def trial(self, token_ids: torch.Tensor, **named: Any) -> tuple[Mapping[str, Any], torch.Tensor]:
        """Read sequences with whatever arguments.

        Args:
            token_ids: ``[rows, tokens]``.
            named: Arguments of the model, as it calls them.

        Returns:
            What the model returns, and its float32 logits, ``[rows, tokens or fewer, vocab]``.

        Raises:
            TypeError: An argument is not the model's, or is that of the ids.
        """
        self.model_tokens += token_ids.numel()
        output = self._call(dict(input_ids=token_ids, **named))
        return output, output.logits[:, -token_ids.shape[1] :].to(self.device).float()

    def forward(
        self,
        token_ids: torch.Tensor,
        attended: torch.Tensor,
        positions: torch.Tensor,
        keep: int,
        cache: Any = None,
    ) -> torch.Tensor:
        """One pass of the model.

        Args:
            token_ids: ``[rows, new]``.
            attended: ``[rows, past + new]``, 0 on padding.
            positions: ``[rows, new]``.
            keep: Number of last positions whose logits are computed.
            cache: Keys and values of the past, which grow; None for a pass without.

        Returns:
            Logits, float32, ``[rows, keep, vocab]``.
        """
        self.model_tokens += int(attended[:, -token_ids.shape[1] :].sum())
        new, every = token_ids.shape[1], attended.shape[1]
        given = self.inputs.given(
            mask=attended if self.inputs.mask_of_past or new == every else None,
            use_cache=cache is not None,
            positions=positions,
            keep=keep,
            cache=cache,
        )
        logits: torch.Tensor = self._call({"input_ids": token_ids, **given}).logits
        self.logits_computed += len(logits) * logits.shape[1]
        self.logits_wanted += len(logits) * keep
        return logits[:, -keep:].to(self.device).float()

    def whole_logits(self, rows: Sequence[Row], keep: Sequence[int]) -> list[torch.Tensor]:
        """Read each row in one piece, without keys and values of earlier passes.

        Rows of different lengths are read one after the other: a recurrent state would remember padding, and
        rotations that change with the length would be those of the longest.

        Args:
            rows: What to read.
            keep: For each row, at how many of its last tokens the logits are wanted.

        Returns:
            For each row, ``[keep, vocab]``.
        """
        by_length: dict[tuple[int, int], list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault((len(row.token_ids), row.next_position), []).append(index)
        found: dict[int, torch.Tensor] = {}
        for members in by_length.values():
            batch = LeftPadded([rows[index] for index in members], self.device)
            most = max(keep[index] for index in members)
            logits = self.forward(batch.token_ids, batch.attended, batch.positions, keep=most)
            found.update({index: logits[place, -keep[index] :] for place, index in enumerate(members)})
        return [found[index] for index in range(len(rows))]

    @contextmanager
    def calling(self, *, gradient: bool = False) -> Iterator[None]:
        """What holds while the model, or a part of it, is called."""
        with (
            torch.set_grad_enabled(gradient),
            self._autocast(),
            self._locked(),
            self.rotations.forgetful(),
        ):
            yield

    def _call(self, inputs: dict[str, Any]) -> Any:
        with self.calling():
            return self.model(**inputs, return_dict=True)

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        enabled = self._autocast_dtype is not None
        with torch.autocast(self.device.type, dtype=self._autocast_dtype, enabled=enabled):
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is None:
            yield
        else:
            with self._lock:
                yield


def innermost(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
