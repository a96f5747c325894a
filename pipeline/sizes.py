"""How sizes are told to people."""


def told_bytes(count: int | None) -> str:
    """Return about how many bytes there will be."""
    if count is None:
        return "of a size that is known once a shard is made"
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"about {size:.3g} {unit}"
        size /= 1000
    return f"about {size:.3g} TB"
