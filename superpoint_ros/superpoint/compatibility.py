"""Whose behaviour is reproduced where it differs from what is right."""

from __future__ import annotations

from typing import Literal, TypeAlias

Compatibility: TypeAlias = Literal["transformers"] | None
