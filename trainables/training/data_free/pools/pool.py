"""Pool of pseudo images on the device, with the teacher's outputs on each view of the images.

The images of one pseudo batch form a piece, which never changes: a checkpoint names its pieces, and each piece is written
to storage once.
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
"""Type in which pixels are kept, by ``pool_precision``. None means the type of the trial's weights and images."""

_STEPS = 255


class Drawn(NamedTuple):
    """Images for a student step, drawn from a pool."""

    pixels: Tensor
    """(batch, channels, height, width), in [0, 1] unless a generator without bounds made the images."""

    views: Tensor | None
    """View of each image, (batch, 3). None if the pool keeps no views, so that the student step must draw them."""

    logits: Tensor | None
    """The teacher's logits on these views, (batch, classes). None if the pool keeps no views."""

    maps: list[Tensor]
    """The teacher's attention maps of these views, each (batch, positions)."""


@dataclass
class PoolPiece:
    """Images that one pseudo batch has added to a pool, with the teacher's outputs on their views."""

    name: str
    """Number of the piece in the trial, and a checksum, since a retry on another processor may round otherwise."""
    pixels: Tensor
    views: Tensor
    """(images, views, 3), with 0 views if a view is drawn at each student step."""
    logits: Tensor
    """The teacher's logits, (images, views, classes)."""
    maps: list[Tensor]
    """The teacher's attention maps, each (images, views, positions), in half precision."""

    def become_part_of(self, whole: PoolPiece, start: int) -> None:
        """Replace the tensors by views of the joined pieces, whose rows from ``start`` on are equal, to share memory."""
        here = slice(start, start + len(self.pixels))
        self.pixels, self.views, self.logits = whole.pixels[here], whole.views[here], whole.logits[here]
        if len(self.maps) == len(whole.maps):
            self.maps = [values[here] for values in whole.maps]

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the piece by name."""
        maps = {f"map {number}": values for number, values in enumerate(self.maps)}
        return {"pixels": self.pixels, "views": self.views, "logits": self.logits, **maps}

    def checksum(self) -> str:
        """Return the first sixteen hexadecimal digits of the SHA-256 of the piece's tensors."""
        return digest_of({name: values.cpu() for name, values in self.tensors().items()})[:16]

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Tensor], device: torch.device) -> PoolPiece:
        """Return a piece made of what ``tensors`` returned."""
        held = {key: values.to(device) for key, values in tensors.items()}
        maps = [held[f"map {number}"] for number in range(len(held) - 3)]
        return cls(name=name, pixels=held["pixels"], views=held["views"], logits=held["logits"], maps=maps)


class Pool:
    """Pseudo images of one trial, drawn with replacement, all images and all views of an image with equal probability."""

    def __init__(self, policy: PoolPolicy, *, size: int, precision: str, dtype: torch.dtype, maps: int = 0) -> None:
        """Make an empty pool.

        Args:
            policy: Policy that decides which images are kept.
            size: The trial's ``pool_size``.
            precision: The trial's ``pool_precision``.
            dtype: Type of the drawn images, logits and maps.
            maps: Number of attention maps that student steps need for each view.
        """
        self._maps = maps
        self._policy = policy
        self._size = size
        self._kept_as = PRECISIONS[precision] or dtype
        self._dtype = dtype
        self._pieces: dict[int, PoolPiece] = {}
        self._rows = torch.empty(0, 2, dtype=torch.int64)
        """Piece number of each image in the pool, and the image's index in that piece, (images, 2)."""
        self._seen = 0
        self._next_piece = 0
        self._whole: PoolPiece | None = None
        """All pieces joined into one, for drawing. None if images were added or loaded since."""
        self._starts = torch.empty(0, dtype=torch.int64)
        """Index in ``_whole`` at which each piece begins, by piece number."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, pixels: Tensor, views: Tensor, logits: Tensor, maps: list[Tensor], stream: torch.Generator) -> None:
        """Add the images of a pseudo batch.

        Args:
            pixels: (images, channels, height, width).
            views: (images, views, 3).
            logits: The teacher's logits, (images, views, classes).
            maps: The teacher's attention maps, each (images, views, positions).
            stream: Random stream for the policy, on the CPU.
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
            count: Number of images to draw.
            stream: Random stream to draw from, on the CPU.
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
        """Return the pool's contents, the pieces as ``Piece`` with a name, so that each is written once."""
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
        """Restore the state that ``state_dict`` returned.

        Raises:
            CheckpointError: attention maps are needed, and the saved pool has none.
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
                "attention_weight is above 0, but the pool was made with attention_weight=0 and has no attention maps; "
                "allowed: 0"
            )

    def _together(self) -> PoolPiece:
        if self._whole is None:
            numbers = sorted(self._pieces)
            pieces = [self._pieces[number] for number in numbers]
            lengths = torch.tensor([len(piece.pixels) for piece in pieces])
            self._starts = torch.zeros(self._next_piece, dtype=torch.int64)
            self._starts[numbers] = lengths.cumsum(0) - lengths
            maps = min(self._maps, *(len(piece.maps) for piece in pieces))  # 0 if no views are kept
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
