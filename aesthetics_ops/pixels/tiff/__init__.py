"""TIFF, whose samples are stored in more ways than any library reads: directories, strips and tiles, samples, colours."""

__all__: list[str] = []
