"""Architectures. `modalities` says what kinds of input a network of the kind takes."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pellucid.plan.base import Count, Part, Share

Modality = Literal["tabular", "image", "sequence", "text"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]
Norm = Literal["none", "batch", "layer", "group"]
Width = Annotated[int, Field(ge=1, le=65536)]
Depth = Annotated[int, Field(ge=1, le=64)]
Tabular: tuple[Modality, ...] = ("tabular",)


class Perceptron(Part):
    """One linear layer: logistic, softmax or linear regression by gradient descent."""

    kind: Literal["perceptron"] = "perceptron"
    modalities: ClassVar[tuple[Modality, ...]] = Tabular


class Mlp(Part):
    """A multilayer perceptron; with `residual`, layers of equal width add their input."""

    kind: Literal["mlp"] = "mlp"
    modalities: ClassVar[tuple[Modality, ...]] = Tabular
    widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (128, 128)
    activation: Activation = "relu"
    dropout: Share = 0.1
    norm: Norm = "none"
    residual: bool = False


class TabM(Part):
    """An ensemble of MLPs that share their weights (Gorishniy et al., ICLR 2025).

    `members` networks differ in vectors that scale each layer's inputs and outputs
    (BatchEnsemble). Numbers enter through piecewise linear embeddings of `bins` quantile bins.
    """

    kind: Literal["tabm"] = "tabm"
    modalities: ClassVar[tuple[Modality, ...]] = Tabular
    members: Annotated[int, Field(ge=1, le=256)] = 16
    width: Width = 256
    depth: Depth = 2
    activation: Activation = "relu"
    dropout: Share = 0.1
    bins: Annotated[int, Field(ge=0, le=512, description="0: no embeddings of numbers.")] = 48
    embedding: Annotated[Count, Field(description="Length of a number's embedding.")] = 16


class FtTransformer(Part):
    """A transformer over one token per column (Gorishniy et al., 2021)."""

    kind: Literal["ft_transformer"] = "ft_transformer"
    modalities: ClassVar[tuple[Modality, ...]] = Tabular
    width: Width = 64
    depth: Depth = 3
    heads: Count = 8
    dropout: Share = 0.1


class Cnn(Part):
    """A convolutional network, plain or residual; `widths` are the channels of its stages."""

    kind: Literal["cnn"] = "cnn"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (16, 32, 64)
    blocks: Annotated[Depth, Field(description="Convolutions, or residual blocks, a stage.")] = 2
    residual: bool = False
    kernel: Literal[1, 3, 5, 7] = 3
    activation: Activation = "relu"
    norm: Norm = "batch"
    dropout: Share = 0.1


class _Recurrent(Part):
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence",)
    width: Width = 128
    layers: Annotated[Depth, Field(description="Stacked.")] = 1
    bidirectional: bool = True
    dropout: Share = 0.1


class Rnn(_Recurrent):
    """An Elman network (Elman, 1990)."""

    kind: Literal["rnn"] = "rnn"


class Lstm(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997)."""

    kind: Literal["lstm"] = "lstm"


class Gru(_Recurrent):
    """Gated recurrent units (Cho et al., 2014)."""

    kind: Literal["gru"] = "gru"


class Tcn(Part):
    """A temporal convolutional network: dilated causal convolutions (Bai et al., 2018)."""

    kind: Literal["tcn"] = "tcn"
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence",)
    width: Width = 64
    layers: Annotated[Depth, Field(description="Residual blocks; the dilation doubles.")] = 4
    kernel: Annotated[int, Field(ge=2, le=15)] = 3
    dropout: Share = 0.1


class Transformer(Part):
    """A transformer encoder (Vaswani et al., 2017), normalised before each block.

    Over text, a convolution mixes neighbouring tokens first.
    """

    kind: Literal["transformer"] = "transformer"
    modalities: ClassVar[tuple[Modality, ...]] = ("sequence", "text")
    width: Width = 64
    layers: Depth = 2
    heads: Count = 4
    dropout: Share = 0.1


class BagOfWords(Part):
    """The mean of token and token-pair embeddings, then a linear layer (Joulin et al., 2017)."""

    kind: Literal["bag_of_words"] = "bag_of_words"
    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    width: Width = 64
    buckets: Annotated[
        int, Field(ge=0, le=2**24, description="Hash buckets for pairs of tokens; 0: no pairs.")
    ] = 50_000
    dropout: Share = 0.1


class Hybrid(Part):
    """A CNN over frames or patches, then a network over their sequence."""

    kind: Literal["hybrid"] = "hybrid"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    patch: Annotated[
        tuple[Count, Count] | None,
        Field(description="Height and width. Default: frames, or else seven rows of pixels."),
    ] = None
    channels: Width = 32
    over: Literal["rnn", "lstm", "gru", "transformer"] = "gru"
    width: Width = 128
    dropout: Share = 0.1


Model = Annotated[
    Perceptron
    | Mlp
    | TabM
    | FtTransformer
    | Cnn
    | Rnn
    | Lstm
    | Gru
    | Tcn
    | Transformer
    | BagOfWords
    | Hybrid,
    Field(discriminator="kind"),
]
