"""What an image must pass before memory is taken for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["SizeGate"]


@dataclass(frozen=True, slots=True)
class SizeGate:
    """What an image must pass before anything is allocated for it.

    Attributes:
        max_pixels: most it may declare.
        take_room: called with the number of pixels once they are allowed; may wait until there is memory for them.
    """

    max_pixels: int
    take_room: Callable[[int], None] = field(default=lambda pixels: None)

    def admit(self, height_px: int, width_px: int) -> None:
        """Let an image in that declares this size.

        Raises:
            Refusal: `corrupt` without pixels, `too_large` over the limit.
        """
        if height_px < 1 or width_px < 1:
            raise Refusal(RejectReason.CORRUPT, f"declares {width_px} x {height_px} px")
        pixels = width_px * height_px
        if pixels > self.max_pixels:
            raise Refusal(
                RejectReason.TOO_LARGE,
                f"declares {width_px} x {height_px} = {pixels:,} px, over max_pixels {self.max_pixels:,}",
            )
        self.take_room(pixels)
