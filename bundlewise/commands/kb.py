"""bundlewise kb: look at, care for, exchange and re-embed a knowledge base."""

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
    """Look at, care for, exchange and re-embed a knowledge base.

    KB is a folder, or the address of a Chroma server: http://HOST:PORT, or http://HOST:PORT/NAME for
    one of several there. What is changed can be taken back with undo.
    """
