"""The conformance suite that every plugin passes, for the tests of this project and of others.

Each check takes the name of a plugin or the path of its file, and raises AssertionError with one sentence about the first fault:

    from harness import testing

    def test_my_algorithm():
        testing.check_algorithm("my_algo.py")
"""

from harness.testing.conformance import check_algorithm, check_dataset, check_estimator
from harness.testing.models import check_model

__all__ = ["check_algorithm", "check_dataset", "check_estimator", "check_model"]
