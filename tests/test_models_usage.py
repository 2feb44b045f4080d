"""What this process takes: the peak of its memory, measured anew."""

import sys

import numpy as np
import pytest

from bundlewise.models.memory import forget_peak, peak_memory, release_memory


def test_the_peak_holds_what_was_taken_and_given_back() -> None:
    forget_peak()
    before = peak_memory()
    taken = np.ones(50_000_000)  # 0.4 GB
    del taken
    assert peak_memory() > before + 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_a_peak_that_is_forgotten_counts_no_more() -> None:
    taken = np.ones(50_000_000)
    high = peak_memory()
    del taken
    release_memory()
    forget_peak()
    assert peak_memory() < high - 0.3
