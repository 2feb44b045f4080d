"""Ask a running `bundlewise serve` with the official OpenAI client, for a whole answer and for a stream.

    bundlewise serve --kb kb --adapter adapter
    python examples/openai_client.py --url http://127.0.0.1:8000/v1

If the server needs a key, it is read from OPENAI_API_KEY.
"""

import argparse
import os

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

CART = ["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries", "Garden hose, 15 m"]


def main() -> None:
    """Bundle a list of products, then ask why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    given = parser.parse_args()
    client = OpenAI(base_url=given.url, api_key=os.environ.get("OPENAI_API_KEY") or "none")
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "Bundle these:\n" + "\n".join(f"- {title}" for title in CART)}
    ]
    whole = client.chat.completions.create(model="bundlewise", messages=messages)
    said = whole.choices[0].message.content
    print(said)
    if whole.usage:
        print(f"({whole.usage.prompt_tokens} tokens read, {whole.usage.completion_tokens} written)\n")
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "why bundle 1?"}]
    for chunk in client.chat.completions.create(model="bundlewise", messages=messages, stream=True):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
