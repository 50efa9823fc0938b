"""Decode image files to pixels of 8 bits, and convert images to another number of channels or another size."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from trainables.config.datasets import ImageSize
from trainables.errors import DataUnavailableError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's mode of an image, by number of channels."""

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""File formats that are decoded. Pillow recognises formats by content and would decode more, one of them by Ghostscript."""

_CHANNELS = {mode: channels for channels, mode in MODES.items()}


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Decoded image in one of ``MODES``."""

    image: Image.Image
    has_alpha: bool
    """Whether the file has an alpha channel. ``image`` has the channel only if some pixel is not opaque."""

    from_16_bits: bool = False

    @property
    def channels(self) -> int:
        """Number of channels of ``image``."""
        return _CHANNELS[self.image.mode]


def decode(content: bytes | npt.NDArray[np.uint8], where: str) -> Decoded:
    """Decode an image file, or take pixels as they are.

    Args:
        content: Content of a file, or pixels (height, width) or (height, width, 1 to 4 channels).
        where: Name of the image in messages.

    Raises:
        DataUnavailableError: the content is no image or a damaged one, or its pixels do not have 8 or 16 bits.
    """
    if isinstance(content, np.ndarray):
        pixels = content[..., 0] if content.ndim == 3 and content.shape[2] == 1 else content
        if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] <= 4):
            raise DataUnavailableError(
                f"{where}: the image is a list of shape {content.shape}; expected are rows of pixels, (height, width) or "
                "(height, width, channels)"
            )
        return _without_empty_alpha(Image.fromarray(pixels))
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        image.load()
    except UnidentifiedImageError as error:
        raise DataUnavailableError(
            f"{where}: {len(content)} bytes that are neither PNG nor JPEG nor another image of {', '.join(_FORMATS[2:])}"
        ) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # damaged files cause any of these
        raise DataUnavailableError(f"{where}: the image is damaged: {error}") from error
    if image.mode == "F":
        raise DataUnavailableError(f"{where}: the image has pixels of floating point; expected are 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataUnavailableError(f"{where}: the image has pixels of 32 bits; expected are 8 or 16 bits")
        if image.mode == "I" and image.format == "TIFF" and 0 < values.max() <= 255:
            raise DataUnavailableError(
                f"{where}: the image has 32 bits for each pixel and no value above 255, which as 16 bits would be black; "
                "save it with 8 bits"
            )
        eight = ((values + 128) // 257).astype(np.uint8)
        return Decoded(image=Image.fromarray(eight), has_alpha=False, from_16_bits=True)
    return _without_empty_alpha(image)


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to a number of channels: colours to grey by Pillow's luma weights; alpha is dropped or added."""
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def resized(image: Image.Image, size: ImageSize) -> Image.Image:
    """Resize an image channel by channel, bilinearly with antialiasing; Pillow's result is the same on every machine."""
    height, width = size
    if image.size == (width, height):
        return image
    layers = [layer.resize((width, height), Image.Resampling.BILINEAR) for layer in image.split()]
    return layers[0] if len(layers) == 1 else Image.merge(image.mode, layers)


def _without_empty_alpha(image: Image.Image) -> Decoded:
    has_alpha = image.has_transparency_data
    if image.mode in {"L", "LA", "1", "La"}:
        plain = image.convert("LA" if has_alpha else "L")
    else:
        plain = image.convert("RGBA" if has_alpha else "RGB")
    if has_alpha and plain.getchannel("A").getextrema() == (255, 255):
        plain = plain.convert("L" if plain.mode == "LA" else "RGB")
    return Decoded(image=plain, has_alpha=has_alpha)
