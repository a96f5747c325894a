"""A model of ours as a folder of safetensors and JSON, for those that no published layout has a place for.

FOLDER/config.json         encoder, objectives, sizes: what the model is
       model.safetensors   its weights under our names, float32
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError

from annotations.guards.drops import DataError
from stores.atomic import write_json
from training.data.tokenizer import TextTokenizer
from training.model import Model, build_new
from training.models.catalog import EncoderShape
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.weights.published import CONFIG, Published, in_our_names, require_layers, write_weights


@dataclass(frozen=True, kw_only=True)
class Description:
    """What config.json holds."""

    model_type: Literal["vinculum"] = "vinculum"
    encoder: EncoderShape
    objectives: Objectives
    sizes: Sizes


_DESCRIPTIONS = TypeAdapter(Description)


def export_own(model: Model, folder: Path, tokenizer: TextTokenizer | None = None) -> None:
    """`folder` holds the whole model, heads and all.

    That is how a single-stream encoder goes out: transformers' VisualBertModel is none in any configuration. It adds a
    region's projected feature to position and segment under one norm; here the projection has a norm of its own first,
    and a box of seven numbers, which VisualBERT does not see, is added under another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    description = Description(encoder=model.encoder.shape, objectives=model.options, sizes=model.sizes)
    write_json(folder / CONFIG, _DESCRIPTIONS.dump_python(description, mode="json"))
    if tokenizer is not None:
        tokenizer.save(folder)
    write_weights(folder, model.state_dict())


def own_model(published: Published) -> Model:
    """Return the model that `export_own` wrote, bit for bit.

    Raises:
        DataError: config.json is missing or of another version, or describes other tensors than there are.
    """
    path = published.path.with_name(CONFIG)
    if published.config is None:
        raise DataError(f"{path}: no such file, expected it beside the weights as vinculum-train export wrote it")
    try:
        described = _DESCRIPTIONS.validate_json(path.read_bytes())
        require_layers(path, described.encoder, published.tensors)
        with torch.device("meta"):
            model = Model(described.encoder, described.objectives, described.sizes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}; expected what vinculum-train export writes") from error
    except DataError:
        raise
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{path}: describes no model ({error})") from error
    state = in_our_names(
        published.tensors, model.state_dict(), (), source=f"{published.path}: not the weights that {CONFIG} describes"
    )
    # Tables that are computed and not kept, as a trunk has them, would stay without content on "meta".
    model = build_new(described.encoder, described.objectives, described.sizes, seed=0)
    model.load_state_dict(state)
    return model
