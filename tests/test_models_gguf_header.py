"""The header of a GGUF file is read strictly: what is no such file, cut short or damaged is told."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_samples import facts_of, write_gguf

from bundlewise.errors import ModelError
from bundlewise.models.gguf_header import GgufHeader


@pytest.fixture
def file(tiny_student: Path, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", tiny_student)


def test_facts_and_tensors_are_read_as_they_were_written(file: Path, tiny_student: Path) -> None:
    header = GgufHeader.read(file)
    wanted = facts_of(tiny_student) | {"general.architecture": "llama"}
    assert {key: header.facts[key] for key in wanted} == {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in wanted.items()
    }
    assert header.said("rope.freq_base") == 10000.0 and header.said("nowhere") is None
    by_name = {tensor.name: tensor for tensor in header.tensors}
    assert by_name["blk.0.ffn_up.weight"].shape == (64, 32)
    raw = np.fromfile(file, np.float32, 32, offset=header.data + by_name["output_norm.weight"].offset)
    assert raw.tolist() == [1.0] * 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no GGUF file: it has 0 bytes"),
        (b"PK\x03\x04 a zip archive", "is no GGUF file: it does not begin with GGUF"),
        (b"GGUF", "is cut short or damaged: its header ends after 4 bytes; fetch it again"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "has GGUF version 1, readable are 2 and 3 in little-endian order"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "has GGUF version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(10**5), "is damaged: it says '' twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63), "is cut short or damaged"),
        (b"GGUF" + struct.pack("<IQQQcI", 3, 0, 1, 1, b"k", 99), "is damaged: it has a value of the unknown type 99"),
        (b"GGUF" + struct.pack("<IQQQcIIQ", 3, 0, 1, 1, b"k", 9, 9, 5), "unknown type 9"),
        (b"GGUF" + struct.pack("<IQQQ2sI", 3, 0, 1, 2, b"\xff\xff", 4), "is damaged: a text in it is not UTF-8"),
        (b"GGUF" + struct.pack("<IQQQcI", 3, 1, 0, 1, b"t", 10**6), "tensor 't' comes twice or has 1000000 dimensions"),
    ],
)
def test_what_is_no_gguf_file_or_damaged_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        GgufHeader.read(tmp_path / "x.gguf")
    assert str(caught.value).startswith(str(tmp_path / "x.gguf"))
    assert message in str(caught.value)


def test_a_header_cut_anywhere_is_told(file: Path, tmp_path: Path) -> None:
    content, short = file.read_bytes(), tmp_path / "short.gguf"
    for length in range(4, GgufHeader.read(file).data - 32, 97):
        short.write_bytes(content[:length])
        with pytest.raises(ModelError, match="cut short"):
            GgufHeader.read(short)
