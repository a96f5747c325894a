"""Checkpoints in the layout of UNITER's public code, of random weights."""

import torch
from torch import Tensor

NUM_CLASSES, NUM_ANSWERS = 5, 7


def uniter_state(
    *, hidden: int = 128, layers: int = 2, wide: int = 24, pieces: int = 30, features: int = 6, positions: int = 24
) -> dict[str, Tensor]:
    """Return the tensors of a UNITER with the heads of its pre-training, as its public code names them."""
    shapes = {
        "uniter.embeddings.word_embeddings.weight": (pieces, hidden),
        "uniter.embeddings.position_embeddings.weight": (positions, hidden),
        "uniter.embeddings.token_type_embeddings.weight": (2, hidden),
        "uniter.img_embeddings.mask_embedding.weight": (2, features),
    }
    norms = ["uniter.embeddings.LayerNorm", "uniter.img_embeddings.LayerNorm"]
    norms += ["uniter.img_embeddings.img_layer_norm", "uniter.img_embeddings.pos_layer_norm"]
    norms += ["cls.predictions.transform.LayerNorm", "feat_regress.net.2", "region_classifier.net.2"]
    linears = {
        "uniter.img_embeddings.img_linear": (hidden, features),
        "uniter.img_embeddings.pos_linear": (hidden, 7),
        "uniter.pooler.dense": (hidden, hidden),
        "cls.predictions.transform.dense": (hidden, hidden),
        "feat_regress.net.0": (hidden, hidden),
        "region_classifier.net.0": (hidden, hidden),
        "region_classifier.net.3": (1 + NUM_CLASSES, hidden),
        "itm_output": (2, hidden),
    }
    for number in range(layers):
        layer = f"uniter.encoder.layer.{number}"
        linears |= {f"{layer}.attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linears[f"{layer}.attention.output.dense"] = (hidden, hidden)
        linears[f"{layer}.intermediate.dense"] = (wide, hidden)
        linears[f"{layer}.output.dense"] = (hidden, wide)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    shapes |= {"cls.predictions.bias": (pieces,), "feat_regress.bias": (features,)}
    state = random_tensors(shapes)
    for name in norms:
        state[f"{name}.weight"] += 1
    state["cls.predictions.decoder.weight"] = state["uniter.embeddings.word_embeddings.weight"]
    state["feat_regress.weight"] = state["uniter.img_embeddings.img_linear.weight"]
    state["uniter.img_embeddings.mask_embedding.weight"][0] = 0
    return state


def encoder_alone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without heads."""
    return {name: tensor for name, tensor in state.items() if name.startswith("uniter.")}


def vqa_head(hidden: int = 128) -> dict[str, Tensor]:
    """Return the head of a UNITER that was fine-tuned to answer."""
    wide = 2 * hidden
    shapes = {"0.weight": (wide, hidden), "0.bias": (wide,), "2.weight": (wide,), "2.bias": (wide,)}
    shapes |= {"3.weight": (NUM_ANSWERS, wide), "3.bias": (NUM_ANSWERS,)}
    return random_tensors({f"vqa_output.{name}": shape for name, shape in shapes.items()})


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors of these shapes, larger than those of a new network, so that a mistake shows."""
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=draw) * 0.1 for name, shape in shapes.items()}
