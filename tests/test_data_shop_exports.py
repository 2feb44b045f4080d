"""Exports of shops are read as catalogues as they come: Shopify's and WooCommerce's product files."""

from pathlib import Path

import pytest

from bundlewise.data.catalogue import read_products
from bundlewise.domain import Item
from bundlewise.errors import DataError

SHOPIFY = """\
Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,\
Variant Price,Variant Compare At Price,Image Src,Status
red-mug,"Mug, red",<p>A mug</p>,Tarn,Home > Kitchen > Mugs,Mugs,"tea, red",true,Size,Small,M-1,12.50,15.00,https://x/1.jpg,active
red-mug,,,,,,,,,Large,M-2,14.00,,,
red-mug,,,,,,,,,,,,,https://x/2.jpg,
tea-towel,Tea towel &amp; hook,,Tarn,,Linen,,true,Title,Default Title,,8.00,,,active
secret,Secret mug,,Tarn,,,,true,Title,Default Title,,9.00,,,draft
hidden,Hidden mug,,Tarn,,,,false,Title,Default Title,,9.00,,,active
"""
NEW_SHOPIFY = """\
Title,URL handle,Description,Vendor,Product category,Type,Published on online store,Status,SKU,Option1 name,Price
Mug,mug,A mug,Tarn,Home > Mugs,Mugs,TRUE,Active,M-1,Title,12.50
Old mug,old-mug,A mug,Tarn,Home > Mugs,Mugs,TRUE,Archived,M-2,Title,2.50
"""
WOOCOMMERCE = """\
ID,Type,SKU,Name,Published,"Is featured?","Short description","Date sale price starts","Date sale price ends",\
"Sale price","Regular price",Categories,Images,Parent
44,variable,HOOD,Hoodie,1,0,,,,,,"Clothing > Hoodies, Sale",https://x/h.jpg,
45,"simple, virtual",,Album,1,0,,,,12,15,Music,,
46,simple,CAP,Cap,1,0,,2020-01-01,2020-02-01,5,9.90,"Hats\\, caps",,
47,simple,OLD,Old cap,0,0,,,,,9.90,Hats,,
48,simple,DRAFT,Draft cap,-1,0,,,,,9.90,Hats,,
49,variation,HOOD-B,Hoodie - Blue,1,0,,,,,45,,,HOOD
50,variation,HOOD-G,Hoodie - Green,1,0,,,,,42,,,id:44
"""


def read(folder: Path, text: str, name: str = "products_export.csv") -> tuple[list[Item], list[str]]:
    (folder / name).write_text(text, encoding="utf-8")
    told: list[str] = []
    return read_products(str(folder / name), told.append), [said.removeprefix(f"{folder / name}: ") for said in told]


def test_a_shopify_export_has_a_product_for_each_handle(tmp_path: Path) -> None:
    found, told = read(tmp_path, SHOPIFY)
    assert found == [
        Item(id="red-mug", title="Mug, red", category=("Home", "Kitchen", "Mugs"), price=12.5),
        Item(id="tea-towel", title="Tea towel & hook", category=("Linen",), price=8.0),
    ]
    assert told == [
        "read as an export of Shopify, 2 products; 2 more are drafts or hidden and left out; "
        "1 have variants with different prices, and the first price is read"
    ]


def test_the_newer_columns_of_shopify_are_known_too(tmp_path: Path) -> None:
    found, told = read(tmp_path, NEW_SHOPIFY)
    assert found == [Item(id="mug", title="Mug", category=("Home", "Mugs"), price=12.5)]
    assert told == ["read as an export of Shopify, 1 products; 1 more are drafts or hidden and left out"]


def test_a_woocommerce_export_has_a_product_for_each_row_that_is_no_variation(tmp_path: Path) -> None:
    found, told = read(tmp_path, "\ufeff" + WOOCOMMERCE)
    assert found == [
        Item(id="44", title="Hoodie", category=("Clothing", "Hoodies"), price=45.0),
        Item(id="45", title="Album", category=("Music",), price=12.0),
        Item(id="46", title="Cap", category=("Hats, caps",), price=9.9),
    ], "a sale price holds unless it has dates, and a product without a price has that of its first variation"
    assert told[0].startswith("read as an export of WooCommerce, 3 products; 2 more are drafts or hidden and left out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHOPIFY + ",Lost mug,,,,,,,,,,,,,\n", "line 8, column 'handle': is empty; fill it in or remove the row"),
        (SHOPIFY + "lost,,,,,,,,,,,1,,,\n", "line 8, column 'title': is empty; fill it in"),
        (WOOCOMMERCE + "45,simple,X,Other,1,0,,,,,1,,,\n", "line 9: the id '45' is already in .*line 3; give each"),
        (WOOCOMMERCE + "60,simple,X,,1,0,,,,,1,,,\n", "line 9, column 'name': is empty"),
    ],
)
def test_a_fault_of_an_export_is_named_by_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text)


def test_a_catalogue_of_its_own_form_is_no_export(tmp_path: Path) -> None:
    text = "id,title,type,name,regular price,price\na,Lamp,simple,Other,3,2\n"
    found, _ = read(tmp_path, text, "own.csv")
    assert found == [Item(id="a", title="Lamp", price=2.0)]


def test_a_catalogue_may_be_a_json_list(tmp_path: Path) -> None:
    found, told = read(tmp_path, '[{"id": "a", "title": "Lamp", "price": 3}, {"id": "b", "title": "Bulb"}]', "c.json")
    assert [(item.title, item.price) for item in found] == [("Lamp", 3.0), ("Bulb", None)] and not told
