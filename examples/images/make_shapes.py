"""Writes a dataset of drawn shapes: DIRECTORY/train/CLASS/*.png and DIRECTORY/test/CLASS/*.png, always the same ones."""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 32


def draw(shape: str, chance: random.Random) -> Image.Image:
    image = Image.new("L", (SIZE, SIZE), chance.randrange(60))
    pen, ink = ImageDraw.Draw(image), chance.randrange(120, 256)
    x, y, reach = chance.randrange(9, 23), chance.randrange(9, 23), chance.randrange(5, 9)
    box = [x - reach, y - reach, x + reach, y + reach]
    if shape == "circle":
        pen.ellipse(box, fill=ink)
    elif shape == "square":
        pen.rectangle(box, fill=ink)
    else:
        pen.polygon([(x, y - reach), (x + reach, y + reach), (x - reach, y + reach)], fill=ink)
    for _ in range(40):
        image.putpixel((chance.randrange(SIZE), chance.randrange(SIZE)), chance.randrange(256))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train", type=int, default=400, help="images per class")
    parser.add_argument("--test", type=int, default=100, help="images per class")
    args = parser.parse_args()
    chance = random.Random(7)
    for part, count in (("train", args.train), ("test", args.test)):
        for shape in ("circle", "square", "triangle"):
            directory = args.directory / part / shape
            directory.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(shape, chance).save(directory / f"{number:04}.png")
    print(f"{3 * (args.train + args.test)} images in {args.directory}")


if __name__ == "__main__":
    main()
