"""`bundlewise doctor`: say what works on this machine, and what to do."""

import json
from dataclasses import asdict

import click

from bundlewise.doctor import Check, diagnose
from bundlewise.terminal import styled

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say what works on this machine, and what to do about the rest.

    Exits with 1 when something has failed. Never shows a key.
    """
    checks = diagnose()
    works = all(check.status != "fail" for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": works, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            styled((f"{check.status:<6}", {"fg": COLOURS[check.status]}), (line(check), {}))
    ctx.exit(0 if works else 1)


def line(check: Check) -> str:
    """Return a finding as it stands behind its status, with its remedy below."""
    remedy = f"\n{'':<6}-> {check.remedy}" if check.remedy else ""
    return f"{check.name:<22}{check.found}{remedy}"
