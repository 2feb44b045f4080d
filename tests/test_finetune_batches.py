"""Batches: every example once an epoch, within the budget of tokens."""

from pathlib import Path

from test_finetune_training import CONFIG, small_sessions

from bundlewise.agents.student.load import load_causal_lm
from bundlewise.domain import Retrieved
from bundlewise.finetune.examples import examples, plan


def test_batches_hold_every_example_once_an_epoch_and_their_questions_stay_within_the_budget(
    tiny_student: Path,
) -> None:
    tokenizer = load_causal_lm(tiny_student)[1]
    sessions = small_sessions()
    epoch = examples(tokenizer, sessions, [Retrieved() for _ in sessions], intents=1, seed=0)
    batches = plan([epoch], CONFIG)
    assert sorted(map(hash, (e for batch in batches for e in batch))) == sorted(map(hash, epoch))
    judging = [[len(e.encoded.ids) for e in batch if e.task == "judge"] for batch in batches]
    assert all(len(sizes) == 1 or len(sizes) * max(sizes) <= CONFIG.batch_tokens for sizes in judging)
