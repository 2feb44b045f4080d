"""The route /v1/bundles: it takes sessions and returns bundles with intents, confidence and reasons."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Request

from bundlewise.bundles import Reason
from bundlewise.domain import Knowledge, Prediction, Session
from bundlewise.server.routes import STRICT
from bundlewise.server.service import MODEL, Caller, Service, caller_of, service_of, while_there
from bundlewise.server.shapes import (
    AnsweredBundle,
    BundledItem,
    BundledSession,
    BundlesRequest,
    BundlesResponse,
    Usage,
    Why,
    sessions_of,
)

router = APIRouter(prefix="/v1", tags=["bundles"], **STRICT)


@router.post("/bundles")
async def find_bundles(request: Request, asked: Annotated[BundlesRequest, Body()]) -> BundlesResponse:
    """Find the bundles of one session or of several, and name the intent of each."""
    sessions, caller = sessions_of(asked), caller_of(request)
    request.state.gate.charge(caller.client, len(sessions), paid=1)
    found = await while_there(request, bundled(service_of(request), caller, sessions, asked.explain))
    usage = Usage.of(caller.read, caller.written)
    return BundlesResponse(id=request.state.request_id, model=MODEL, sessions=found, usage=usage)


async def bundled(service: Service, caller: Caller, sessions: Sequence[Session], explain: bool) -> list[BundledSession]:
    """Return the answers to sessions; with `explain`, also the effect of each knowledge record on each bundle."""
    predictions = await service.answer(caller, sessions)
    reasons: list[list[list[Reason]] | None] = [None] * len(sessions)
    if explain:
        works = [service.explain(caller, s, p.groups) for s, p in zip(sessions, predictions, strict=True)]
        reasons = list(await asyncio.gather(*works))
    used = list({use.id: use for prediction in predictions for use in prediction.knowledge})
    records = await run_sync(service.student.knowledge, used) if used else {}
    return [told(*row, records) for row in zip(sessions, predictions, reasons, strict=True)]


def told(
    session: Session,
    prediction: Prediction,
    reasons: list[list[Reason]] | None,
    records: Mapping[str, Knowledge],
) -> BundledSession:
    """Return the answer to a session in the clients' format; `records` are those that the prediction names."""
    bundles = [
        AnsweredBundle(
            items=[item_of(session, number) for number in bundle.items],
            intent=bundle.intent,
            confidence=bundle.confidence,
            total=total_of(session, bundle.items),
            reasons=[Why.model_validate(reason.model_dump()) for reason in (reasons[place] if reasons else [])],
        )
        for place, bundle in enumerate(prediction.bundles)
    ]
    used = {number for bundle in prediction.bundles for number in bundle.items}
    return BundledSession(
        session_id=session.session_id,
        outcome=prediction.outcome,
        reason=prediction.reason,
        cut=prediction.cut,
        bundles=bundles,
        left_out=[item_of(session, number) for number in range(1, len(session.items) + 1) if number not in used],
        knowledge=[
            Why(id=use.id, kind=record.kind, domain=record.domain, text=record.text, score=use.score)
            for use in prediction.knowledge
            if (record := records.get(use.id))
        ],
        usage=Usage.of(prediction.tokens_in, prediction.tokens_out),
    )


def item_of(session: Session, number: int) -> BundledItem:
    """Return a product by its number from 1."""
    item = session.items[number - 1]
    return BundledItem(number=number, id=item.id, title=item.title, price=item.price)


def total_of(session: Session, numbers: Sequence[int]) -> float | None:
    """Return the sum of the products' prices; None if a price is unknown."""
    prices = [session.items[number - 1].price for number in numbers]
    known = [price for price in prices if price is not None]
    return round(sum(known), 2) if len(known) == len(prices) else None
