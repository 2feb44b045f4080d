"""The checks of a large teacher's rules and thoughts, which report some faults to it once and mend them later."""

from bundlewise.agents.teacher.contracts import Reasoning, Rules, rules_faults
from bundlewise.agents.teacher.foreign_products import Vocabulary, foreign, strangers
from bundlewise.agents.teacher.session_numbers import general_numbers, session_numbers
from bundlewise.domain import Session
from bundlewise.prompts.render import render

KINDS_INSTEAD = "a reader in another session does not see them, so name kinds of products, such as 'the usb cable'"


class RulesCheck:
    """The check of rules from so many lessons: it reports product numbers to the teacher once.

    If the teacher repeats them, the rules with numbers are later refused.
    """

    def __init__(self, lessons: int) -> None:
        self._lessons, self._told = lessons, False

    def faults(self, reply: Rules) -> list[str]:
        """Return the faults of rules in words for the teacher."""
        wrong = rules_faults(reply, self._lessons)
        named = [] if self._told else [each for rule in reply.rules for each in general_numbers(rule.text)]
        self._told = True
        return wrong + ([f"it names products by number ({', '.join(named[:3])}); {KINDS_INSTEAD}"] if named else [])


class ThoughtCheck:
    """The check of the thought about one session: it reports product numbers and merely mentioned products once.

    If the teacher repeats them, the numbers are later replaced by kinds, and the sentences with foreign products
    removed.
    """

    def __init__(self, session: Session, vocabulary: Vocabulary) -> None:
        self._session, self._vocabulary, self._told = session, vocabulary, False

    def faults(self, reply: Reasoning) -> list[str]:
        """Return the faults of a thought about products outside its session, in words for the teacher."""
        text = worded_thought(reply)
        if wrong := foreign(text, self._session, reply.kinds, self._vocabulary):
            return [f"{wrong}; speak of this session's products alone"]
        if self._told:
            return []
        self._told, found = True, list[str]()
        if numbers := session_numbers(text, self._session.titles):
            found.append(f"it names products by number ({', '.join(numbers[:3])}); {KINDS_INSTEAD}")
        if named := strangers(text, self._session, reply.kinds, self._vocabulary):
            found.append(f"it speaks of {named}, which no title or kind of this session holds; leave that out")
        return found


def worded_thought(reply: Reasoning) -> str:
    """Return the text of a chain of thought, the lesson first."""
    return render("reasoning", **reply.model_dump(include={"products", "together", "left_out", "lesson"}))
