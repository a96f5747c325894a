"""Draw one sentence of a demo: its image, then the regions that each of its phrases lights up, and the gold boxes."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from annotations.alignment.sentences import AlignedSentence
from annotations.alignment.targets import combine
from stores.reading import open_store
from stores.sentence_reading import open_sentences

SENTENCE = "110#2"
"""A caption of the demo's world: The orange bird is on the yellow table."""
COLORS = ("#e8590c", "#9c36b5", "#1971c2", "#2b8a3e")
INK, PAPER = "#212529", "#ffffff"
MARGIN, HEADER, FONT = 14, 40, 21
DARK = 0.22
"""Brightness of what is not lit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of `vinculum demo`")
    parser.add_argument("--sentence", default=SENTENCE, help="id of a sentence with one image")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    chosen = parser.parse_args()
    with open_sentences(chosen.demo / "sentences") as sentences, open_store(chosen.demo / "regions") as regions:
        aligned = next((each for each in sentences if each.sentence.sentence_id == chosen.sentence), None)
        if aligned is None or not len(aligned.words):
            parser.error(f"no sentence {chosen.sentence!r} that points at something in {chosen.demo / 'sentences'}")
        image_id = aligned.sentence.image_ids[0]
        boxes = regions.get(image_id).boxes_xyxy
    image = Image.open(chosen.demo / f"world/images/{image_id}.jpg").convert("RGB")
    phrases = dict(zip(COLORS, phrases_of(aligned), strict=False))
    panels = [panel(image, aligned, phrases)]
    for color, words in phrases.items():
        lit = light_up(image, boxes, weights_of(aligned, words))
        for gold in aligned.gold_boxes(words[0]):
            ImageDraw.Draw(lit).rectangle(gold, outline=color, width=3)
        panels.append(panel(lit, aligned, {color: words}))
    side_by_side(panels).quantize(256, dither=Image.Dither.NONE).save(chosen.out, optimize=True)


def phrases_of(aligned: AlignedSentence) -> list[list[int]]:
    """Return rows of pointed words, those with the same gold boxes together."""
    phrases: dict[tuple[tuple[float, ...], ...], list[int]] = {}
    for row in range(len(aligned.words)):
        phrases.setdefault(tuple(tuple(box) for box in aligned.gold_boxes(row)), []).append(row)
    return list(phrases.values())


def weights_of(aligned: AlignedSentence, words: list[int]) -> np.ndarray:
    """Return float [R]; the mean target of a phrase's words, its largest value 1."""
    criteria = aligned.words
    targets = combine(criteria.position[words], criteria.semantic[words], combination="paper").targets.mean(0)
    return targets / max(targets.max(), 1e-9)


def light_up(image: Image.Image, boxes: np.ndarray, weights: np.ndarray) -> Image.Image:
    """Return the image, dark but for its regions, each as bright as its weight."""
    light = np.zeros((image.height, image.width))
    for (x1, y1, x2, y2), weight in zip(boxes.round().astype(int), weights, strict=True):
        light[y1:y2, x1:x2] = np.maximum(light[y1:y2, x1:x2], weight)
    brightness = DARK + (1 - DARK) * light[..., None]
    return Image.fromarray((np.asarray(image) * brightness).round().astype(np.uint8))


def panel(image: Image.Image, aligned: AlignedSentence, phrases: dict[str, list[int]]) -> Image.Image:
    """Return the image below its sentence, whose words have the colors of their phrases."""
    drawn = Image.new("RGB", (image.width, image.height + HEADER), PAPER)
    drawn.paste(image, (0, HEADER))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(FONT)
    colors = {int(aligned.words.starts[row]): color for color, words in phrases.items() for row in words}
    text = aligned.sentence.text.removesuffix(" .")
    x, start = (image.width - font.getlength(text)) / 2, 0
    for word in text.split(" "):
        color = colors.get(start)
        pen.text((x, 6), word, font=font, fill=color or INK, stroke_width=0.6 if color else 0, stroke_fill=color)
        x += font.getlength(f"{word} ")
        start += len(word) + 1
    return drawn


def side_by_side(panels: list[Image.Image]) -> Image.Image:
    """Return the panels in one row, with white between them."""
    width = sum(each.width for each in panels) + MARGIN * (len(panels) - 1)
    row = Image.new("RGB", (width, panels[0].height), PAPER)
    x = 0
    for each in panels:
        row.paste(each, (x, 0))
        x += each.width + MARGIN
    return row


if __name__ == "__main__":
    main()
