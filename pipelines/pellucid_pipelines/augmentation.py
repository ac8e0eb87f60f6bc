"""Changes to a training batch of images that leave their meaning as it is.

Whole batches on the device, each image by random numbers of its own from torch's global
generator, which the loop seeds for every epoch: a run that resumes sees the same images.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid import plan
from pellucid_pipelines.features import Features

Augment = Callable[[Tensor], Tensor]


def build(spec: plan.Augmentation, features: Features) -> Augment | None:
    """(N, ..., channels, height, width) -> the same; None where nothing is to be done.

    What is not an image stays as it is. Frames of one image change alike.
    """
    if features.modality != "image" or not (spec.crop or spec.flip or spec.cutout):
        return None

    def augment(images: Tensor) -> Tensor:
        if spec.crop or spec.flip:
            images = moved(images, spec.crop, spec.flip)
        return cut_out(images, spec.cutout) if spec.cutout else images

    return augment


def moved(images: Tensor, most: int, flip: bool) -> Tensor:
    """Shift each image by up to `most` pixels, and flip half of them from left to right.

    What comes in from outside repeats the border.
    """
    count, device = len(images), images.device
    *_, height, width = images.shape
    shifts = torch.randint(-most, most + 1, (2, count, 1), device=device)
    rows = (torch.arange(height, device=device) + shifts[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + shifts[1]).clamp(0, width - 1)
    if flip:
        mirrored = torch.rand(count, 1, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    planes = images.flatten(1, -3)
    each = torch.arange(count, device=device).view(-1, 1, 1)
    found = planes[each, :, rows.unsqueeze(2), columns.unsqueeze(1)]  # (N, height, width, planes)
    return found.movedim(-1, 1).reshape(images.shape)


def cut_out(images: Tensor, side: int) -> Tensor:
    """Blank a square in each image, its centre anywhere (DeVries and Taylor, 2017).

    It takes the image's mean, which is nearest to nothing in any normalisation.
    """
    count, device = len(images), images.device
    *_, height, width = images.shape

    def covered(length: int) -> Tensor:
        """(N, length): within the square."""
        start = torch.randint(0, length, (count, 1), device=device) - side // 2
        places = torch.arange(length, device=device)
        return (places >= start) & (places < start + side)

    square = covered(height).unsqueeze(2) & covered(width).unsqueeze(1)
    square = square.view(count, *(1,) * (images.ndim - 3), height, width)
    mean = images.float().mean(dim=(-2, -1), keepdim=True).to(images.dtype)
    return torch.where(square, mean, images)
