"""bundlewise kb: inspect, maintain, exchange and re-embed a knowledge base."""

import click

from bundlewise.commands import kb_care, kb_exchange, kb_explain, kb_look, kb_repair, kb_tune
from bundlewise.commands.options import Sections

SECTIONS = {
    "Look": [kb_look.stats, kb_look.search, kb_explain.explain, kb_look.show, kb_look.list_, kb_exchange.report],
    "Exchange": [kb_exchange.export, kb_exchange.import_, kb_exchange.diff],
    "Teach": [kb_tune.tune],
    "Care": [kb_care.retire, kb_care.merge, kb_care.conflicts, kb_care.history, kb_care.undo],
    "Repair": [kb_repair.verify, kb_repair.reindex, kb_repair.recover],
}


@click.group(cls=Sections, sections=SECTIONS)
def command() -> None:
    """Inspect, maintain, exchange and re-embed a knowledge base.

    KB is a folder, or the address of a Chroma server: http://HOST:PORT, or http://HOST:PORT/NAME if
    the server holds several knowledge bases. The command undo takes the last change back.
    """
