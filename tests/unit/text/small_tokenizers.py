"""Small tokenizers of the families that encoders come with, trained in a moment on a few sentences.

Each has a trap of its own for whoever maps tokens back to text: byte-level tokens split a character, unigram tokens
begin with the space before them and its normaliser changes lengths, and word pieces lose what they do not know.
"""

from collections.abc import Callable
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "We need a careful engineer for our new plant. The nurse works nights and weekends.",
    "query: passage: Python and Java developers write software in large projects.",
    "负责公司后端服务的设计与开发。有五年以上工作经验者优先！",
    "管理仓库，盘点货物；按时完成纳税申报。",
    "Dr. Smith runs the ward, and teaches. 5 years of experience: required.",
)
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_TEMPLATE = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])


def byte_level_bpe(*, trim_offsets: bool) -> Tokenizer:
    """As in RoBERTa and GPT: a word's token holds the space before it, a rare character is several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=trim_offsets), _TEMPLATE])
    return tokenizer


def unigram() -> Tokenizer:
    """As in XLM-R and E5: spaces become "▁" of the next word, compatibility forms fold, white space collapses."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, show_progress=False, special_tokens=SPECIALS, unk_token="<unk>", max_piece_length=8
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = _TEMPLATE
    return tokenizer


def word_piece() -> Tokenizer:
    """As in BERT and MiniLM: lower case, accents and control characters dropped, unknown words one token."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, show_progress=False, special_tokens=SPECIALS)
    )
    tokenizer.post_processor = _TEMPLATE
    return tokenizer


_FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "bpe": lambda: byte_level_bpe(trim_offsets=True),
    "bpe-untrimmed": lambda: byte_level_bpe(trim_offsets=False),
    "unigram": unigram,
    "wordpiece": word_piece,
}
FAMILIES = tuple(_FAMILIES)


@cache
def trained(family: str) -> str:
    """The tokenizer.json of one family. Trained once: training again need not give the same pieces."""
    return _FAMILIES[family]().to_str()
