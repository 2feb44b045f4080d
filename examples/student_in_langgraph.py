"""Use the student in a LangGraph application of your own, which reads orders and returns bundles with prices.

python examples/student_in_langgraph.py --kb kb --adapter adapter
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from bundlewise import Item, Session, Student

ORDERS = {
    "order-1": [("Padmoor Glide 11 Tablet", 219.99), ("Folio Case for Glide 11", 27.99), ("AA Batteries, 48", 15.49)],
    "order-2": [("Trail Running Shoes", 89.0), ("Merino Running Socks", 14.0)],
}


@dataclass(frozen=True)
class Shop:
    """The objects that live as long as the application."""

    student: Student
    discount: float = 0.1


@dataclass(frozen=True)
class Orders:
    """The state of the graph: sessions come in, offers go out."""

    sessions: list[Session]
    offers: list[dict[str, Any]] = field(default_factory=list)


class Change(TypedDict, total=False):
    """The part of the state that a node changes."""

    offers: list[dict[str, Any]]


def find_bundles(state: Orders, runtime: Runtime[Shop]) -> Change:
    """Let the student bundle all orders in one batch."""
    offers = []
    for session, found in zip(state.sessions, runtime.context.student.answer(state.sessions), strict=True):
        prices = {item.id: item.price or 0.0 for item in session.items}
        for bundle in found.bundles:
            total = sum(prices[key] for key in bundle.item_ids)
            offers.append(
                {"order": session.session_id, "intent": bundle.intent, "items": bundle.item_ids, "total": total}
            )
    return {"offers": offers}


def discount(state: Orders, runtime: Runtime[Shop]) -> Change:
    """Price every bundle below the sum of its products."""
    less = 1 - runtime.context.discount
    return {"offers": [{**offer, "price": round(offer["total"] * less, 2)} for offer in state.offers]}


def build() -> Any:
    """Build the application's graph."""
    graph = StateGraph(Orders, context_schema=Shop)
    graph.add_node("find_bundles", find_bundles)
    graph.add_node("discount", discount)
    graph.add_edge(START, "find_bundles")
    graph.add_edge("find_bundles", "discount")
    graph.add_edge("discount", END)
    return graph.compile()


def main(arguments: list[str] | None = None) -> None:
    """Run the application on two orders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kb")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--student", default="smollm2-135m")
    given = parser.parse_args(arguments)
    sessions = [
        Session(
            session_id=name,
            items=tuple(Item(id=f"{name}-{n}", title=title, price=price) for n, (title, price) in enumerate(rows, 1)),
        )
        for name, rows in ORDERS.items()
    ]
    shop = Shop(Student.open(kb=given.kb, adapter=given.adapter, student=given.student))
    for offer in build().invoke(Orders(sessions), context=shop)["offers"]:
        print(f"{offer['order']}: {', '.join(offer['items'])} for {offer['price']:.2f} ({offer['intent']})")


if __name__ == "__main__":
    main()
