"""The check of product numbers in a text, in any script, against the number of products."""

import re
import unicodedata
from collections.abc import Sequence

_MARK = "(?:numbers?|nos?\\.|(?-i:Nos?)|nr\\.?|n\u00b0|\u2116|#)"
_SIGN = "(?:,|&|\\+|/|-|\u2010|\u2011|\u2012|\u2013|\u2014|\u2026|\\.{2,3})"
_STEP = rf"(?:\s*{_SIGN}\s*(?:and\s+|or\s+)?|\s+(?:and|or|to|through|till|until|with|plus|versus|vs\.?)\s+)"
_NUMBER = r"\(?\d+(?!\w|[.,]\d|-[a-z])\)?"
_LISTED = rf"({_NUMBER}(?:{_STEP}{_MARK}?\s*{_NUMBER})*)"
_WORDS = (
    r"(?:\b(?:items?|products?|positions?|articles?|artikel|produkte?|produits?|productos?|prodott[oi]|art[ií]culos?"
    r"|товар\w*|продукт\w*)|商品|产品|製品|第|제품|상품|منتج)"
)
"""Words for products in the languages that models switch to."""
_PLACE = rf"{_WORDS}\s*(?:{_MARK}|nos?|nums?\.?)?\s*[(:]?\s*"
_NAMED = re.compile(rf"{_PLACE}{_LISTED}", re.IGNORECASE)
_BELOW = re.compile(rf"{_PLACE}(?:{_NUMBER}{_STEP})*(?<=[\s(:])([-\u2212\u2013]\d+)", re.IGNORECASE)
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_SIZES = frozenset(("L", "C", "XL", "XXL", "XXXL"))
_ROMAN = re.compile(r"(?<![\w'-])(?=\w\w|[IVX])(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?![\w'-])", re.IGNORECASE)
_ROMAN_LIST = re.compile(rf"{_PLACE}(?:[IVXLC]+|\d+)(?:{_STEP}(?:[IVXLC]+|\d+))*(?!\w)", re.IGNORECASE)
_CHINESE = re.compile("[〇零一二三四五六七八九十百千]+(?=[^\\w]|$|[号號番])|(?<=第)[〇零一二三四五六七八九十百千]+")
_NO = r"no(?=\s+\d+\s+(?:goe?s?|is|are|and|stays?|belongs?)\b)"
_MARKED = re.compile(rf"(?<!\w)(?:{_MARK}|{_NO})\s*{_LISTED}", re.IGNORECASE)
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\s+(?:items?|products?|articles?|titles?)\b", re.IGNORECASE)
_BARE = re.compile(rf"(?<![\w.$\u20ac\u00a3#/-])({_NUMBER}(?:{_STEP}{_NUMBER})+)(?!\s*[a-z]+\d)", re.IGNORECASE)


def foreign_number(text: str, titles: Sequence[str]) -> str:
    """Return a message about a number without a product; empty if every number has one."""
    from text_to_num import alpha2digit

    count, plain = len(titles), _plain(text, titles)
    read = re.sub(r"\bminus\s+(?=\d)", "-", alpha2digit(plain, "en", threshold=0))
    if below := _BELOW.search(read):
        return f"it speaks of product {below[1]} of {count}"
    named = [*_numbers(_NAMED, read), *_numbers(_ORDINAL, read)]
    loose = [*_numbers(_MARKED, read), *_numbers(_BARE, plain)]
    # A number in a title may be the name of a model rather than a product number.
    titled = {int(number) for title in titles for number in re.findall(r"\d+", title)}
    beyond = [number for number in named if not 1 <= number <= count]
    beyond += [number for number in loose if not 1 <= number <= count and number not in titled]
    return f"it speaks of product {beyond[0]} of {count}" if beyond else ""


def _plain(text: str, titles: Sequence[str]) -> str:
    """Return a text with ASCII digits in place of numbers in other scripts and Roman numbers after a product word."""
    digits = _CHINESE.sub(lambda found: f"{_chinese(found[0])} ", unicodedata.normalize("NFKC", text))
    kept = {word.upper() for title in titles for word in re.findall(r"\w+", title)}
    return _ROMAN_LIST.sub(lambda found: _ROMAN.sub(lambda each: _roman(each[0], kept), found[0]), digits)


def _roman(word: str, kept: set[str]) -> str:
    """Return a Roman number in digits; sizes and words of a title stay unchanged."""
    if word.upper() in kept or word.upper() in _SIZES:
        return word
    values = [_VALUES[letter] for letter in word.upper()]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return str(sum(-value if value < after else value for value, after in pairs))


def _chinese(word: str) -> str:
    """Return a number in Chinese or Japanese characters as digits."""
    total, last = 0, 0
    for sign in word:
        value = int(unicodedata.numeric(sign))
        total, last = (total + max(last, 1) * value, 0) if value >= 10 else (total, last * 10 + value)
    return str(total + last)


def _numbers(pattern: re.Pattern[str], text: str) -> list[int]:
    return [int(number) for listed in pattern.findall(text) for number in re.findall(r"\d+", listed)]
