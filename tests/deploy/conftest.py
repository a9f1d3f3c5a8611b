"""The fixtures of these tests."""

from tests.support.kubernetes import helm

__all__ = ["helm"]
