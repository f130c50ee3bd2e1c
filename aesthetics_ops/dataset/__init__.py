"""The contract with readers: everything that lies in a dataset, and how it is named, written and read.

Keys (`layout`), recipes (`recipe`), tables (`tables`), records (`example`, `tfrecord`), results (`results`), the manifest
(`manifest`), the pointers to it (`latest`, `pointers`) with their moves (`moves`), and versions that a gate refused (`candidates`).
"""

__all__: list[str] = []
