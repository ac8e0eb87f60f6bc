"""How a network is fitted: start, loss, optimizer, schedule, regularization, loop."""

import re
from typing import Annotated, Literal

from pydantic import Field

from pellucid.plan.base import Count, NotNegative, Part, Positive, Share

Initialization = Literal[
    "default",
    "xavier_uniform",
    "xavier_normal",
    "he_uniform",
    "he_normal",
    "orthogonal",
    "lsuv",
]


class CrossEntropy(Part):
    """-log p of the true class; of two classes it is binary cross-entropy."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Share = 0.0


class Focal(Part):
    """Cross-entropy times (1 - p)^gamma (Lin et al., 2017): easy rows count less."""

    kind: Literal["focal"] = "focal"
    gamma: NotNegative = 2.0


class Mse(Part):
    """Squared error."""

    kind: Literal["mse"] = "mse"


class Mae(Part):
    """Absolute error: fits the median."""

    kind: Literal["mae"] = "mae"


class Huber(Part):
    """Squared up to `delta` standard deviations of the target, linear beyond (Huber, 1964)."""

    kind: Literal["huber"] = "huber"
    delta: Positive = 1.0


class Pinball(Part):
    """Fits a quantile of the target (Koenker and Bassett, 1978)."""

    kind: Literal["quantile"] = "quantile"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.5


Loss = Annotated[CrossEntropy | Focal | Mse | Mae | Huber | Pinball, Field(discriminator="kind")]


class _Optimizer(Part):
    lr: Positive
    weight_decay: Annotated[NotNegative, Field(description="Decoupled; matrices only.")] = 0.0


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: NotNegative = 1e-2
    betas: tuple[Share, Share] = (0.9, 0.999)


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015)."""

    kind: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: Positive = 1e-2
    momentum: Share = 0.9
    nesterov: bool = True


class RmsProp(_Optimizer):
    """Divides by a running root mean square of the gradient (Hinton, 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-3
    alpha: Share = 0.99
    momentum: Share = 0.0


class Adagrad(_Optimizer):
    """Divides by the root of all squared gradients so far (Duchi et al., 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2


class Muon(_Optimizer):
    """Orthogonalised momentum for matrices (Jordan et al., 2024), AdamW for the rest."""

    kind: Literal["muon"] = "muon"
    lr: Positive = 2e-2
    momentum: Share = 0.95
    adamw_lr: Annotated[Positive, Field(description="For what is no matrix.")] = 2e-3


Optimizer = Annotated[AdamW | Adam | Sgd | RmsProp | Adagrad | Muon, Field(discriminator="kind")]


class Constant(Part):
    """The same learning rate throughout."""

    kind: Literal["constant"] = "constant"


class Step(Part):
    """Multiplied by `factor` after every `every` share of the run."""

    kind: Literal["step"] = "step"
    every: Annotated[float, Field(gt=0, le=1)] = 0.3
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Cosine(Part):
    """Linear warm-up, then half a cosine down to `floor` times the learning rate."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[Share, Field(description="Share of all steps.")] = 0.05
    floor: Share = 0.01


class OneCycle(Part):
    """Up and down again within one run (Smith and Topin, 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    peak: Annotated[Share, Field(description="Where the peak lies, as a share of all steps.")] = 0.3


class WarmupStableDecay(Part):
    """Linear up, constant, linear down to 0 (Hu et al., 2024)."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    warmup: Annotated[Share, Field(description="Share of all steps.")] = 0.05
    decay: Annotated[Share, Field(description="Share of all steps, at the end.")] = 0.2


class Plateau(Part):
    """Divided when the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Count = 5


Schedule = Annotated[
    Constant | Step | Cosine | OneCycle | WarmupStableDecay | Plateau,
    Field(discriminator="kind"),
]


class Regularization(Part):
    """What keeps weights small and fits smooth; dropout and norms belong to the model."""

    l1: Annotated[NotNegative, Field(description="Times the sum of |weights|, in the loss.")] = 0.0
    l2: Annotated[NotNegative, Field(description="Times half the sum of squares.")] = 0.0
    ema: Annotated[
        Share, Field(description="Decay of an average of the weights that is kept; 0: none.")
    ] = 0.0
    mixup: Annotated[
        NotNegative, Field(description="Rows are mixed with shares from Beta(mixup, mixup).")
    ] = 0.0


class Augmentation(Part):
    """Changes to training images that leave their meaning as it is."""

    crop: Annotated[int, Field(ge=0, description="Pixels by which images shift at most.")] = 0
    flip: Annotated[bool, Field(description="Left to right, half of them.")] = False
    cutout: Annotated[int, Field(ge=0, description="Side of a square that is blanked.")] = 0


class Transfer(Part):
    """A registered version to start from."""

    version: Annotated[
        str, Field(pattern=r"^models:/[^/@]+(@[^/@]+|/[0-9]+)$", description="models:/NAME@alias")
    ]
    freeze: Annotated[bool, Field(description="Train the last layer only.")] = False
    layer_decay: Annotated[
        float, Field(gt=0, le=1, description="Each layer's lr is the next one's, times this.")
    ] = 1.0

    @property
    def name(self) -> str:
        """The registered model's name."""
        return re.split("[/@]", self.version)[1]

    @property
    def number(self) -> int | None:
        """The version's number; None where it is named by an alias."""
        return None if "@" in self.version else int(self.version.rpartition("/")[2])

    @property
    def alias(self) -> str | None:
        """The alias, where it is named by one."""
        return self.version.rpartition("@")[2] if "@" in self.version else None


class Training(Part):
    """The training loop."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    batch_size: Count = 128
    patience: Annotated[
        int, Field(ge=1, description="Epochs without a better validation loss before stopping.")
    ] = 16
    min_delta: NotNegative = 0.0
    refit: Annotated[
        NotNegative,
        Field(
            description="Then train on, over validation rows too, as lr falls to 0: this many "
            "times the best epoch. 0: not at all. Cross-validation leaves it out."
        ),
    ] = 0.0
    clip_norm: Annotated[float | None, Field(gt=0, description="Largest gradient norm.")] = 1.0
    class_weights: Annotated[
        Literal["none", "balanced"], Field(description="Classification only.")
    ] = "none"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="auto: bf16 on CUDA where the card has it, else fp32."),
    ] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data_in: Annotated[
        Literal["auto", "device", "host", "stream"],
        Field(
            description="Where the rows live. host: in main memory, batches are sent to the "
            "device. stream: on the disk, batches are prepared while the network learns. auto: on "
            "the device, in main memory or on the disk, the first of which half is enough for them."
        ),
    ] = "auto"
    deterministic: Annotated[
        bool, Field(description="Bit-identical weights on the same GPU too, for some speed.")
    ] = False
    diagnostics: Annotated[
        bool, Field(description="Watch activations, gradients and updates, and name faults.")
    ] = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    checkpoint_seconds: Annotated[
        float, Field(ge=0, description="At most this much work is lost; checked after each epoch.")
    ] = 5.0
