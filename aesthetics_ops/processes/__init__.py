"""A build in several processes of one machine; each is started anew and never forked, since clients of stores hold threads."""

__all__: list[str] = []
