"""The model families, each a LightningModule."""

from daezoo.models.adversarial import AdversarialDAE
from daezoo.models.base import DenoisingAutoencoder
from daezoo.models.conv import ConvDAE
from daezoo.models.hierarchical import HierarchicalDAE
from daezoo.models.preconditioned import PreconditionedDAE
from daezoo.models.residual import ResidualDAE
from daezoo.models.stacked import StackedDAE
from daezoo.models.vanilla import VanillaDAE
from daezoo.models.variational import VariationalDAE

__all__ = [
    "AdversarialDAE",
    "ConvDAE",
    "DenoisingAutoencoder",
    "HierarchicalDAE",
    "PreconditionedDAE",
    "ResidualDAE",
    "StackedDAE",
    "VanillaDAE",
    "VariationalDAE",
]
