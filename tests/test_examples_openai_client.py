"""The example of the OpenAI client runs as it is, against a real server."""

import os
import subprocess
import sys
from pathlib import Path

from server_samples import KEY, THOUGHT, TITLES, app_of, served

from bundlewise.server.keys import Keys

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "openai_client.py"


def test_the_example_bundles_a_list_and_asks_why() -> None:
    with served(app_of(keys=Keys([KEY]))) as address:
        command = [sys.executable, str(EXAMPLE), "--url", f"{address}/v1"]
        environment = os.environ | {"OPENAI_API_KEY": KEY}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert TITLES[0] in done.stdout and "words in common" in done.stdout and "tokens read" in done.stdout
    assert THOUGHT.text in done.stdout
