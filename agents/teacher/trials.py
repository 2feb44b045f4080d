"""The trials of rules: measure the effect of each rule on the validation sessions of its domain before its use."""

from collections.abc import Sequence
from dataclasses import replace

from bundlewise.agents.teacher.conditions import is_met, trial
from bundlewise.agents.teacher.protocol import Rule
from bundlewise.domain import Session
from bundlewise.evaluation import baselines

THRESHOLD_SESSIONS = 1000
"""The number of training sessions for choosing the threshold of the word-overlap clusters."""


def proved(rules: Sequence[Rule], training: Sequence[Session], validation: Sequence[Session]) -> list[Rule]:
    """Return the rules of one domain with their gain and harm on its annotated validation sessions.

    A rule without a condition, or with a condition that no validation session meets, stays untested. A rule keeps its
    teacher's numbers if they show harm on held-out training sessions, or if it changes no validation session.
    Otherwise the numbers of validation replace the teacher's.
    """
    held_out = [session for session in validation if session.bundles]
    if not held_out or not any(_is_to_be_tested(rule) for rule in rules):
        return list(rules)
    threshold = baselines.lexical_threshold(training[:THRESHOLD_SESSIONS])
    return [_tested(rule, held_out, threshold) if _is_to_be_tested(rule) else rule for rule in rules]


def without_a_case(rules: Sequence[Rule], training: Sequence[Session]) -> list[Rule]:
    """Return the rules whose condition no training session of their domain meets, so that no session supports them."""
    return [rule for rule in rules if rule.condition is not None and not is_met(rule.condition, training)]


def _is_to_be_tested(rule: Rule) -> bool:
    return rule.condition is not None and (rule.gain is None or rule.gain >= 0)


def _tested(rule: Rule, held_out: Sequence[Session], threshold: float) -> Rule:
    assert rule.condition is not None
    found = trial(rule.condition.holds, rule.joins, held_out, threshold)
    says_nothing = not (found.touched if rule.gain is not None else is_met(rule.condition, held_out))
    return rule if says_nothing else replace(rule, gain=found.gain, harm=found.harm)
