"""The data modules: clean samples, in [0, 1] but for tables and densities, which are corrupted on the device."""

from daezoo.data.arrays import ArraysData
from daezoo.data.base import DenoisingDataModule
from daezoo.data.cifar10 import CIFAR10Data
from daezoo.data.density import DensityData
from daezoo.data.digits import DigitsData
from daezoo.data.images import ImagesData, PhotographsData
from daezoo.data.mnist import FashionMNISTData, MNISTData
from daezoo.data.mnist_variations import MNISTVariationsData
from daezoo.data.pairs import PairsData
from daezoo.data.patches import PatchesData
from daezoo.data.shapes import ShapesData
from daezoo.data.shards import ShardsData
from daezoo.data.table import TableData

__all__ = [
    "ArraysData",
    "CIFAR10Data",
    "DenoisingDataModule",
    "DensityData",
    "DigitsData",
    "FashionMNISTData",
    "ImagesData",
    "MNISTData",
    "MNISTVariationsData",
    "PairsData",
    "PatchesData",
    "PhotographsData",
    "ShapesData",
    "ShardsData",
    "TableData",
]
