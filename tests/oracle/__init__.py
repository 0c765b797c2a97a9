"""Worked cases with exact values: the domain and the HTTP API are held to the same fifty."""

from oracle.case import EXACT, Case, is_close, sent
from oracle.framework_cases import FRAMEWORKS
from oracle.plain_cases import PLAIN

__all__ = ["CASES", "EXACT", "Case", "is_close", "sent"]

CASES: list[Case] = [*PLAIN, *FRAMEWORKS]
