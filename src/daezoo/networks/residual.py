"""A DnCNN-like network that predicts the noise."""

from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "batch channels rows columns"]


class NoisePredictor(nn.Module):
    """Plain 3 x 3 convolutions of one width, ReLU between, as in DnCNN (Zhang et al., 2017) but without batch norm.

    The last layer starts at zero, so an untrained network predicts no noise at all.

    Args:
        colors: Channels of the image.
        width: Channels of the hidden layers.
        depth: Number of convolutions, >= 2.

    Raises:
        ValueError: If depth < 2 or width < 1.
    """

    def __init__(self, colors: int, width: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        if depth < 2 or min(colors, width) < 1:
            raise ValueError(f"A residual network needs depth >= 2 and width >= 1, got {depth=}, {width=}.")
        hidden: list[nn.Module] = [nn.Conv2d(colors, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            hidden += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Conv2d(width, colors, 3, padding=1)
        for layer in self.hidden:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def features(self, noisy: Images) -> Float[Tensor, "batch width rows columns"]:
        """The last hidden feature map, (batch, width, H, W)."""
        return self.hidden(noisy)

    def forward(self, noisy: Images) -> Images:
        """The predicted noise, shaped like the input."""
        return self.last(self.hidden(noisy))
