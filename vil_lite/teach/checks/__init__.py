"""Checks of the book's exercises, one module a chapter: `from vil_lite.teach.checks import ch03`."""

from ._base import CheckFailed

__all__ = ["CheckFailed"]
