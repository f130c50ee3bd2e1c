"""What can be done to a photo on its way into the dataset: the closed list."""

from enum import StrEnum

__all__ = ["Transform"]


class Transform(StrEnum):
    """What was done to a photo on its way into the dataset; counted in the manifest, noted per record."""

    METADATA_DROPPED = (
        "metadata_dropped"  # EXIF with its GPS, XMP, comments, thumbnails; the coded data is the source's
    )
    HEADER_REPAIRED = "header_repaired"  # fields of a JPEG's header that decoders ignore, of which readers would warn
    MADE_BASELINE = "made_baseline"  # a kept JPEG's coefficients coded anew: baseline in one scan, without loss
    TRAILING_DROPPED = "trailing_dropped"  # bytes after a JPEG's end marker
    FIRST_FRAME = "first_frame"  # the source holds more images: animation, pages, MPO, gain map
    REENCODED = "reencoded"  # the stored JPEG was encoded here
    ORIENTED = "oriented"  # turned or mirrored as the source asks
    RESIZED = "resized"  # scaled down to `max_side_px`
    ICC_TO_SRGB = "icc_to_srgb"  # colours converted from the embedded profile
    ICC_IGNORED = "icc_ignored"  # the profile is broken or for another kind of image; colours taken as sRGB
    CMYK_TO_RGB = "cmyk_to_rgb"
    PALETTE_TO_RGB = "palette_to_rgb"
    ALPHA_OVER_WHITE = "alpha_over_white"  # something was transparent
    DEPTH_TO_8BIT = "depth_to_8bit"  # from 9 to 16 bits per sample
