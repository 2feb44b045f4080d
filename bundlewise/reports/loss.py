"""The loss curve of a training as a picture."""

import io
from pathlib import Path

from bundlewise.extras import require
from bundlewise.files import read_rows, write_bytes


def plot_loss(folder: Path, window: int = 10) -> Path:
    """Draw `loss.jsonl` of an adapter's folder as `loss.png`, with its running mean; return the picture's path."""
    require("train", "the loss curve")
    from matplotlib.figure import Figure

    losses = [row["loss"] for row in read_rows(folder / "loss.jsonl")]
    means = [sum(losses[max(0, n - window) : n]) / min(n, window) for n in range(1, len(losses) + 1)]
    steps = range(1, len(losses) + 1)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="#9db4c0", linewidth=1, label="loss of the batch")
    axes.plot(steps, means, color="#0b5563", linewidth=2, label=f"mean of {window} batches")
    axes.set(xlabel="step", ylabel="cross entropy at answer places", yscale="log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    picture = folder / "loss.png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(picture, buffer.getvalue())
    return picture
