"""MNIST and Fashion-MNIST."""

from torchvision.datasets import MNIST, FashionMNIST

from daezoo.data.torchvision_sets import TorchvisionData


class MNISTData(TorchvisionData):
    """70,000 handwritten digits of 28 x 28 pixels: 55,000 / 5,000 / 10,000 for training, validation, test."""

    source = MNIST
    image_shape = (1, 28, 28)


class FashionMNISTData(TorchvisionData):
    """70,000 pictures of clothing, 28 x 28 pixels: 55,000 / 5,000 / 10,000 for training, validation, test."""

    source = FashionMNIST
    image_shape = (1, 28, 28)
