"""CIFAR-10."""

from torchvision.datasets import CIFAR10

from daezoo.data.torchvision_sets import TorchvisionData


class CIFAR10Data(TorchvisionData):
    """60,000 colour pictures of 32 x 32 pixels: 45,000 / 5,000 / 10,000 for training, validation and test."""

    source = CIFAR10
    image_shape = (3, 32, 32)
