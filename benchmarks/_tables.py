"""Tables as README has them."""

from collections.abc import Iterable


def number(value: float) -> str:
    """With three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(header: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> list[str]:
    rule = ("---", *("---:" for _ in header[1:]))
    return [f"| {' | '.join(row)} |" for row in (header, rule, *body)]
