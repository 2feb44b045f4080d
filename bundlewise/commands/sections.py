"""A group whose help lists its commands in sections."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Sections(click.Group):
    """A group that lists its commands in sections, in the order of the work."""

    def __init__(self, *, sections: Mapping[str, Sequence[click.Command]], **settings: Any) -> None:
        """Take the commands of all sections in."""
        super().__init__(commands=[each for commands in sections.values() for each in commands], **settings)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the work."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the sections."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name), each.get_short_help_str(100)) for each in commands])
