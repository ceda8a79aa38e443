"""A tiny llama model with random weights, made on the spot: `python -m paddler.tinymodel OUT.gguf`.

It lets the demo and the tests run a real llama-server without a download. The file has
0.77 MB, a CPU llama-server is ready 0.1 s after its start with it, and one thread makes
thousands of tokens a second. What it says is words without a meaning. It needs the packages
`gguf` and `numpy` (the extra `paddler[demo]`), imported only when a model is made.

The weights are seeded: the same arguments give the same bytes. One trick makes such a model
pleasant to test with. The llama architecture has no output bias, so embedding channel 0 is set
apart: every token has the same large value there and no layer writes to it. After the last
RMSNorm that channel is a positive near-constant, and `output.weight[:, 0]` acts as a bias for
each token. With it only whole ASCII words are ever likely (half a UTF-8 character would be held
back by the server), and the end of the text comes when it is asked for: never by default, so a
request makes exactly as many tokens as it allows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from gguf import GGUFWriter

__all__ = ["MODEL_TOOLS_MISSING", "Shape", "main", "write_tiny_model"]

MODEL_TOOLS_MISSING = (
    "making the tiny model needs the packages gguf and numpy: pip install 'paddler[demo]'"
)

_WORDS = """
a about act add after again air all also an and animal any are as ask at away back be been
before below between big book both boy bring build but by call came can car carry change
children city close cold come could country cut day did different do does door down draw each
early earth eat end enough even ever every eye face family far farm fast father feel few find
fire first fish five follow food for found four from full game gave get girl give go gold good
great green grow had half hand hard has have he head hear help her here high him his home horse
hour house how hundred i idea if in into is it its just keep kind king know land large last late
laugh learn leave left let letter life light like line list little live long look low made main
make man many map may me mean men might mile mind money moon more morning most mother mountain
move much music must my name near need never new next night no north not notice now number of
off often old on once one only open or order other our out over own page paper part pass people
picture place plain plan plant play point read red
""".split()

# ChatML; its two markers are control tokens of the vocabulary.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_UNK, _BOS, _EOS = 0, 1, 2
_SPACE = "\u2581"  # SentencePiece's
_NEVER = -40.0  # as a bias: no chance
_LOUD = 4.0  # every token's value in channel 0


@attrs.frozen
class Shape:
    """How large a model is; the default is the smallest that behaves.

    Eight layers, 256 channels, 8 heads and 512 inside make a slower one: 22 MB, some hundreds
    of tokens a second.

    :param layers: transformer blocks.
    :param width: channels of the embedding.
    :param heads: attention heads; they divide the width into even parts.
    :param inner: channels inside the feed-forward part.
    :param context: the longest context the model claims to know, in tokens.
    """

    layers: int = 2
    width: int = 64
    heads: int = 4
    inner: int = 128
    context: int = 32768

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError("heads must divide the width into even parts")


@attrs.define(eq=False)
class _Vocabulary:
    """Tokens as SentencePiece has them: bytes, characters, words and all their beginnings."""

    tokens: list[str] = attrs.Factory(list)
    scores: list[float] = attrs.Factory(list)
    kinds: list[int] = attrs.Factory(list)

    def add(self, token: str, score: float, kind: int) -> None:
        self.tokens.append(token)
        self.scores.append(score)
        self.kinds.append(kind)

    @property
    def words(self) -> list[int]:
        """The ids of the whole words."""
        return [self.tokens.index(_SPACE + word) for word in _WORDS]


def _vocabulary() -> _Vocabulary:
    from gguf import TokenType

    made = _Vocabulary()
    made.add("<unk>", 0.0, TokenType.UNKNOWN)
    for control in ("<s>", "</s>", "<|im_start|>", "<|im_end|>"):
        made.add(control, 0.0, TokenType.CONTROL)
    for byte in range(256):
        made.add(f"<0x{byte:02X}>", 0.0, TokenType.BYTE)
    for character in [_SPACE, *map(chr, range(0x21, 0x7F))]:
        made.add(character, -1000.0, TokenType.NORMAL)
    # A word is put together from the left, pair by pair: each of its beginnings must be a
    # token, and the longer one must have the better score.
    known = set(made.tokens)
    for word in _WORDS:
        piece = _SPACE + word
        for length in range(2, len(piece) + 1):
            if piece[:length] not in known:
                known.add(piece[:length])
                made.add(piece[:length], -500.0 + length, TokenType.NORMAL)
    return made


def _write_facts(writer: GGUFWriter, shape: Shape, words: _Vocabulary, name: str) -> None:
    writer.add_name(name)
    writer.add_description("random weights, for demos and tests only")
    writer.add_file_type(0)  # everything in F32
    writer.add_vocab_size(len(words.tokens))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words.tokens)
    writer.add_token_scores(words.scores)
    writer.add_token_types(words.kinds)
    writer.add_unk_token_id(_UNK)
    writer.add_bos_token_id(_BOS)
    writer.add_eos_token_id(_EOS)
    writer.add_eot_token_id(words.tokens.index("<|im_end|>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(_CHAT_TEMPLATE)


def _write_weights(
    writer: GGUFWriter, shape: Shape, words: _Vocabulary, seed: int, end_bias: float
) -> None:
    import numpy as np

    random = np.random.default_rng(seed)
    width, inner, count = shape.width, shape.inner, len(words.tokens)

    def noise(rows: int, columns: int, scale: float) -> Any:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    def put(tensor: str, values: Any) -> None:
        writer.add_tensor(f"{tensor}.weight", values)

    ones = np.ones(width, np.float32)
    embedding = noise(count, width, 1.0)
    embedding[:, 0] = _LOUD
    put("token_embd", embedding)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        put(block + "attn_norm", ones)
        for part in ("attn_q", "attn_k", "attn_v"):
            put(block + part, noise(width, width, width**-0.5))
        back = noise(width, width, 0.5 * width**-0.5)
        back[0, :] = 0  # nothing writes to channel 0
        put(block + "attn_output", back)
        put(block + "ffn_norm", ones)
        put(block + "ffn_gate", noise(inner, width, width**-0.5))
        put(block + "ffn_up", noise(inner, width, width**-0.5))
        down = noise(width, inner, 0.5 * inner**-0.5)
        down[0, :] = 0
        put(block + "ffn_down", down)
    put("output_norm", ones)

    # What channel 0 comes to after the last RMSNorm. The other channels have a variance of 1
    # that grows a little on the way, so this is rough; it only must be clearly positive.
    unit = _LOUD / ((_LOUD**2 + 1.5 * width) / width) ** 0.5
    output = noise(count, width, 1.5 * width**-0.5)
    output[:, 0] = _NEVER / unit
    output[words.words, 0] = 0
    for end in (_EOS, words.tokens.index("<|im_end|>")):
        output[end, :] = 0
        output[end, 0] = end_bias / unit
    put("output", output)


def write_tiny_model(
    path: Path,
    *,
    shape: Shape = Shape(),
    name: str = "tiny-random-llama",
    seed: int = 1,
    end_bias: float = _NEVER,
) -> None:
    """Write a model file that llama-server loads.

    :param path: the file; one that is there is written over.
    :param shape: how large the model is.
    :param name: its name, as the file tells it.
    :param seed: the same seed gives the same bytes.
    :param end_bias: how likely an answer ends by itself: by default never; 2.0 ends it after
        some twenty tokens.
    :raises ModuleNotFoundError: when gguf or numpy are not installed (`MODEL_TOOLS_MISSING`
        says it in a line).
    """
    from gguf import GGUFWriter

    words = _vocabulary()
    writer = GGUFWriter(str(path), "llama")
    try:
        _write_facts(writer, shape, words, name)
        _write_weights(writer, shape, words, seed, end_bias)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def main() -> None:
    """Write a model to the path on the command line."""
    small = Shape()
    parser = argparse.ArgumentParser(
        prog="python -m paddler.tinymodel",
        description="Write a tiny llama model with random weights, for demos and tests.",
    )
    parser.add_argument("out", type=Path, help="the file to write")
    for field in attrs.fields(Shape):
        parser.add_argument(f"--{field.name}", type=int, default=getattr(small, field.name))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--end-bias", type=float, default=_NEVER, help="2.0: short answers")
    asked = parser.parse_args()
    sizes = {field.name: getattr(asked, field.name) for field in attrs.fields(Shape)}
    try:
        write_tiny_model(asked.out, shape=Shape(**sizes), seed=asked.seed, end_bias=asked.end_bias)
    except ModuleNotFoundError:
        sys.exit(MODEL_TOOLS_MISSING)
    except (OSError, ValueError) as error:
        sys.exit(f"{asked.out}: {error}")
    print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
