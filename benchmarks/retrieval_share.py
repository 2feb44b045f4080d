"""Measure the share of retrieval in the student's time: opening the knowledge base, retrieving, answering.

python benchmarks/retrieval_share.py --kb kb --data electronics
"""

import argparse
import json
import time

from bundlewise.data.sessions import load
from bundlewise.finetune.students import open_model
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.folders import resolve
from bundlewise.pipeline.knowledge import open_retriever
from bundlewise.pipeline.student import Student
from bundlewise.settings import quiet_libraries

POLICIES = {
    "hints (the default)": Policy(),
    "2 patterns, 3 rules, 4 thoughts": Policy(patterns=2, rules=3, thoughts=4, hints=0),
    "both, hybrid search": Policy(patterns=2, rules=3, thoughts=4, search="hybrid"),
}


def main() -> None:
    """Time each policy over the same sessions and print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", required=True)
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--student", default="smollm2-135m")
    given = parser.parse_args()
    quiet_libraries()
    sessions = load(given.data, "validation")[: given.limit]
    base = resolve(given.student)
    seen = [session.blind() for session in sessions]
    model = open_model(given.student, None, None)
    Student(model).answer(sessions[:4])
    rows = {}
    for name, policy in POLICIES.items():
        started = time.perf_counter()
        retriever = open_retriever(given.kb, policy, base)
        retriever.retrieve(seen[:1])
        opened = time.perf_counter()
        retriever.retrieve(seen)
        retrieved = time.perf_counter()
        Student(model, retriever).answer(sessions)
        answered = time.perf_counter()
        share = (retrieved - opened) / (answered - retrieved)
        rows[name] = {
            "open_s": opened - started,
            "retrieve_ms": 1000 * (retrieved - opened) / len(sessions),
            "answer_ms": 1000 * (answered - retrieved) / len(sessions),
            "share": share,
        }
    print("| policy | open, s | retrieve, ms a session | answer, ms a session | share |\n|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['open_s']:.1f} | {row['retrieve_ms']:.1f} | {row['answer_ms']:.0f} | {row['share']:.1%} |"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
