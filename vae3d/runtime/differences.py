"""The differences of plain values, as a user would type them."""

from typing import Any

_NOT_SET = object()


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the differences of two plain trees, each as `key: old -> new`.

    A key that one of them lacks equals null.
    """
    olds, news = _entries(old, new), _entries(new, old)
    if olds is None or news is None:
        same = old == new or all(value in (None, _NOT_SET) for value in (old, new))
        return [] if same else [f"{path}: {as_typed(old)} -> {as_typed(new)}"]
    keys = [*olds, *(key for key in news if key not in olds)]
    return [
        line
        for key in keys
        for line in differences(
            olds.get(key, _NOT_SET), news.get(key, _NOT_SET), f"{path}.{key}".lstrip(".")
        )
    ]


def _entries(value: Any, other: Any) -> dict[Any, Any] | None:
    """Return the entries of a table or of a list of tables; None for any other value.

    A value that is not set has none, if the other one has entries.
    """
    if value is _NOT_SET and other is not _NOT_SET and (other == {} or other == []):
        return None
    if value is _NOT_SET and other is not _NOT_SET:
        return {} if _entries(other, None) is not None else None
    if isinstance(value, list):
        return dict(enumerate(value)) if _is_table_list(value) or _is_table_list(other) else None
    return value if isinstance(value, dict) else None


def as_typed(value: Any) -> str:
    """Return a plain value as it is typed on the command line: true, null, [1,2]."""
    if value is _NOT_SET:
        return "not set"
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
