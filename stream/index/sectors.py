"""Sector names: ours, and those that constituents files use for them (`formats.md`, Files)."""

from __future__ import annotations

SECTORS = (
    "BASICMATERIALS",
    "COMMUNICATION",
    "DISCRETIONARY",
    "ENERGY",
    "FINANCIALS",
    "HEALTHCARE",
    "INDUSTRIALS",
    "REALESTATE",
    "STAPLES",
    "TECHNOLOGY",
    "UTILITIES",
)

#: Other names for a sector, lower case. ICB and GICS use different words for nearly the same eleven.
ALIASES = {
    "basic materials": "BASICMATERIALS",
    "materials": "BASICMATERIALS",
    "communication": "COMMUNICATION",
    "communications": "COMMUNICATION",
    "communication services": "COMMUNICATION",
    "telecommunications": "COMMUNICATION",
    "consumer discretionary": "DISCRETIONARY",
    "energy": "ENERGY",
    "financials": "FINANCIALS",
    "financial": "FINANCIALS",
    "health care": "HEALTHCARE",
    "healthcare": "HEALTHCARE",
    "industrials": "INDUSTRIALS",
    "industrial": "INDUSTRIALS",
    "real estate": "REALESTATE",
    "consumer staples": "STAPLES",
    "information technology": "TECHNOLOGY",
    "technology": "TECHNOLOGY",
    "utilities": "UTILITIES",
    "utility": "UTILITIES",
}


def sector_code(name: str) -> str | None:
    """Give our code for a sector's name, or None where it is not known.

    Examples
    --------
    >>> sector_code("Information Technology"), sector_code("ENERGY"), sector_code("Tulips")
    ('TECHNOLOGY', 'ENERGY', None)
    """
    text = name.strip()
    return text.upper() if text.upper() in SECTORS else ALIASES.get(text.lower())
