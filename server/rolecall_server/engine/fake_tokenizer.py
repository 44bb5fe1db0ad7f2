"""A tokenizer without a file, for the fake engine: one token for each UTF-8 byte, so that it takes any text."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
PAD_TOKEN_ID = 1
END_TOKEN_ID = 2
VOCABULARY_SIZE = len(SPECIAL_TOKENS) + 256


def byte_tokenizer() -> Tokenizer:
    """Ids 0 to 3 are <s>, <pad>, </s>, <unk>; each byte of a text has one of the 256 above, between <s> and </s>."""
    tokens = (*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", END_TOKEN_ID)]
    )
    return tokenizer
