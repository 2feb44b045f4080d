"""Chat templates of known families with their marks, and a tokenizer that merges line ends and splits digits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

TURNS = "{% for message in messages %}"
ANSWER = "{% endfor %}{% if add_generation_prompt %}"


@dataclass(frozen=True)
class Family:
    """A chat template, and the names of the tokens that it uses or that its family adds."""

    name: str
    template: str
    special: tuple[str, ...]
    added: tuple[str, ...] = ()

    def tokenizer(self, folder: Path) -> Any:
        """Return the tokenizer of a folder with the family's tokens and template."""
        from transformers import AddedToken, AutoTokenizer

        found = AutoTokenizer.from_pretrained(folder)
        found.add_tokens([AddedToken(name, special=True, normalized=False) for name in self.special])
        found.add_tokens([AddedToken(name, special=False, normalized=False) for name in self.added])
        found.chat_template = self.template
        return found


CHATML = Family(
    "chatml",
    f"{TURNS}<|im_start|>{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}<|im_end|>\n{ANSWER}"
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    ("<think>", "</think>", "<tool_call>", "\n\n"),
)
LLAMA3 = Family(
    "llama3",
    f"{{{{ '<|begin_of_text|>' }}}}{TURNS}<|start_header_id|>{{{{ message['role'] }}}}<|end_header_id|>\n\n"
    f"{{{{ date_string }}}} {{{{ message['content'] | trim }}}}<|eot_id|>{ANSWER}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
GEMMA = Family(
    "gemma",
    "<bos>{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    f"{TURNS}<start_of_turn>{{{{ message['role'] }}}}\n{{{{ message['content'] | trim }}}}<end_of_turn>\n{ANSWER}"
    "<start_of_turn>model\n{% endif %}",
    ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<unused1>"),
)
MISTRAL = Family(
    "mistral",
    "<s>{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}[INST] {{ system if loop.first else '' }}{{ message['content'] }}[/INST]{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]", "[control_8]"),
)
FAMILIES = [CHATML, LLAMA3, GEMMA, MISTRAL]
MARKS = sorted({name for family in FAMILIES for name in (*family.special, *family.added) if name.strip()})


def save_merging_tokenizer(folder: Path) -> None:
    """Train and save a tokenizer like Llama 3's, whose tokens join a full stop with line ends, and split digits."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["five words.\n\nProducts:\n1. Case 12\nBundles:\n12 3; 4 15\n"] * 9, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
