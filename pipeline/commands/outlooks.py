"""How --dry-run tells sizes."""


def told_bytes(count: int | None) -> str:
    """Return about how many bytes would be written, for people."""
    if count is None:
        return "of a size that is known once a shard is made"
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"about {size:.3g} {unit}"
        size /= 1000
    return f"about {size:.3g} TB"
