"""The contract with readers: everything that lies in a dataset, and how it is named, written and read.

Keys (`layout`), recipes (`recipe`), tables (`tables`), records (`example`, `tfrecord`), results (`results`), the manifest
(`manifest`) and the pointer to it (`latest`).
"""

__all__: list[str] = []
