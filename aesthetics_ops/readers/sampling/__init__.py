"""Which records make which batch, computed from a few numbers; and which made a past one."""

__all__: list[str] = []
