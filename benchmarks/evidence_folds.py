"""Cross-validate pair evidence and chooser over the training sessions of a knowledge base, by embedder and by aim.

`from` and `to` are the 95 % paired interval of the difference from the first embedder under the aim `gjs`. Each fold is
answered by a regression and a chooser that were fitted on the other four. The observations of a session
are its neighbours' thoughts, never its own. Sessions of every length are spread evenly over the folds.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from time import perf_counter

import numpy as np
from measuring import show

from bundlewise.agents.student.aims import AIMS, Aim, exact_shares
from bundlewise.agents.student.candidates import Described
from bundlewise.agents.student.chooser import best, fit_described
from bundlewise.agents.student.compose import together
from bundlewise.domain import Grouping, Knowledge, item_set_of
from bundlewise.evaluation.metrics import gjs, paired_bootstrap
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.evidence import PairEvidence, fit_regression, log_odds_of, square
from bundlewise.knowledge_base.kind_reader import observed
from bundlewise.knowledge_base.store import KnowledgeStore

FOLDS = 5
Scores = dict[str, np.ndarray]


def folds_of(thoughts: Sequence[Knowledge]) -> list[int]:
    """Return a fold for each thought; equal sessions are in one fold, and lengths are spread evenly."""
    alike = defaultdict(list)
    for place, thought in enumerate(thoughts):
        alike[item_set_of(thought.titles)].append(place)
    found = [0] * len(thoughts)
    for turn, places in enumerate(sorted(alike.values(), key=lambda p: (len(thoughts[p[0]].titles), p[0]))):
        for place in places:
            found[place] = turn % FOLDS
    return found


def measured(thoughts: Sequence[Knowledge], embedder: Embedder, aims: Sequence[Aim]) -> dict[str, Scores]:
    """Return for each aim the GJS, exact precision and exact recall of every session."""
    evidence, folds = PairEvidence(thoughts, embedder), folds_of(thoughts)
    rows = [evidence.features(thought.titles, frozenset({place}))[0] for place, thought in enumerate(thoughts)]
    bundled = [np.array([together(t.groups, a, b) for a, b in combinations(range(len(t.titles)), 2)]) for t in thoughts]
    described: list[Described] = [None] * len(thoughts)  # type: ignore[list-item]
    for fold in range(FOLDS):
        fit = [place for place, own in enumerate(folds) if own != fold]
        weights = fit_regression(np.concatenate([rows[p] for p in fit]), np.concatenate([bundled[p] for p in fit]))
        for place in (place for place, own in enumerate(folds) if own == fold):
            described[place] = Described.of(square(log_odds_of(rows[place], weights), len(thoughts[place].titles)))
    answers: dict[str, list[Grouping]] = {aim.name: [()] * len(thoughts) for aim in aims}
    for fold in range(FOLDS):
        fit = [place for place, own in enumerate(folds) if own != fold]
        chooser = fit_described([described[p] for p in fit], [thoughts[p].groups for p in fit])
        for place in (place for place, own in enumerate(folds) if own == fold):
            for aim in aims:
                answers[aim.name][place] = best(chooser.score(described[place], aim))
    return {name: scored(found, thoughts) for name, found in answers.items()}


def scored(answers: Sequence[Grouping], thoughts: Sequence[Knowledge]) -> Scores:
    """Return the scores of answers, one per session."""
    shares = np.array([exact_shares(a, t.groups) for a, t in zip(answers, thoughts, strict=True)])
    overlap = np.array([gjs(a, t.groups) for a, t in zip(answers, thoughts, strict=True)])
    return {"GJS": overlap, "exact P": shares[:, 0], "exact R": shares[:, 1]}


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kb", required=True, help="knowledge base with thoughts")
    parser.add_argument("--embedders", nargs="+", default=["minilm", "minilm+mpnet"], help="the first is the reference")
    parser.add_argument("--recall", type=float, default=0.3, help="floor of recall for the aim precision")
    options = parser.parse_args()
    thoughts = observed(KnowledgeStore.open(options.kb).thoughts())
    aims = [Aim(name=name, recall=options.recall) for name in AIMS]
    found, rows = {}, {}
    for name in options.embedders:
        started = perf_counter()
        found[name] = measured(thoughts, Embedder.named(name), aims)
        for aim, scores in found[name].items():
            row = {metric: round(float(values.mean()), 4) for metric, values in scores.items()}
            for metric in ("GJS", "exact P"):
                ends = paired_bootstrap(scores[metric], found[options.embedders[0]]["gjs"][metric])
                row |= {f"{metric} {end}": round(value, 4) for end, value in zip(("from", "to"), ends, strict=True)}
            rows[f"{name}, {aim}"] = row
        print(f"{name}: {perf_counter() - started:.0f} s", file=sys.stderr)
    show({"sessions": len(thoughts), "embedder, aim": rows})
    print(json.dumps({"sessions": len(thoughts), "folds": FOLDS, "rows": rows}))


if __name__ == "__main__":
    main()
