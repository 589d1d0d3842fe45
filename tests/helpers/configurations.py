"""Configurations for tests of the settings."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


def smallest(**changes: object) -> dict[str, object]:
    """The fewest keys that make a run."""
    return {
        "base_model": {"path": "owner/model"},
        "corpus": {"sources": [{"name": "web", "paths": ["pages.warc.gz"]}]},
        "seed": {"path": "seed.jsonl"},
        "held_out": {"size": 10},
    } | changes


def leaves(tree: dict[str, object], prefix: str = "") -> list[str]:
    """Dotted names of all values of nested dictionaries."""
    names: list[str] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        names += leaves(value, f"{name}.") if isinstance(value, dict) else [name]
    return names
