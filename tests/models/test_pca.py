import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from daezoo.models import VanillaDAE


@pytest.mark.parametrize("tied", [True, False])
def test_a_linear_autoencoder_spans_the_subspace_of_pca(tied):
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().data / 16)
    model = VanillaDAE([64], [4], "linear", tied).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def error() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model.loss(model(images), images).mean()
        loss.backward()
        return loss

    optimizer.step(error)
    pca = PCA(4).fit(images.numpy())
    layer = model.network.layers[0]
    decoder = (layer.weight.t() if tied else layer.decoder_weight).detach().numpy()
    assert subspace_angles(decoder, pca.components_.T).max() < 1e-2
    missing = ((images.numpy() - pca.inverse_transform(pca.transform(images.numpy()))) ** 2).sum(1).mean()
    assert error().item() == pytest.approx(missing, rel=1e-5)
