"""Use your own catalogue: write it as CSV or Parquet, open the assistant with it, and hold a conversation.

python examples/own_catalogue.py products.csv
python examples/own_catalogue.py products.parquet --kb kb --adapter adapter
"""

import argparse
from pathlib import Path

import bundlewise

PRODUCTS = [
    {"id": "lamp", "title": "Clip-on Reading Lamp, USB-C", "price": 18.5, "category": "Home > Lighting"},
    {"id": "stand", "title": "Folding Book Stand, Bamboo", "price": 24.0, "category": "Home > Reading"},
    {"id": "marks", "title": "Magnetic Bookmarks, 12 Pack", "price": 6.9, "category": "Home > Reading"},
    {"id": "tent", "title": "Two-Person Tent, Green", "price": 89.0, "category": "Outdoor > Tents"},
    {"id": "pegs", "title": "Steel Tent Pegs, 10 Pack", "price": 9.0, "category": "Outdoor > Tents"},
]
CONVERSATION = [
    "find reading lamp",
    "add 1",
    "find book stand",
    "add 1",
    "find tent under 100",
    "add both",
    "bundle this",
]


def write_catalogue(path: Path) -> None:
    """Write the products as a shop's export would: as CSV, or as Parquet if the file's name says so."""
    import pandas

    table = pandas.DataFrame(PRODUCTS)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)


def main(arguments: list[str] | None = None) -> None:
    """Talk about the catalogue, and print the replies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--kb")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--student", default="smollm2-135m")
    given = parser.parse_args(arguments)
    if not given.catalogue.exists():
        write_catalogue(given.catalogue)
    student = bundlewise.Student.open(kb=given.kb, adapter=given.adapter, student=given.student)
    with bundlewise.Assistant.open(student, str(given.catalogue), wait=True) as assistant:
        for message in CONVERSATION:
            print(f"> {message}")
            print(assistant.say("example", message))


if __name__ == "__main__":
    main()
