"""The pool itself: pseudo images on the device, with what the teacher said of each of their views.

Images come in pieces, one for each pseudo batch, that never change: a checkpoint names them, and each is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.errors import CheckpointError
from trainables.storage.checkpoint import Piece, digest_of
from trainables.training.data_free.pools.policies import PoolPolicy

PRECISIONS = {"uint8": torch.uint8, "float16": torch.float16, "float32": None}
"""How pixels are kept, by ``pool_precision``; None: as the trial computes."""

_STEPS = 255


class Drawn(NamedTuple):
    """What a pool gives for a student step."""

    pixels: Tensor
    """(batch, channels, height, width), in [0, 1] if images have bounds."""

    views: Tensor | None
    """(batch, 3); None where a view has yet to be drawn."""

    logits: Tensor | None
    """The teacher's of these views, (batch, classes)."""

    maps: list[Tensor]
    """Its attention maps of these views, each (batch, positions)."""


@dataclass
class PoolPiece:
    """What one pseudo batch has brought."""

    name: str
    """Its number among the trial's, and a checksum, since another processor would round otherwise."""
    pixels: Tensor
    views: Tensor
    """(images, views, 3); no views where they are drawn at each student step."""
    logits: Tensor
    """(images, views, classes)."""
    maps: list[Tensor]
    """Each (images, views, positions), in half precision."""

    def become_part_of(self, whole: PoolPiece, start: int) -> None:
        """Share the memory of a row of pieces that has the same from ``start`` on."""
        here = slice(start, start + len(self.pixels))
        self.pixels, self.views, self.logits = whole.pixels[here], whole.views[here], whole.logits[here]
        if len(self.maps) == len(whole.maps):
            self.maps = [values[here] for values in whole.maps]

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it by name."""
        maps = {f"map {number}": values for number, values in enumerate(self.maps)}
        return {"pixels": self.pixels, "views": self.views, "logits": self.logits, **maps}

    def checksum(self) -> str:
        """Return sixteen hexadecimal digits that other contents do not have."""
        return digest_of({name: values.cpu() for name, values in self.tensors().items()})[:16]

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Tensor], device: torch.device) -> PoolPiece:
        """Return what ``tensors`` gave."""
        held = {key: values.to(device) for key, values in tensors.items()}
        maps = [held[f"map {number}"] for number in range(len(held) - 3)]
        return cls(name=name, pixels=held["pixels"], views=held["views"], logits=held["logits"], maps=maps)


class Pool:
    """Pseudo images of one trial, drawn with replacement, each image and each of its views with the same probability."""

    def __init__(self, policy: PoolPolicy, *, size: int, precision: str, dtype: torch.dtype, maps: int = 0) -> None:
        """Make an empty pool.

        Args:
            policy: Decides what is kept.
            size: The trial's ``pool_size``.
            precision: The trial's ``pool_precision``.
            dtype: In which images are given back.
            maps: Attention maps that student steps need of each view.
        """
        self._maps = maps
        self._policy = policy
        self._size = size
        self._kept_as = PRECISIONS[precision] or dtype
        self._dtype = dtype
        self._pieces: dict[int, PoolPiece] = {}
        self._rows = torch.empty(0, 2, dtype=torch.int64)
        """(images, 2): of each image that is held its piece and its place there."""
        self._seen = 0
        self._next_piece = 0
        self._whole: PoolPiece | None = None
        """All pieces in a row, for drawing; None: to be put together anew."""
        self._starts = torch.empty(0, dtype=torch.int64)
        """Where in that row each piece begins, by its number."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, pixels: Tensor, views: Tensor, logits: Tensor, maps: list[Tensor], stream: torch.Generator) -> None:
        """Add what a pseudo batch has brought.

        Args:
            pixels: (images, channels, height, width).
            views: (images, views, 3).
            logits: The teacher's, (images, views, classes).
            maps: Its attention maps, each (images, views, positions).
            stream: For the policy to draw from.
        """
        number, added = self._next_piece, len(pixels)
        self._next_piece += 1
        self._seen += added
        piece = PoolPiece("", self._packed(pixels), views, logits, [values.half() for values in maps])
        piece.name = f"{number:08d}-{piece.checksum()}"
        self._pieces[number] = piece
        come = torch.stack([torch.full((added,), number), torch.arange(added)], 1)
        kept = self._policy.kept(held=len(self._rows), added=added, seen=self._seen, size=self._size, stream=stream)
        self._rows = torch.cat([self._rows, come])[kept]
        held = set(self._rows[:, 0].unique().tolist())
        gone = self._pieces.keys() - held
        for forgotten in gone:
            del self._pieces[forgotten]
        self._whole = None

    def draw(self, count: int, stream: torch.Generator) -> Drawn:
        """Draw images, each in one of its views.

        Args:
            count: How many.
            stream: To draw from, on the CPU.
        """
        whole = self._together()
        rows = self._rows[torch.randint(len(self._rows), (count,), generator=stream)]
        device = whole.pixels.device
        places = (self._starts[rows[:, 0]] + rows[:, 1]).to(device)
        pixels = self._unpacked(whole.pixels[places])
        number = whole.views.shape[1]
        if not number:
            return Drawn(pixels, None, None, [])
        view = torch.randint(number, (count,), generator=stream).to(device)
        maps = [values[places, view].to(self._dtype) for values in whole.maps[: self._maps]]
        return Drawn(pixels, whole.views[places, view], whole.logits[places, view].to(self._dtype), maps)

    def state_dict(self) -> dict[str, Any]:
        """Return what is held; the pieces by their names, so that each is written once."""
        return {
            "rows": self._rows,
            "seen": self._seen,
            "next_piece": self._next_piece,
            "names": {str(number): piece.name for number, piece in sorted(self._pieces.items())},
            "pieces": {
                str(number): Piece(name=piece.name, tensors=piece.tensors())
                for number, piece in sorted(self._pieces.items())
            },
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from ``state_dict()``.

        Raises:
            CheckpointError: attention maps are needed of a pool that has none.
        """
        self._rows = state["rows"]
        self._seen = state["seen"]
        self._next_piece = state["next_piece"]
        self._pieces = {
            int(number): PoolPiece.of(
                state["names"][number], piece.tensors if isinstance(piece, Piece) else piece, device
            )
            for number, piece in state["pieces"].items()
        }
        self._whole = None
        with_answers = [piece for piece in self._pieces.values() if piece.views.shape[1]]
        if any(len(piece.maps) < self._maps for piece in with_answers):
            raise CheckpointError(
                "attention_weight is above 0 and was 0 where this pool was made, which has no attention maps; allowed: 0"
            )

    def _together(self) -> PoolPiece:
        if self._whole is None:
            numbers = sorted(self._pieces)
            pieces = [self._pieces[number] for number in numbers]
            lengths = torch.tensor([len(piece.pixels) for piece in pieces])
            self._starts = torch.zeros(self._next_piece, dtype=torch.int64)
            self._starts[numbers] = lengths.cumsum(0) - lengths
            maps = min(self._maps, *(len(piece.maps) for piece in pieces))  # none where no views are kept
            self._whole = PoolPiece(
                "",
                torch.cat([piece.pixels for piece in pieces]),
                torch.cat([piece.views for piece in pieces]),
                torch.cat([piece.logits for piece in pieces]),
                [torch.cat([piece.maps[number] for piece in pieces]) for number in range(maps)],
            )
            for piece, end in zip(pieces, lengths.cumsum(0).tolist(), strict=True):
                piece.become_part_of(self._whole, end - len(piece.pixels))
        return self._whole

    def _packed(self, pixels: Tensor) -> Tensor:
        if self._kept_as == torch.uint8:
            return (pixels.clamp(0, 1) * _STEPS).round().to(torch.uint8)
        return pixels.to(self._kept_as)

    def _unpacked(self, kept: Tensor) -> Tensor:
        pixels = kept.to(self._dtype)
        return pixels / _STEPS if self._kept_as == torch.uint8 else pixels
