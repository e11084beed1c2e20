"""Images that were made before, kept to be drawn again."""

import torch
from torch import Tensor


class ImagePool:
    """The newest `capacity` images, first in first out; drawn one by one, over all that are kept."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: choose 1 or more")
        self.capacity = capacity
        self._images: Tensor | None = None
        self._next = self._kept = 0

    def __len__(self) -> int:
        return self._kept

    @property
    def bytes(self) -> int:
        """Of the images that are kept, not of the room that is set aside for more."""
        if self._images is None:
            return 0
        return self._kept * self._images[0].numel() * self._images.element_size()

    def add(self, images: Tensor) -> None:
        """(n, channels, height, width); of more than the capacity the last are kept."""
        images = images[-self.capacity :].detach()
        if self._images is None:
            self._images = torch.empty(
                (self.capacity, *images.shape[1:]), dtype=images.dtype, device=images.device
            )
        at = (self._next + torch.arange(len(images), device=images.device)) % self.capacity
        self._images[at] = images
        self._next = (self._next + len(images)) % self.capacity
        self._kept = min(self.capacity, self._kept + len(images))

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """n of the images that are kept, with repetition. Raises ValueError where there are none."""
        if self._images is None:
            raise ValueError("the pool is empty")
        return self._images[torch.randint(self._kept, (n,), generator=generator).to(self._images.device)]

    def state_dict(self) -> dict[str, Tensor | int | None]:
        return {"images": self._images, "next": self._next, "kept": self._kept}

    def load_state_dict(self, state: dict) -> None:
        self._images, self._next, self._kept = state["images"], state["next"], state["kept"]
