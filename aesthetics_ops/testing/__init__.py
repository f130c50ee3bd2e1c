"""What tests need that work with stores and datasets: this project's own, and those of who builds upon it.

In: a store.  Out: the tests that it must pass (`store_contract.py`), the same store counted or failing (`stores.py`), a
network before it that misbehaves (`fault_proxy.py`), a server that is not quite S3 (`odd_s3.py`), what servers of tests share
(`loopback.py`), and in it a small dataset (`datasets.py`, or of a manifest alone `manifests.py`).
Import the module you need; nothing is imported here.  Only `store_contract.py` needs pytest.
"""

__all__: list[str] = []
