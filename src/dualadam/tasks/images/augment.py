"""Random crops and flips of whole batches, and stratified choices of examples; draws come from the generator passed in."""

import torch
from torch import Tensor
from torch.nn import functional

SPLIT_SEED = (
    20260307  # of every split: fixed, so that all studies of a data set judge on the same examples
)


def crop_and_flip(
    images: Tensor, generator: torch.Generator, padding: int = 4, flip: bool = True
) -> Tensor:
    """Pad with zeros, cut each image out at its own random place, and mirror half of them left to right.

    The draws are made on the CPU whatever the device of the images, so that one seed gives the same crops everywhere.

    Args:
        images: (N, C, H, W), of any type and on any device; raw pixels get a black border, normalised ones that of the mean colour.
        generator: a CPU generator; advanced by the same amount for every batch of N images.
        padding: pixels added on each side, >= 0; offsets are uniform on 0, ..., 2 padding in both directions.
        flip: whether each image is mirrored with probability 1/2. Not for digits and letters.

    Returns:
        A new tensor of the same shape, type and device.

    Raises:
        ValueError: if images is not 4-d or padding is negative.

    Example:
        >>> images = torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4)
        >>> still = crop_and_flip(images, torch.Generator(), padding=0, flip=False)
        >>> assert torch.equal(still, images)
        >>> once, again = (crop_and_flip(images, torch.Generator().manual_seed(1)) for _ in range(2))
        >>> assert torch.equal(once, again) and not torch.equal(once, images)
    """
    if images.dim() != 4:
        raise ValueError(f"images must have shape (N, C, H, W), got {tuple(images.shape)}.")
    if padding < 0:
        raise ValueError(f"padding must be >= 0, got {padding}.")
    num, _, height, width = images.shape
    top, left = (
        torch.randint(2 * padding + 1, (num,), generator=generator).to(images.device)
        for _ in range(2)
    )
    mirrored = (torch.rand(num, generator=generator) < 0.5).to(images.device)
    windows = (
        functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    )  # a view: (N, C, top, left, H, W)
    cropped = windows[torch.arange(num, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped) if flip else cropped


def evaluation_sample(labels: Tensor, count: int) -> Tensor:
    """Return the ascending indices of the examples that stand for a whole split: by class, and always the same ones.

    Drawn, and not the first: files are sorted by class, by film, by author.

    Example:
        >>> sorted_by_class = torch.arange(10).repeat_interleave(50)
        >>> sorted_by_class[evaluation_sample(sorted_by_class, 20)].bincount().tolist(), len(evaluation_sample(sorted_by_class, 10**6))
        ([2, 2, 2, 2, 2, 2, 2, 2, 2, 2], 500)
    """
    return stratified_indices(
        labels, min(count, len(labels)), torch.Generator().manual_seed(SPLIT_SEED)
    )


def stratified_indices(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` examples at random so that every class keeps its share.

    A class of n_k among n gets count n_k / n examples, rounded down; the places left over go to the largest remainders, ties to the
    first classes.

    Args:
        labels: integer classes, shape (n,).
        count: how many to choose, 0 <= count <= n.
        generator: a CPU generator.

    Returns:
        int64 indices into labels, shape (count,), ascending.

    Raises:
        ValueError: if count is out of range.

    Example:
        >>> labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
        >>> chosen = stratified_indices(labels, 20, torch.Generator().manual_seed(0))
        >>> labels[chosen].bincount().tolist()
        [12, 6, 2]
    """
    if not 0 <= count <= len(labels):
        raise ValueError(
            f"count must be between 0 and the {len(labels)} examples there are, got {count}."
        )
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    shares = [divmod(count * len(member), len(labels)) for member in members]
    most_remaining = sorted(range(len(members)), key=lambda k: -shares[k][1])
    left_over = set(most_remaining[: count - sum(share for share, _ in shares)])
    chosen = [
        member[torch.randperm(len(member), generator=generator)[: share + (k in left_over)]]
        for k, (member, (share, _)) in enumerate(zip(members, shares, strict=True))
    ]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)


def stratified_split(
    labels: Tensor, held_out: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Split into what is kept and `held_out` stratified examples: (kept, held out), both ascending indices.

    Args:
        labels: integer classes, shape (n,).
        held_out: how many to hold out, 0 <= held_out <= n.
        generator: a CPU generator.

    Returns:
        Two int64 index tensors without common elements, of n - held_out and held_out elements.

    Raises:
        ValueError: if held_out is out of range.

    Example:
        >>> kept, held_out = stratified_split(torch.arange(10) % 2, 4, torch.Generator().manual_seed(0))
        >>> sorted(kept.tolist() + held_out.tolist()) == list(range(10)), len(held_out)
        (True, 4)
    """
    chosen = stratified_indices(labels, held_out, generator)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[chosen] = False
    return kept.nonzero().flatten(), chosen
