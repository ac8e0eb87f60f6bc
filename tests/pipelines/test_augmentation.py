"""Augmented images are the same images, moved, mirrored or covered."""

import pytest
import torch

from pellucid import plan
from pellucid_pipelines import augmentation
from pellucid_pipelines.augmentation import cut_out, moved
from pellucid_pipelines.features import Features


def images(count: int = 64, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *(shape or (3, 6, 7))), generator=generator).byte()


def test_nothing_asked_is_nothing_done():
    features = Features("image", (3, 6, 7))
    assert augmentation.build(plan.Augmentation(), features) is None
    assert augmentation.build(plan.Augmentation(crop=2), Features.tabular(3)) is None


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 6, 7), (4, 3, 6, 7)])
def test_shape_and_type_stay(shape: tuple[int, ...]):
    augment = augmentation.build(
        plan.Augmentation(crop=2, flip=True, cutout=3), Features("image", shape)
    )
    for given in (images(8, *shape), images(8, *shape).float()):
        assert augment(given).shape == given.shape
        assert augment(given).dtype == given.dtype


def test_images_shift_as_a_whole_and_repeat_the_border():
    height = torch.arange(6).view(1, 1, 6, 1) * 10
    given = (height + torch.arange(7)).expand(500, 2, 6, 7)
    found = moved(given, 2, flip=False)
    down, right = found[:, 0, 3, 3] // 10 - 3, found[:, 0, 3, 3] % 10 - 3
    assert set(down.tolist()) == set(right.tolist()) == {-2, -1, 0, 1, 2}
    rows = (torch.arange(6) + down.view(-1, 1)).clamp(0, 5)
    columns = (torch.arange(7) + right.view(-1, 1)).clamp(0, 6)
    expected = rows.unsqueeze(2) * 10 + columns.unsqueeze(1)
    assert torch.equal(found, expected.unsqueeze(1).expand(-1, 2, -1, -1))


def test_half_of_them_are_mirrored():
    given = images(400, 4, 3, 5, 6)
    found = moved(given, 0, flip=True)
    same = (found == given).flatten(1).all(dim=1)
    mirrored = (found == given.flip(-1)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_a_square_is_blanked_in_each_image():
    given = images(300, 3, 12, 12) // 2
    found = cut_out(given + 128, 4)
    changed = (found != given + 128).any(dim=1)
    most = changed.flatten(1).sum(dim=1)
    assert most.max() <= 16
    assert (most >= 3).all()  # at the border a part of it
    assert (found[:, 0][changed].float().std() < 60).all()
    wide = changed.any(dim=1).sum(dim=1)
    assert wide.max() <= 4


def test_the_same_seed_gives_the_same_images():
    augment = augmentation.build(
        plan.Augmentation(crop=2, flip=True, cutout=3), Features("image", (3, 6, 7))
    )
    torch.manual_seed(3)
    first, second = augment(images()), augment(images())
    torch.manual_seed(3)
    assert torch.equal(augment(images()), first)
    assert not torch.equal(first, second)
