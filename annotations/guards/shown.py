"""Shows a value of a foreign file in an error: short, whatever it is and however it is nested."""

from reprlib import Repr

_SHORT = Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: object) -> str:
    """Return the value as an error shows it, cut to 60 characters; nothing of what is cut off is written out before."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
