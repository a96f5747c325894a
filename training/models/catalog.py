"""The encoders. A new one is a file like `single_stream.py`, and a line in `ENCODERS`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Discriminator

from annotations.tables import Table
from training.models.encoder import Shape

ENCODERS: Table[type[Shape]] = Table(
    {
        "two-stream": "training.models.two_stream:TwoStreamShape",
        "single-stream": "training.models.single_stream:SingleStreamShape",
        "visual-parser": "training.models.visual_parser:VisualParserShape",
    }
)
"""The shape of each, by its `kind`."""

if TYPE_CHECKING:
    EncoderShape = Shape
else:
    EncoderShape = Annotated[Union[tuple(ENCODERS.values())], Discriminator("kind")]  # noqa: UP007  of a table
