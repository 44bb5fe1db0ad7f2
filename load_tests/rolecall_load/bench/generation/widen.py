"""A small T5 in the shape of t5-small that computes the same: its speed is that of t5-small, its texts are its own.

The residual stream of the small model becomes a random subspace of the wide one, turned so that no weight is left
zero. Root-mean-square norms see it grow by the ratio of the widths, which their weights take back. What is added
(heads, units, layers) has weights of the usual size where it reads and next to none where it writes.
"""

from __future__ import annotations

from typing import Any

SMALL_VOCABULARY = 1536
_SHAPE = {"vocab_size": 32128, "d_model": 512, "d_kv": 64, "num_heads": 8, "d_ff": 2048}
_LAYERS = 6
_FAINT = 1e-3


def widen(small: Any) -> Any:
    """t5-small's shape of a transformers T5 with ReLU, tied tables, 64-wide heads, equal weights in its last norm."""
    import torch
    import transformers

    config = transformers.T5Config(
        **_SHAPE, num_layers=_LAYERS, dropout_rate=0.0, decoder_start_token_id=small.config.decoder_start_token_id
    )
    wide = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        turn = torch.linalg.qr(torch.randn(config.d_model, config.d_model))[0][: small.config.d_model]
        for weight in _writers(wide):
            weight.mul_(_FAINT)
        for name, weight in wide.named_parameters():
            if "layer_norm" in name:
                weight.fill_((small.config.d_model / config.d_model) ** 0.5)
        wide.decoder.final_layer_norm.weight.copy_(small.decoder.final_layer_norm.weight[0].expand(config.d_model))
        _widen_table(wide.shared.weight, small.shared.weight, turn)
        for stack in ("encoder", "decoder"):
            for old, new in zip(getattr(small, stack).block, getattr(wide, stack).block[:], strict=False):
                for part, other in zip(old.layer, new.layer, strict=True):
                    _widen_part(part, other, turn, read_by_cross=small.encoder.final_layer_norm.weight)
    return wide


def _writers(model: Any) -> list[Any]:
    names = ("SelfAttention.o.weight", "EncDecAttention.o.weight", "wo.weight")
    return [weight for name, weight in model.named_parameters() if name.endswith(names)]


def _widen_table(wide: Any, small: Any, turn: Any) -> None:
    """Further rows are shrunk copies of real ones: no greater logit than the winner's, as long as that is positive."""
    import torch

    words = small.shape[0]
    wide[:words] = small @ turn
    originals = torch.randint(16, words, (wide.shape[0] - words,))
    shrunk = 0.2 + 0.6 * torch.rand(wide.shape[0] - words, 1)
    wide[words:] = shrunk * wide[originals]


def _widen_part(small: Any, wide: Any, turn: Any, *, read_by_cross: Any) -> None:
    """One sub-layer. The weights of its norm move into the matrices that read it, for turning needs equal ones."""
    norm = small.layer_norm.weight
    if hasattr(small, "DenseReluDense"):
        old, new = small.DenseReluDense, wide.DenseReluDense
        units = old.wi.weight.shape[0]
        new.wi.weight[:units] = (old.wi.weight * norm) @ turn
        new.wo.weight[:, :units] = turn.T @ old.wo.weight
        return
    crosses = hasattr(small, "EncDecAttention")
    old = small.EncDecAttention if crosses else small.SelfAttention
    new = wide.EncDecAttention if crosses else wide.SelfAttention
    inner = old.q.weight.shape[0]
    new.q.weight[:inner] = (old.q.weight * norm) @ turn
    for name in ("k", "v"):
        read = read_by_cross if crosses else norm
        getattr(new, name).weight[:inner] = (getattr(old, name).weight * read) @ turn
    new.o.weight[:, :inner] = turn.T @ old.o.weight
    if old.has_relative_attention_bias:
        heads = old.relative_attention_bias.weight.shape[1]
        new.relative_attention_bias.weight[:, :heads] = old.relative_attention_bias.weight
