"""From a photo's bytes to the JPEG that training reads, or the reason why there is none."""

__all__: list[str] = []
