"""What a version shows to people and tells other tools: page, plots, data card, Croissant."""

__all__: list[str] = []
